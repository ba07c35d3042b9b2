/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lease is taken and given back: lease_take.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "allocate.h"
#include "grant.h"
#include "lease_take.h"
#include "lease_talk.h"
#include "raw.h"
#include "reason.h"

static void remove_lease(struct lease_table *table, struct lease *lease)
{
	talk_send_consents(table);
	table_remove(table, lease);
	if (!table->count)
		keeper_done(&table->keeper);
}

int lease_give_back(struct lease_table *table, struct lease *lease,
		    int64_t deadline_ns)
{
	int r;

	if (--lease->refs)
		return 0;
	lease->phase = LEASE_RELEASING;
	lease->is_waiting = true;
	lease->deadline_ns = deadline_ns;
	keeper_release(&table->keeper, lease->id, deadline_ns);
	talk_wait(table, lease);
	r = lease->error;
	remove_lease(table, lease);
	return r;
}

static int acquire_again(struct lease *lease, int fd, int type, uint64_t offset,
			 uint64_t length)
{
	int r = 0;

	if (lease->type != type) {
		char name[REASON_FILE_MAX];

		r = reason_set(-EBUSY,
			       "%s has a lease for %s already: release that "
			       "first",
			       reason_file(fd, name, sizeof(name)),
			       type == F_RDLCK ? "writing" : "reading");
	} else if (type == F_WRLCK) {
		r = allocate_range(lease->fd, offset, length);
	}
	raw_close(fd);
	if (!r)
		lease->refs++;
	return r;
}

int lease_take(struct lease_table *table, struct lease_engine *engine, int fd,
	       int type, uint64_t offset, uint64_t length, struct lease **ret)
{
	struct lease *lease = NULL;
	struct stat st;
	int r;

	r = grant_check(fd, type);
	if (!r && raw_stat(fd, &st))
		r = reason_set(-errno, "the file cannot be looked at");
	if (!r)
		lease = table_find(table, st.st_dev, st.st_ino);
	if (lease) {
		r = acquire_again(lease, fd, type, offset, length);
		if (!r)
			*ret = lease;
		return r;
	}
	if (!r && !table->count)
		r = talk_start_keeper(table);
	if (r) {
		raw_close(fd);
		return r;
	}
	lease = table_add(table, st.st_dev, st.st_ino);
	if (!lease) {
		raw_close(fd);
		if (!table->count)
			keeper_done(&table->keeper);
		return reason_set(-ENOMEM, "no memory for one lease more");
	}
	lease->engine = engine;
	lease->fd = fd;
	lease->type = type;
	lease->refs = 1;
	lease->is_waiting = true;
	talk_ask(table, lease);
	talk_wait(table, lease);
	r = lease->error;
	if (r) {
		r = grant_explain(fd, type, r, table->keeper.pid);
		remove_lease(table, lease);
		return r;
	}
	/* Others may read what only reads. */
	if (type == F_WRLCK)
		r = grant_check_shared(fd, table->keeper.pid);
	if (!r && type == F_WRLCK)
		r = allocate_range(fd, offset, length);
	if (r) {
		lease_give_back(table, lease, talk_now());
		return r;
	}
	*ret = lease;
	return 0;
}
