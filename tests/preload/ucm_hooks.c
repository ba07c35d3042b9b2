/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * UCX's own memory hooks, for a program that knows nothing of them: they write
 * jumps over the C library's mmap(), munmap(), mremap() and madvise(), and see
 * to it that they are called then; else the program ends with status 99.
 *
 * UCX is loaded behind the C library, as by programs that are linked with it
 * and not with its hooks: a search that begins behind them finds nothing.
 */
#include <stdio.h>
#include <unistd.h>

#include <ucm/api/ucm.h>

static void hear(ucm_event_type_t type, ucm_event_t *event, void *arg)
{
	(void)type;
	(void)event;
	(void)arg;
}

__attribute__((constructor)) static void install(void)
{
	const int events = UCM_EVENT_MMAP | UCM_EVENT_MUNMAP |
			   UCM_EVENT_MREMAP | UCM_EVENT_MADVISE |
			   UCM_EVENT_VM_UNMAPPED;

	if (!ucm_set_event_handler(events, 0, hear, NULL))
		return;
	dprintf(STDERR_FILENO, "UCX's memory hooks do not work here\n");
	_exit(99);
}
