/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_window FILE REBINDS OTHERS
 *
 * A peer writes numbered messages into the first half of FILE without pause,
 * by the rkey that it was told once, while the file is cut off to that half and
 * grown again: REBINDS times by the program itself, then OTHERS times by
 * another process. A second peer looks what is beyond: after each cut its write
 * there ends as a remote access error and the same write inside succeeds,
 * after each growth it succeeds again, by the same rkey, and what lay there
 * before is gone. Of the messages none fails and none is lost.
 *
 * But for rxe's own: while it binds a window to another MR there is a moment in
 * which the window is on none (rxe_do_bind_mw() sets mw->mr to NULL first,
 * which check_rkey() reads without mw->lock: 6.1 and 7.3), and a message that
 * comes in it is refused. No daxmr needs to be there for it: 43 times in
 * 1,243,253 binds on 6.1 with two idle processors, 14 in 12,699 beside a busy
 * host. Such a peer makes a new connection, and the same message must succeed.
 * How many there were is said; windows.sh holds it against what the kernel's
 * log says.
 *
 * Then the program has other memory in the file's place: what is left of the
 * file is still reached, and that memory is not. In the end it opens the file
 * with O_TRUNC, and nothing is reached.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"
#include "messages.h"

#define HALF   MESSAGES_SIZE
#define SIZE   (2 * HALF)
#define BEYOND (HALF + 5 * 4096 + 123) /* of the second peer's writes */
#define INSIDE (HALF - 64)	       /* behind all messages */
#define NOTE   50U

static struct end server, peer, looker_server, looker;
static unsigned char *file, *buffer;
static struct ibv_mr *mr, *peer_mr, *looker_mr;
static uint64_t remote;
static uint32_t rkey;
static _Atomic uint64_t begun, done;
static atomic_bool stop;
static atomic_uint refused; /* of what no cut had anything to do with */

/* By the peer of a pair that has only this thread. */
static enum ibv_wc_status write_inside(struct end *here, struct end *to,
				       struct ibv_mr *from, void *what,
				       uint32_t length, uint64_t offset)
{
	enum ibv_wc_status status;

	status = end_rdma(to, IBV_WR_RDMA_WRITE, from, what, length,
			  remote + offset, rkey);
	if (status != IBV_WC_REM_ACCESS_ERR)
		return status;
	atomic_fetch_add(&refused, 1);
	ends_connect(here, to);
	return end_rdma(to, IBV_WR_RDMA_WRITE, from, what, length,
			remote + offset, rkey);
}

static void *write_messages(void *arg)
{
	uint64_t offset, n;

	for (n = 0; !atomic_load(&stop) && n < MESSAGES_MAX; n++) {
		enum ibv_wc_status status;

		offset = message_make(n, buffer);
		atomic_store(&begun, n + 1);
		status = write_inside(&server, &peer, peer_mr, buffer,
				      MESSAGES_LENGTH, offset);
		if (status != IBV_WC_SUCCESS)
			die("message %lu: %s", (unsigned long)n,
			    ibv_wc_status_str(status));
		atomic_store(&done, n + 1);
	}
	return arg;
}

static void wait_for_messages(uint64_t more)
{
	uint64_t until = atomic_load(&done) + more;
	double deadline = now() + 60;

	if (until > MESSAGES_MAX)
		until = MESSAGES_MAX;
	while (atomic_load(&done) < until) {
		if (now() > deadline)
			die("the messages stand still");
		usleep(1000);
	}
}

/* How a write of the second peer ends. One that fails costs its QPs. */
static enum ibv_wc_status look(uint64_t offset, unsigned char letter)
{
	unsigned char *note = buffer + 4096;
	enum ibv_wc_status status;

	memset(note, letter, NOTE);
	status = end_rdma(&looker, IBV_WR_RDMA_WRITE, looker_mr, note, NOTE,
			  remote + offset, rkey);
	if (status != IBV_WC_SUCCESS)
		ends_connect(&looker_server, &looker);
	return status;
}

/* Until it does; for how long it did not. */
static double wait_until_ends_as(enum ibv_wc_status wanted,
				 unsigned char letter)
{
	double start = now();
	enum ibv_wc_status status;

	while ((status = look(BEYOND, letter)) != wanted) {
		if (status != IBV_WC_SUCCESS && status != IBV_WC_REM_ACCESS_ERR)
			die("beyond the end: %s", ibv_wc_status_str(status));
		if (now() - start > 60)
			die("beyond the end it is still: %s",
			    ibv_wc_status_str(status));
		usleep(1000);
	}
	return now() - start;
}

static void check_inside(unsigned char letter)
{
	unsigned char *note = buffer + 4096;
	enum ibv_wc_status status;

	memset(note, letter, NOTE);
	status = write_inside(&looker_server, &looker, looker_mr, note, NOTE,
			      INSIDE);
	if (status != IBV_WC_SUCCESS || file[INSIDE] != letter)
		die("inside: %s, %u for %u", ibv_wc_status_str(status),
		    file[INSIDE], letter);
}

static void check_zeroes(void)
{
	for (unsigned int i = 0; i < NOTE; i++)
		if (file[BEYOND + 4096 + i])
			die("what was cut off is there again");
}

/* What the peer has written between cut and bind: soon after the bind. */
static void wait_cleared(void)
{
	static const unsigned char zeroes[NOTE];
	double deadline = now() + 60;

	while (memcmp(file + BEYOND, zeroes, NOTE)) {
		if (now() > deadline)
			die("what was written beyond the end stays there");
		usleep(1000);
	}
}

/* The program itself: both are seen when the call returns. */
static void cut_and_grow(const char *path, int fd, unsigned char letter)
{
	enum ibv_wc_status status;

	memset(file + BEYOND + 4096, letter, NOTE);
	if (letter % 2 ? ftruncate(fd, (off_t)HALF)
		       : truncate(path, (off_t)HALF))
		die("cutting it off: %s", strerror(errno));
	status = look(BEYOND, letter);
	if (status != IBV_WC_REM_ACCESS_ERR)
		die("beyond the end that was just cut off: %s",
		    ibv_wc_status_str(status));
	check_inside(letter);
	if (ftruncate(fd, (off_t)SIZE))
		die("ftruncate: %s", strerror(errno));
	status = look(BEYOND, letter);
	if (status != IBV_WC_SUCCESS || file[BEYOND] != letter)
		die("what has just grown again: %s", ibv_wc_status_str(status));
	check_zeroes();
}

/* Another process, without the file open but for the moment of the call. */
static pid_t start_other(const char *path, int *ret_socket)
{
	off_t size;
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends))
		die("socketpair: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	close(ends[!pid]);
	*ret_socket = ends[!!pid];
	while (!pid && recv(ends[0], &size, sizeof(size), 0) > 0)
		if (truncate(path, size) || send(ends[0], "", 1, 0) != 1)
			_exit(1);
	if (!pid)
		_exit(0);
	return pid;
}

static void order(int other, off_t size)
{
	char answer;

	if (send(other, &size, sizeof(size), 0) != sizeof(size) ||
	    recv(other, &answer, 1, 0) != 1)
		die("truncate by another process failed");
}

static void other_cuts_and_grows(int other, unsigned char letter)
{
	double cut, grown;

	memset(file + BEYOND + 4096, letter, NOTE);
	order(other, (off_t)HALF);
	cut = wait_until_ends_as(IBV_WC_REM_ACCESS_ERR, letter);
	check_inside(letter);
	wait_cleared();
	wait_for_messages(10);
	order(other, (off_t)SIZE);
	grown = wait_until_ends_as(IBV_WC_SUCCESS, letter);
	if (file[BEYOND] != letter)
		die("what the peer wrote is not in memory");
	check_zeroes();
	printf("by another process: beyond fails after %.0f us, succeeds "
	       "after %.0f us\n",
	       cut * 1e6, grown * 1e6);
}

/* Where the file was mapped is something else by now. */
static void look_without_mapping(int fd)
{
	enum ibv_wc_status status;
	unsigned char byte;

	if (munmap(file, SIZE) ||
	    mmap(file, SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		 0) != file)
		die("no other memory in its place: %s", strerror(errno));
	memset(file, 0x55, SIZE);
	if (ftruncate(fd, (off_t)HALF))
		die("ftruncate: %s", strerror(errno));
	status = look(INSIDE, 'u');
	if (status != IBV_WC_SUCCESS || pread(fd, &byte, 1, INSIDE) != 1 ||
	    byte != 'u')
		die("inside, not mapped: %s", ibv_wc_status_str(status));
	status = look(BEYOND, 'u');
	if (status != IBV_WC_REM_ACCESS_ERR)
		die("beyond, not mapped: %s", ibv_wc_status_str(status));
	for (size_t i = 0; i < SIZE; i++)
		if (file[i] != 0x55)
			die("a peer has reached memory that is no file's");
}

static void look_after_open(const char *path)
{
	int fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);
	enum ibv_wc_status status;

	if (fd < 0)
		die("O_TRUNC: %s", strerror(errno));
	status = look(INSIDE, 't');
	if (status != IBV_WC_REM_ACCESS_ERR)
		die("after O_TRUNC: %s", ibv_wc_status_str(status));
	close(fd);
}

static void open_ends(void)
{
	int access = IBV_ACCESS_LOCAL_WRITE;

	end_open(&server);
	end_open(&peer);
	end_open(&looker);
	/* its QPs are in the PD of the region */
	looker_server = server;
	ends_connect(&server, &peer);
	ends_connect(&looker_server, &looker);
	mr = end_register(&server, file, SIZE, REMOTE_ALL);
	peer_mr = end_register(&peer, buffer, 4096, access);
	looker_mr = end_register(&looker, buffer + 4096, 4096, access);
	remote = (uintptr_t)file;
	rkey = mr->rkey;
}

int main(int argc, char **argv)
{
	unsigned long rebinds, others, i;
	int fd, other, status;
	pthread_t thread;
	char what[200];
	pid_t pid;

	if (argc != 4)
		die("usage: rdma_window FILE REBINDS OTHERS");
	rebinds = strtoul(argv[2], NULL, 10);
	others = strtoul(argv[3], NULL, 10);
	pid = start_other(argv[1], &other);
	fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)SIZE))
		die("%s: %s", argv[1], strerror(errno));
	file = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	buffer = aligned_alloc(4096, 8192);
	if (file == MAP_FAILED || !buffer)
		die("no memory");
	open_ends();
	if (pthread_create(&thread, NULL, write_messages, NULL))
		die("no thread");
	for (i = 0; i < rebinds / 2; i++) {
		cut_and_grow(argv[1], fd, (unsigned char)(1 + i % 200));
		wait_for_messages(1);
	}
	for (i = 0; i < others; i++)
		other_cuts_and_grows(other, (unsigned char)(201 + i % 50));
	wait_for_messages(10);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	if (mr->rkey != rkey)
		die("the rkey has changed");
	close(other);
	if (waitpid(pid, &status, 0) != pid || status)
		die("the other process has failed");
	if (!messages_are_in(file, 0, MESSAGES_SLOTS, atomic_load(&done),
			     atomic_load(&begun), what))
		die("%s", what);
	look_without_mapping(fd);
	look_after_open(argv[1]);
	if (ibv_dereg_mr(mr) || ibv_dereg_mr(peer_mr) ||
	    ibv_dereg_mr(looker_mr))
		die("ibv_dereg_mr failed");
	printf("%lu times cut off and grown again, %lu messages by one rkey, "
	       "none lost, %u refused by a window that was being bound\n",
	       rebinds / 2 + others, (unsigned long)atomic_load(&done),
	       atomic_load(&refused));
	return 0;
}
