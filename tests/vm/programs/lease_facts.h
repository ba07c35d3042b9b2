/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of lease_facts share.
 *
 * Each test starts with a new file, written from end to end, and with two
 * outsiders: processes that have neither a descriptor nor a mapping of it, and
 * do what they are asked.  They are forked before the test has threads, and are
 * gone after it, however it ended.  Nothing waits for a time: waits are for
 * conditions, and end with a failure after WAIT_MS.
 *
 * Results are 0, or a positive value, or -errno.
 */
#ifndef DAXMR_TESTS_VM_LEASE_FACTS_H
#define DAXMR_TESTS_VM_LEASE_FACTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#define WAIT_MS	     10000
#define FILE_SIZE    (256UL << 10)
#define LEASE_SIGNAL (SIGRTMIN + 3)
/* What the file is filled with. */
#define FILLED 0x5a

struct outsider {
	pid_t pid;
	int socket;
};

struct facts {
	char folder[160];
	char file[192];
	struct outsider one, two;
	/* What the holder has: -1 and NULL at the start of a test. */
	int fd;
	unsigned char *map;
};

/* The system */
void make_path(char *path, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
bool kernel_is(int major, int minor); /* or newer */
bool on_xfs(const struct facts *f);
/* A number below /proc/sys/fs; the end of the test restores it. */
void sysctl_set(const char *name, int value);
void wait_until(bool (*holds)(const void *arg), const void *arg,
		const char *what);
/* The letter of /proc/PID/stat: 'D' waits and cannot be killed. */
char process_state(pid_t pid);

/* Leases: fcntl() with -errno */
int lease_set(int fd, int type);
int lease_get(int fd);
/*
 * The lease of this description as /proc/self/fdinfo has it: "ACTIVE WRITE",
 * "BREAKING UNLCK", ..., or "none".  Valid until the next call.
 */
const char *lease_line(int fd);

/* The holder: this process */
int open_or_fail(const char *path, int flags);
/* Opens the file into f->fd. */
void holder_open(struct facts *f, int flags);
/* Takes a writing lease whose break comes to the calling thread as
 * LEASE_SIGNAL. */
void holder_take(int fd);
/* Both. */
void holder_lease(struct facts *f);
unsigned char *holder_map(struct facts *f);
/* Waits for the signal of a break. */
siginfo_t break_expected(int fd);
bool signal_pending(int signo);
/* No signal has come, and the lease is as it was. */
void no_break_expected(int fd);

/* Outsiders */
typedef long (*act_fn)(const char *path, long argument);

void outsider_start(struct outsider *o);
void outsider_ask(struct outsider *o, act_fn act, const char *path, long arg);
bool outsider_has_answered(const struct outsider *o);
long outsider_answer(struct outsider *o);
long outsider_do(struct outsider *o, act_fn act, const char *path, long arg);
/* The same with a descriptor sent along; what comes back with the answer is
 * in *ret_fd (not asked for: NULL). */
void outsider_ask_fd(struct outsider *o, act_fn act, const char *path, long arg,
		     int fd);
long outsider_answer_fd(struct outsider *o, int *ret_fd);
/* Until it waits in the kernel for the holder of a lease (/proc/locks). */
void outsider_waits(const struct outsider *o);
void process_waits_for_lease(pid_t pid);
/* Reaps it: its wait status. */
int outsider_kill(struct outsider *o);
int outsider_wait(struct outsider *o);

/* In the outsider: the descriptor sent along, and the one to send back. */
extern int outsider_given, outsider_gives;
/* In the outsider: what act_open and act_take opened, and act_map mapped. */
extern int outsider_fd;
extern unsigned char *outsider_map;

/* What an outsider can be asked to do; others are written beside their test. */
long act_open(const char *path, long flags);
long act_close(const char *path, long unused);
long act_truncate(const char *path, long size);
/* Opens the file for both, takes a lease that is told by LEASE_SIGNAL, and
 * gives the descriptor. */
long act_take(const char *path, long unused);
/* Maps what act_open opened, and closes the descriptor. */
long act_map(const char *path, long unused);
long act_store(const char *path, long value); /* into the first byte of it */
long act_load(const char *path, long unused); /* the first byte, by read */

/* The tests, by theme: each returns how many failed. */
int grant_tests(void);
int break_tests(void);
int answer_tests(void);
int delegation_tests(void);
int signal_tests(void);
int owner_tests(void);
int file_tests(void);

/* For the arrays of tests. */
int facts_setup(void **state);
int facts_teardown(void **state);
#define FACT(test)                                                             \
	cmocka_unit_test_setup_teardown(test, facts_setup, facts_teardown)

#endif
