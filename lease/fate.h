/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether what ends the program ends its keeper too, so that nobody is left to
 * write back and to let others in.
 *
 * Raw system calls: the engine's thread asks. Where /proc or cgroup v2 doesn't
 * say, nothing is found.
 */
#ifndef DAXMR_LEASE_FATE_H
#define DAXMR_LEASE_FATE_H

#include <stddef.h>
#include <sys/types.h>

enum fate {
	/*
	 * The program is PID 1 of its PID namespace: when it ends the kernel
	 * kills all others (zap_pid_ns_processes(), kernel/pid_namespace.c).
	 */
	FATE_PID_NAMESPACE = 1,
	/*
	 * A cgroup that both are in has memory.oom.group: the OOM killer takes
	 * all of it (mem_cgroup_get_oom_group(), mm/memcontrol.c).
	 */
	FATE_OOM_GROUP = 2,
	/* Both are in one systemd unit, which ends all of it: possibly. */
	FATE_UNIT = 4,
};

#define FATE_MAX 1024

/*
 * Of this process and the keeper with that pid (0: it cannot be seen from
 * here). Returns what was found, of enum fate, and one sentence about it and
 * the remedy; 0: nothing, and text is "".
 */
int fate_find(pid_t keeper, char *text, size_t size);

/* The same of any program, with `proc` in the place of /proc. */
int fate_find_in(const char *proc, pid_t program, pid_t keeper, char *text,
		 size_t size);

#endif
