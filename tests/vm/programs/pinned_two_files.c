/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two pinned regions, of two files, that others want one after the other.
 *
 *     pinned_two_files SLOW_FILE FILE SLOW_MS MOST_MS DAXMR
 *
 * A QP of the first region's PD has a peer that does not answer: its work is
 * never done, so that file's recall takes as long as it may, SLOW_MS at most.
 * While it does another process cuts the second file off, which takes MOST_MS
 * at most and is over before the first. The second region's QP goes on. That
 * the first one's gate is closed by then is what DAXMR, the program, says of
 * us.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daxmr.h"
#include "ends.h"

#define SIZE   (1UL << 20)
#define LENGTH 4096U

/* 69 s, before the device asks the peer again */
#define LONG_TIMEOUT 24

struct side {
	struct end here, there;
	unsigned char *file, *memory;
	struct ibv_mr *memory_mr;
	struct daxmr_region *region;
};

static struct side slow, other;

/* A second QP of the slow side's PD, whose work has nothing to do with it. */
static struct end probe, probed;
static atomic_bool is_over;

static void *memory(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		die("no memory");
	return at;
}

static void prepare(struct side *side, const char *path, uint32_t quiesce_ms)
{
	const struct daxmr_options options = {
		.size = sizeof(options),
		.strategy = DAXMR_STRATEGY_PINNED,
		.quiesce_ms = quiesce_ms,
	};

	end_open(&side->here);
	end_open(&side->there);
	side->here.timeout = LONG_TIMEOUT;
	ends_connect(&side->here, &side->there);
	side->memory = memory(LENGTH);
	side->memory_mr =
		end_register(&side->there, side->memory, LENGTH, REMOTE_ALL);
	side->file = map_file(path, SIZE);
	memset(side->file, 1,
	       SIZE); /* fs-dax is only pinned where it is there */
	if (daxmr_reg_mr(side->here.pd, side->file, SIZE,
			 IBV_ACCESS_LOCAL_WRITE, &options, &side->region))
		die("%s: %s", path, daxmr_errormsg());
}

static struct ibv_mr *mr_of(const struct side *side)
{
	struct daxmr_info info = {.size = sizeof(info)};

	if (daxmr_region_info(side->region, &info))
		die("daxmr_region_info failed");
	return info.mr;
}

static void own_queues(struct end *end, const struct end *of)
{
	*end = *of;
	end->qp = NULL;
	end->cq = ibv_create_cq(end->context, 64, NULL, NULL, 0);
	if (!end->cq)
		die("ibv_create_cq: %m");
}

static void *write_on(void *arg)
{
	void *from = memory(LENGTH);
	struct ibv_mr *mr = end_register(&probe, from, LENGTH, 0);

	while (!is_over) {
		if (end_rdma(&probe, IBV_WR_RDMA_WRITE, mr, from, LENGTH,
			     (uintptr_t)slow.memory,
			     slow.memory_mr->rkey) != IBV_WC_SUCCESS)
			die("a QP that was drained has failed");
		usleep(1000);
	}
	return arg;
}

/* The peer is there no more, which nobody has told. */
static void send_to_nobody(void)
{
	struct ibv_qp_attr reset = {.qp_state = IBV_QPS_RESET};
	struct ibv_sge sge = {(uintptr_t)slow.file, LENGTH, mr_of(&slow)->lkey};
	struct ibv_send_wr wr = {.wr_id = 11,
				 .sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad_wr;

	if (ibv_modify_qp(slow.there.qp, &reset, IBV_QP_STATE))
		die("the peer's QP cannot be reset");
	if (ibv_post_send(slow.here.qp, &wr, &bad_wr))
		die("the send is refused");
}

/* In another process, until one of these is over. */
static pid_t cut(const char *path)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(truncate(path, SIZE / 2) ? 1 : 0);
	if (pid < 0)
		die("fork: %m");
	return pid;
}

static bool is_cut(pid_t pid, int options)
{
	int status;
	pid_t r = waitpid(pid, &status, options);

	if (r < 0 || (r == pid && status))
		die("truncate by another process failed");
	return r == pid;
}

/* Of all devices; as daxmr-list(1) has it, for no clock can say so. */
static unsigned long gate_closings(const char *daxmr)
{
	static const char key[] = "\"gate_closings\":";
	unsigned long count = 0;
	char command[4096], *line = NULL;
	const char *at = NULL;
	size_t size = 0;
	FILE *said;

	snprintf(command, sizeof(command),
		 "exec env -u LD_PRELOAD '%s' list --json %d", daxmr, getpid());
	said = popen(command, "re");
	if (!said)
		die("popen: %m");
	/* The process's own sum stands before those of its devices. */
	while (!at && getline(&line, &size, said) > 0)
		at = strstr(line, key);
	if (!at)
		die("daxmr list does not say how often the gate was closed");
	count = strtoul(at + strlen(key), NULL, 10);
	while (getline(&line, &size, said) > 0)
		;
	free(line);
	if (pclose(said))
		die("daxmr list failed");
	return count;
}

/* Until the gate is closed for the drain, which then waits for the peer. */
static void wait_until_held_up(pid_t cutting, const char *daxmr)
{
	double deadline = now() + 60;

	while (!gate_closings(daxmr)) {
		if (is_cut(cutting, WNOHANG))
			die("the recall has waited for nothing");
		if (now() > deadline)
			die("posts are not held up");
		usleep(10000);
	}
}

static double ms_since(double start)
{
	return (now() - start) * 1e3;
}

/* The file may not be back yet: the post waits for it. */
static void must_go_on(void)
{
	enum ibv_wc_status status;

	fill_pattern(other.file, LENGTH, 0, 1);
	status = end_rdma(&other.here, IBV_WR_RDMA_WRITE, mr_of(&other),
			  other.file, LENGTH, (uintptr_t)other.memory,
			  other.memory_mr->rkey);
	if (status != IBV_WC_SUCCESS)
		die("the second region: %s", ibv_wc_status_str(status));
	if (memcmp(other.file, other.memory, LENGTH))
		die("what was written is not what has arrived");
}

int main(int argc, char **argv)
{
	double start, other_start, slow_took, other_took, most, slow_most;
	pid_t slow_pid, other_pid;
	pthread_t thread;

	if (argc != 6)
		die("usage: pinned_two_files SLOW_FILE FILE SLOW_MS MOST_MS "
		    "DAXMR");
	slow_most = atof(argv[3]);
	most = atof(argv[4]);
	prepare(&slow, argv[1], (uint32_t)slow_most);
	prepare(&other, argv[2], (uint32_t)most);
	own_queues(&probe, &slow.here);
	own_queues(&probed, &slow.there);
	ends_connect(&probe, &probed);
	if (pthread_create(&thread, NULL, write_on, NULL))
		die("no thread");
	send_to_nobody();
	if (gate_closings(argv[5]))
		die("the gate was closed before anybody wanted a file");

	start = now();
	slow_pid = cut(argv[1]);
	wait_until_held_up(slow_pid, argv[5]);
	other_start = now();
	other_pid = cut(argv[2]);
	is_cut(other_pid, 0);
	other_took = ms_since(other_start);
	printf("the second file is cut off in %.1f ms, %.1f ms after the first "
	       "was wanted\n",
	       other_took, (other_start - start) * 1e3);
	if (other_took > most)
		die("it took longer than %.0f ms", most);
	if (is_cut(slow_pid, WNOHANG))
		die("the first one was not waited for");
	must_go_on();
	is_cut(slow_pid, 0);
	slow_took = ms_since(start);
	printf("the first file is cut off in %.1f ms\n", slow_took);
	if (slow_took > slow_most)
		die("it took longer than %.0f ms", slow_most);
	if (end_wait(&slow.here, 60) == IBV_WC_SUCCESS)
		die("what nobody has received has succeeded");
	is_over = true;
	pthread_join(thread, NULL);
	if (daxmr_dereg_mr(slow.region) || daxmr_dereg_mr(other.region))
		die("daxmr_dereg_mr: %s", daxmr_errormsg());
	return 0;
}
