/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Probes of what happens to a leased file: probe.h. Each has its device, its
 * inode, how long it was in the state before, in ns, and one thing more.
 */
#include "lease.h"
#include "probe.h"

void probe_lease_changed(const struct lease *lease,
			 const struct recall_report *report)
{
	int64_t spent_ns = report->spent_ns;
	dev_t dev;
	ino_t ino;

	lease_file(lease, &dev, &ino);
	switch (report->cause) {
	case RECALL_BREAK_HEARD:
		PROBE(break, dev, ino, spent_ns, 0);
		break;
	case RECALL_FLUSHED:
	case RECALL_WRITTEN:
		PROBE(flushed, dev, ino, spent_ns, report->to);
		break;
	case RECALL_OUT_OF_TIME:
		PROBE(forced, dev, ino, spent_ns, -report->error);
		break;
	case RECALL_RETAKEN:
		PROBE(retaken, dev, ino, spent_ns, 0);
		break;
	case RECALL_MERGED:
		PROBE(merged, dev, ino, spent_ns, report->conflicts);
		break;
	default:
		break;
	}
	if (report->to == RECALL_YIELDED && report->from != RECALL_YIELDED)
		PROBE(yielded, dev, ino, spent_ns, -report->error);
}
