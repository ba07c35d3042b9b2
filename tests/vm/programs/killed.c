/* SPDX-License-Identifier: BSD-2-Clause */
/* The two processes: killed.h. */
#include <ctype.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "killed.h"

static struct killed *board;
static unsigned char *file;

static void pause_a_little(void)
{
	const struct timespec pause = {.tv_nsec = 500000};

	nanosleep(&pause, NULL);
}

static void *store(void *arg)
{
	static atomic_int never;

	counters_store(&board->counters, file, &never);
	return arg;
}

static int us_since(double start)
{
	return (int)((now() - start) * 1e6);
}

/* Has the QP and the MR as its parent has, and does nothing with them. */
static void fork_child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("the victim cannot fork");
	if (!pid)
		for (;;)
			pause();
	atomic_store(&board->child, pid);
}

static void be_victim(const char *path)
{
	struct end end;
	struct ibv_mr *mr;
	pthread_t thread;
	double start;

	file = map_file(path, COUNTERS_SIZE);
	if (pthread_create(&thread, NULL, store, NULL))
		die("no thread");
	end_open(&end);
	end_make_qp(&end);
	if (atomic_load(&board->has_part))
		end_register(&end, file, 4096, REMOTE_ALL);
	start = now();
	atomic_store(&board->phase, REGISTERING);
	mr = end_register(&end, file, COUNTERS_SIZE, REMOTE_ALL);
	atomic_store(&board->register_us, us_since(start));
	atomic_store(&board->address, (uintptr_t)file);
	atomic_store(&board->rkey, mr->rkey);
	atomic_store(&board->victim_qp, end.qp->qp_num);
	while (!atomic_load(&board->peer_qp))
		pause_a_little();
	end_connect(&end, atomic_load(&board->peer_qp));
	atomic_store(&board->phase, RUNNING);
	while (!atomic_load(&board->must_deregister)) {
		if (atomic_exchange(&board->must_fork, 0))
			fork_child();
		if (atomic_load(&board->must_exit))
			exit(0);
		pause_a_little();
	}
	start = now();
	atomic_store(&board->phase, DEREGISTERING);
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr failed");
	atomic_store(&board->deregister_us, us_since(start));
	atomic_store(&board->phase, DEREGISTERED);
	for (;;)
		pause();
}

static void be_peer(void)
{
	struct end end;

	end_open(&end);
	end_make_qp(&end);
	while (!atomic_load(&board->victim_qp) && !atomic_load(&board->stop))
		pause_a_little();
	atomic_store(&board->peer_qp, end.qp->qp_num);
	while (atomic_load(&board->phase) < RUNNING &&
	       !atomic_load(&board->stop))
		pause_a_little();
	if (!atomic_load(&board->stop)) {
		end_connect(&end, atomic_load(&board->victim_qp));
		counters_write(&board->counters, &end,
			       atomic_load(&board->address),
			       atomic_load(&board->rkey), &board->stop);
	}
	end_close(&end);
	_exit(0);
}

static pid_t start(struct killed *killed)
{
	pid_t pid = fork();

	if (pid < 0)
		die("no process");
	board = killed;
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

pid_t victim_start(struct killed *killed, const char *path)
{
	pid_t pid = start(killed);

	if (!pid)
		be_victim(path);
	return pid;
}

pid_t peer_start(struct killed *killed)
{
	pid_t pid = start(killed);

	if (!pid)
		be_peer();
	return pid;
}

pid_t find_keeper(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	pid_t pid = 0;

	if (!dir)
		die("no /proc");
	while (!pid && (entry = readdir(dir))) {
		char name[300], comm[32] = "";
		FILE *f;

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(name, sizeof(name), "/proc/%s/comm", entry->d_name);
		f = fopen(name, "re");
		if (!f)
			continue;
		if (fgets(comm, sizeof(comm), f) &&
		    strcmp(comm, "daxmr-keeper\n") == 0)
			pid = atoi(entry->d_name);
		fclose(f);
	}
	closedir(dir);
	return pid;
}
