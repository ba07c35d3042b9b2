/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_direct FILE DISK DELAY
 *
 * Direct and asynchronous I/O on a slow DISK, whose buffers lie in FILE, is in
 * flight while FILE is registered, and while it is deregistered: the pages it
 * has are those that were there when it began. DELAY is the file of /sys that
 * has the disk's delay in jiffies.
 *
 *   reads while it is registered: what they bring comes into the mapping later,
 *     beside what a peer writes meanwhile to other words of the same blocks;
 *   the same, deregistered as soon as they are complete;
 *   writes while it is registered, and while it is deregistered: the disk has
 *     what was there when they began, though it is overwritten.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ends.h"

#define SIZE	     (256UL << 10)
#define COUNT	     8U
#define APART	     (SIZE / COUNT)
#define PLACE	     1024UL /* of the I/O in each part, not a page's begin */
#define LENGTH	     2048UL
#define PEERS_PLACE  3200UL /* of what the peer writes: in the same page */
#define PEERS_LENGTH 100UL
#define SLOW	     500U /* jiffies */
#define SLOWEST	     8000U
#define WAIT_SECONDS 30
#define DISK_SECONDS 120 /* the slowest disk, at 100 Hz */

static struct end server, peer;
static unsigned char *file, *model, *buffer, *sectors;
static struct ibv_mr *mr, *buffer_mr;
static aio_context_t context;
static const char *path, *delay_path;
static int disk;
static uint32_t round_number;
static unsigned int slow = SLOW;
static long in_flight; /* that nobody has waited for */

static void set_delay(unsigned int jiffies)
{
	int fd = open(delay_path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || dprintf(fd, "%u", jiffies) < 0)
		die("%s: %s", delay_path, strerror(errno));
	close(fd);
}

static void take_finished(struct timespec *timeout, long least)
{
	struct io_event events[COUNT];
	long n = syscall(SYS_io_getevents, context, least, (long)COUNT, events,
			 timeout);

	if (n < 0)
		die("io_getevents: %s", strerror(errno));
	for (long i = 0; i < n; i++)
		if (events[i].res != (int64_t)LENGTH)
			die("direct I/O failed: %ld", (long)events[i].res);
	in_flight -= n;
}

static void start(unsigned int opcode)
{
	static struct iocb blocks[COUNT];
	struct iocb *list[COUNT];

	set_delay(slow);
	for (unsigned int i = 0; i < COUNT; i++) {
		list[i] = &blocks[i];
		blocks[i] = (struct iocb){
			.aio_lio_opcode = (uint16_t)opcode,
			.aio_fildes = (uint32_t)disk,
			.aio_buf = (uintptr_t)file + i * APART + PLACE,
			.aio_nbytes = LENGTH,
			.aio_offset = (int64_t)(i * LENGTH),
		};
	}
	if (syscall(SYS_io_submit, context, (long)COUNT, list) != COUNT)
		die("io_submit: %s", strerror(errno));
	in_flight = COUNT;
}

/*
 * All of it? Else the round shows nothing, the disk was not slow enough for
 * this machine.
 */
static bool is_in_flight(void)
{
	struct timespec none = {0};

	take_finished(&none, 0);
	return in_flight == COUNT;
}

static void finish(void)
{
	struct timespec patience = {.tv_sec = DISK_SECONDS};

	take_finished(&patience, in_flight);
	if (in_flight)
		die("the I/O does not end");
	set_delay(0);
}

static void use_disk(bool is_write)
{
	size_t length = COUNT * LENGTH;
	ssize_t n = is_write ? pwrite(disk, sectors, length, 0)
			     : pread(disk, sectors, length, 0);

	if (n != (ssize_t)length)
		die("the disk: %s", strerror(errno));
}

/* The disk has other bytes than the file. */
static void make_disk(void)
{
	fill_pattern(sectors, COUNT * LENGTH, 0, ++round_number);
	use_disk(true);
}

static void make_file(void)
{
	fill_pattern(model, SIZE, 0, ++round_number);
	memcpy(file, model, SIZE);
}

static void model_reads(void)
{
	for (unsigned int i = 0; i < COUNT; i++)
		memcpy(model + i * APART + PLACE, sectors + i * LENGTH, LENGTH);
}

static void check(const unsigned char *bytes, const char *what)
{
	for (size_t i = 0; i < SIZE; i++)
		if (bytes[i] != model[i])
			die("%s: byte %zu is %#x, not %#x", what, i, bytes[i],
			    model[i]);
}

static void check_file(const char *what)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, buffer, SIZE) != (ssize_t)SIZE)
		die("%s cannot be read: %s", path, strerror(errno));
	close(fd);
	check(buffer, what);
}

static void check_disk(const unsigned char *want, const char *what)
{
	use_disk(false);
	for (unsigned int i = 0; i < COUNT; i++)
		if (memcmp(sectors + i * LENGTH, want + i * APART + PLACE,
			   LENGTH))
			die("%s: the disk has not what was there", what);
}

static void deregister(void)
{
	int r = ibv_dereg_mr(mr);

	if (r)
		die("ibv_dereg_mr: %s", strerror(r));
}

static void register_file(void)
{
	mr = end_register(&server, file, SIZE, REMOTE_ALL);
	ends_connect(&server, &peer);
}

static void transfer(enum ibv_wr_opcode opcode, size_t at, size_t length)
{
	enum ibv_wc_status status =
		end_rdma(&peer, opcode, buffer_mr, buffer, (uint32_t)length,
			 (uintptr_t)file + at, mr->rkey);

	if (status != IBV_WC_SUCCESS)
		die("RDMA: %s", ibv_wc_status_str(status));
}

/* To the same blocks, other words. */
static void peer_writes(void)
{
	for (unsigned int i = 0; i < COUNT; i++) {
		size_t at = i * APART + PEERS_PLACE;

		fill_pattern(buffer, PEERS_LENGTH, at, round_number + 100);
		memcpy(model + at, buffer, PEERS_LENGTH);
		transfer(IBV_WR_RDMA_WRITE, at, PEERS_LENGTH);
	}
}

static void wait_for_model(void)
{
	double deadline = now() + WAIT_SECONDS;
	struct timespec pause = {.tv_nsec = 10000000};

	while (memcmp(file, model, SIZE)) {
		if (now() > deadline)
			check(file, "the mapping after direct reads");
		nanosleep(&pause, NULL);
	}
}

/* If not, it is to be done again, with a disk twice as slow. */
static bool is_done(bool is_shown, const char *what)
{
	if (is_shown) {
		printf("%s: ok, with %u jiffies\n", what, slow);
		return true;
	}
	if (slow >= SLOWEST)
		die("%s: the I/O was not in flight all the time with %u "
		    "jiffies",
		    what, slow);
	slow *= 2;
	return false;
}

/* The rounds: was all of it in flight as long as it is to be? */
static bool reads_while_registering(bool is_left_at_once)
{
	const char *what =
		is_left_at_once ? "reads, then deregistered" : "reads";
	bool is_shown;

	make_file();
	make_disk();
	start(IOCB_CMD_PREAD);
	register_file();
	is_shown = is_in_flight();
	peer_writes();
	model_reads();
	finish();
	if (!is_left_at_once) {
		wait_for_model();
		transfer(IBV_WR_RDMA_READ, 0, SIZE);
		check(buffer, "a peer's read after direct reads");
	}
	deregister();
	check(file, what);
	check_file(what);
	return is_done(is_shown, what);
}

static void overwrite_all(void)
{
	fill_pattern(buffer, SIZE, 0, ++round_number);
	transfer(IBV_WR_RDMA_WRITE, 0, SIZE);
}

static bool writes_while_registering(void)
{
	const char *what = "writes while registering";
	bool is_shown;

	make_file();
	start(IOCB_CMD_PWRITE);
	register_file();
	is_shown = is_in_flight();
	finish();
	check_disk(model, what);
	check(file, what);
	overwrite_all();
	memcpy(model, buffer, SIZE);
	deregister();
	check(file, what);
	check_file(what);
	return is_done(is_shown, what);
}

static bool writes_while_deregistering(void)
{
	const char *what = "writes while deregistering";
	bool is_shown;

	make_file();
	register_file();
	overwrite_all();
	memcpy(model, buffer, SIZE);
	start(IOCB_CMD_PWRITE);
	deregister();
	is_shown = is_in_flight();
	finish();
	check_disk(model, what);
	check(file, what);
	check_file(what);
	return is_done(is_shown, what);
}

/*
 * What a program's first registration and connection cost once (a keeper, code
 * that is read from disk) is not to be waited for by the disk.
 */
static void warm_up(void)
{
	char *name;
	unsigned char *at;
	struct ibv_mr *first;
	int r;

	if (asprintf(&name, "%s.first", path) < 0)
		die("no memory");
	at = map_file(name, SIZE);
	first = end_register(&server, at, SIZE, REMOTE_ALL);
	ends_connect(&server, &peer);
	r = ibv_dereg_mr(first);
	if (r)
		die("ibv_dereg_mr: %s", strerror(r));
	munmap(at, SIZE);
	unlink(name);
	free(name);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		die("usage: rdma_direct FILE DISK DELAY");
	path = argv[1];
	delay_path = argv[3];
	disk = open(argv[2], O_RDWR | O_DIRECT | O_CLOEXEC);
	if (disk < 0)
		die("%s: %s", argv[2], strerror(errno));
	file = map_file(path, SIZE);
	model = malloc(SIZE);
	buffer = aligned_alloc(4096, SIZE);
	sectors = aligned_alloc(4096, COUNT * LENGTH);
	if (!model || !buffer || !sectors ||
	    syscall(SYS_io_setup, COUNT, &context))
		die("no memory");
	setlinebuf(stdout);
	end_open(&server);
	end_open(&peer);
	buffer_mr = end_register(&peer, buffer, SIZE, REMOTE_ALL);
	warm_up();
	while (!reads_while_registering(false))
		;
	while (!reads_while_registering(true))
		;
	while (!writes_while_registering())
		;
	while (!writes_while_deregistering())
		;
	return 0;
}
