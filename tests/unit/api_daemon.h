/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of daxmr.h share: a file that a region is on, and somebody who
 * does something to it. The files are in the current folder, or in
 * DAXMR_TEST_DAX_DIR; the device is tests/preload's stand-in, or a real one.
 */
#ifndef DAXMR_TESTS_API_DAEMON_H
#define DAXMR_TESTS_API_DAEMON_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <infiniband/verbs.h>

#include "daxmr.h"

#define DAEMON_PAGE 4096UL
/* For what comes; the machine may be busy. */
#define DAEMON_WAIT_MS 60000
#define DAEMON_SIZE    (16 * DAEMON_PAGE)
/* More is mapped than the file has: room to grow. */
#define DAEMON_MAPPED (64 * DAEMON_PAGE)

struct daemon_file {
	char path[256];
	int fd;
	char *addr;
	struct daxmr_channel *channel;
	struct daxmr_region *region;
};

/* A file of DAEMON_SIZE bytes, each page of one letter: 'a', 'b', ... */
void daemon_open(struct daemon_file *file);
void daemon_close(struct daemon_file *file);

/* Its region, with these options and the channel; fails where it cannot. */
void daemon_register(struct daemon_file *file, struct ibv_pd *pd,
		     struct daxmr_options options);

/* The next event is of this kind: what it had, acked. */
struct daxmr_event daemon_expect(const struct daemon_file *file,
				 enum daxmr_event_kind kind);
/* The same, not acked yet. */
struct daxmr_event *daemon_expect_out(const struct daemon_file *file,
				      enum daxmr_event_kind kind);
/* There is none. */
void daemon_expect_none(const struct daemon_file *file);

/* Another process, that has the file open until it is told to close it. */
struct outsider {
	pid_t pid;
	int told;
};
/* Comes back at once; the open may have to wait. */
void outsider_start(struct outsider *outsider, const struct daemon_file *file,
		    int flags);
void outsider_wait_open(const struct outsider *outsider);
/* What it reads there: one byte. */
char outsider_read(const struct outsider *outsider, off_t offset);
/* Writes one byte, or sets the size. */
void outsider_write(const struct outsider *outsider, off_t offset, char byte);
void outsider_truncate(const struct outsider *outsider, off_t size);
void outsider_end(struct outsider *outsider);

#endif
