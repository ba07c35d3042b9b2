/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The report for people: a headline for each file and device, and the facts
 * that led to it.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

static void line(const char *label, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void line(const char *label, const char *format, ...)
{
	va_list args;

	printf("  %-9s ", label);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

static const char *size_text(uint64_t bytes, char *text, size_t size)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB",
					    "TiB"};
	size_t unit = 0;

	if (bytes == UINT64_MAX) {
		snprintf(text, size, "unlimited");
		return text;
	}
	/* exact, or not at all: 1025 KiB, and 1048577 bytes */
	while (unit < 4 && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, size, "%" PRIu64 " %s", bytes, units[unit]);
	return text;
}

static void print_file(const struct check_file *file)
{
	char kinds[320], size[32];

	memory_kinds_names(file->memory.kinds, kinds, sizeof(kinds));
	size_text(file->size, size, sizeof(size));
	if (file->mount.is_known)
		line("file", "%s, %s, %s on %s (%s)", kinds, size,
		     file->mount.fs, file->mount.point, file->mount.source);
	else
		line("file", "%s, %s, %s", kinds, size, file->memory.file.fs);
	line("dax", "%s: %s", file->is_dax ? "yes" : "no", file->dax_why);
}

static void print_trial(const char *label, int answer, const char *access,
			const char *why)
{
	const char *open = *why ? " (" : "", *close = *why ? ")" : "";

	if (answer == ROUTE_KERNEL_NOT_ASKED)
		line(label, "not tried%s%s%s", open, why, close);
	else if (answer == 0)
		line(label, "registered, %s%s%s%s", access, open, why, close);
	else
		line(label, "refused, %s: %s, %s%s%s%s", access,
		     strerrorname_np(answer), strerror(answer), open, why,
		     close);
}

static const char *access_text(bool writable)
{
	return writable ? "for writing" : "read-only";
}

static void print_device(const struct check_device *device)
{
	char ports[160] = "", mtu[24];
	size_t used = 0;
	unsigned int i;

	for (i = 0; i < device->ports && used < sizeof(ports); i++) {
		const struct check_port *port = &device->port[i];

		snprintf(mtu, sizeof(mtu), ", MTU %u", port->mtu);
		used += (size_t)snprintf(ports + used, sizeof(ports) - used,
					 ", port %u %s (%s%s)", port->number,
					 port->state, port->link_layer,
					 port->is_active ? mtu : "");
	}
	line("device", "%s, driver %s%s", device->name, device->driver, ports);
}

static void print_odp(const struct check_device *device)
{
	const struct {
		const char *name;
		uint32_t bits;
	} transports[] = {
		{"RC", device->caps.rc},
		{"UC", device->caps.uc},
		{"UD", device->caps.ud},
		{"XRC", device->caps.xrc},
	};
	char names[160], text[600] = "";
	size_t i, used = 0;

	if (!device->caps.has_odp) {
		line("paging", "%s has no on-demand paging", device->name);
		return;
	}
	for (i = 0; i < 4 && used < sizeof(text); i++)
		if (transports[i].bits)
			used += (size_t)snprintf(
				text + used, sizeof(text) - used, "%s%s: %s",
				used ? "; " : "", transports[i].name,
				odp_caps_names(transports[i].bits, names,
					       sizeof(names)));
	line("paging", "on demand, %s", used ? text : "no transport");
	line("trust", "%s, %s: %s%s", device->is_trusted ? "yes" : "no",
	     odp_verdict_name(device->trust.verdict), device->trust.seen,
	     device->trust.from_cache ? " (remembered)" : "");
}

static void print_window(const struct check_device *device)
{
	line("windows", "%s for on_shrink=error and keys=window: %s",
	     device->window.is_right ? "right" : "not to be used",
	     device->window.seen);
}

static void print_limits(const struct check_limits *limits)
{
	char soft[32], hard[32];

	line("memlock", "%s (at most %s)%s",
	     size_text(limits->memlock_soft, soft, sizeof(soft)),
	     size_text(limits->memlock_hard, hard, sizeof(hard)),
	     limits->cap_ipc_lock
		     ? ", and CAP_IPC_LOCK, to which no limit applies"
		     : "");
}

static void print_keeper(const struct check_keeper *keeper)
{
	const char *fate = *keeper->shared_fate
				   ? keeper->shared_fate
				   : "nothing was found that would end both";

	if (*keeper->problem)
		line("keeper", "%s", keeper->problem);
	else if (keeper->socket)
		line("keeper", "from %s; %s", keeper->socket, fate);
	else
		line("keeper", "the program's own; %s", fate);
}

static void print_answer(const struct check_report *report,
			 const struct check_file *file,
			 const struct check_device *device,
			 const struct check_answer *answer)
{
	unsigned int i;

	printf("%s on %s: %s%s%s%s\n", file->path, device->name,
	       strategy_name(answer->verdict), answer->error ? " (" : "",
	       answer->error ? strerrorname_np(answer->error) : "",
	       answer->error   ? ")"
	       : answer->works ? ""
			       : ", not proven");
	line("why", "%s", answer->why);
	for (i = 0; i < answer->notes; i++)
		line("note", "%s", answer->note[i]);
	print_file(file);
	print_trial("kernel", answer->kernel,
		    access_text(file->sample.writable), file->sample.why);
	if (answer->odp != ROUTE_KERNEL_NOT_ASKED)
		print_trial("on demand", answer->odp,
			    access_text(file->writable), "");
	if (answer->is_staged)
		line("lease", "%s",
		     answer->staged.lease[0] ? answer->staged.lease
					     : "would be granted, if nobody "
					       "else has the file open");
	print_device(device);
	print_odp(device);
	print_window(device);
	print_limits(&report->limits);
	print_keeper(&report->keeper);
}

void check_text_print(const struct check_report *report)
{
	const struct check_answer *answer = report->answer;
	const char *gap = "";
	size_t f, d;

	for (f = 0; f < report->files; f++) {
		const struct check_file *file = &report->file[f];

		for (d = 0; d < report->devices; d++, answer++) {
			if (file->problem[0] || report->device[d].problem[0])
				continue;
			fputs(gap, stdout);
			print_answer(report, file, &report->device[d], answer);
			gap = "\n";
		}
		/* without a device there is still something to say of it */
		if (!report->devices && !file->problem[0]) {
			printf("%s%s: no device\n", gap, file->path);
			print_file(file);
			print_limits(&report->limits);
			print_keeper(&report->keeper);
			gap = "\n";
		}
	}
}
