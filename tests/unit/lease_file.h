/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of lease/ on real files share. Files are made in
 * DAXMR_TEST_DAX_DIR (the rig), else in the current folder, which is the build
 * folder; every wait has a deadline.
 */
#ifndef DAXMR_TESTS_LEASE_FILE_H
#define DAXMR_TESTS_LEASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PAGE	 4096UL
#define WAIT_SEC 60

struct file {
	char path[256];
	int fd; /* open for reading and writing */
};

/* For main(): 77 and a sentence where files cannot be leased, else 0. */
int file_cannot_lease(void);

/* A new file of so many bytes, all a hole. */
void file_make(struct file *file, size_t size);
void file_remove(struct file *file);

/* Its first bytes, shared, to read and to write; for munmap(). */
void *file_map(const struct file *file, size_t length);

/* The lease of a range of a descriptor's file. */
struct lease_engine;
struct lease;
int acquire_range(struct lease_engine *engine, int fd, int type,
		  unsigned long offset, unsigned long length,
		  struct lease **ret);

/* The process that holds a lease on it, whatever its state; 0: none. */
pid_t file_lease_holder(const struct file *file);

/*
 * Another process opens and closes it, in less than 5 s: far below the
 * lease-break time, far above any scheduling.
 */
void file_check_let_in(const struct file *file, int flags);

/* How many descriptors it has. */
unsigned int process_fds(pid_t pid);

/* Seconds of CLOCK_MONOTONIC. */
double now_sec(void);

/* Until the condition says so; fails after WAIT_SEC. */
typedef bool condition_fn(void *arg);
void wait_for(condition_fn *condition, void *arg, const char *what);

/* Of the pid_t at arg. A zombie that init has not reaped is gone too. */
bool process_is_gone(void *arg);

/* Is the lease of this descriptor F_UNLCK, F_RDLCK, F_WRLCK? */
int lease_of(int fd);

/*
 * Whether any process has this memfd: as a descriptor, or mapped, if it is
 * another than the one that may (a forked child; 0: none).
 */
bool memfd_is_held(ino_t memfd, pid_t may_map);

/*
 * A child that runs fn(arg), tells when it has come back and then waits for
 * child_end(), with all that it opened.
 */
struct child {
	pid_t pid;
	int ready;
	int end;
};
void child_start(struct child *child, void (*fn)(void *arg), void *arg);
void child_end(struct child *child);

#endif
