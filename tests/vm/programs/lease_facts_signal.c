/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a break is told: kill_fasync() to the owner of the open file description
 * (send_sigio() in fs/fcntl.c), which is one, with one signal number.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_facts.h"

/* POLLIN | POLLRDNORM | POLLMSG: band_table[] of fs/fcntl.c for POLL_MSG. */
#define LEASE_BAND 0x441

struct listener {
	pthread_t thread;
	pthread_barrier_t ready, go;
	pid_t tid;
	bool told;
	siginfo_t info;
};

/* The signal of another thread cannot be seen from here, only one's own. */
static void *listen_for_break(void *arg)
{
	const struct timespec limit = {WAIT_MS / 1000, 0};
	struct listener *l = arg;
	sigset_t set;

	l->tid = gettid();
	pthread_barrier_wait(&l->ready);
	pthread_barrier_wait(&l->go);
	sigemptyset(&set);
	sigaddset(&set, LEASE_SIGNAL);
	l->told = sigtimedwait(&set, &l->info, &limit) == LEASE_SIGNAL;
	return NULL;
}

static void setown__to_a_thread_tells_that_thread_only(void **state)
{
	struct f_owner_ex owner = {.type = F_OWNER_TID};
	struct facts *f = *state;
	struct listener l = {0};
	bool seen_here;

	holder_open(f, O_RDWR);
	pthread_barrier_init(&l.ready, NULL, 2);
	pthread_barrier_init(&l.go, NULL, 2);
	assert_int_equal(pthread_create(&l.thread, NULL, listen_for_break, &l),
			 0);
	pthread_barrier_wait(&l.ready);
	owner.pid = l.tid;
	fcntl(f->fd, F_SETSIG, LEASE_SIGNAL);
	fcntl(f->fd, F_SETOWN_EX, &owner);
	lease_set(f->fd, F_WRLCK);
	outsider_ask(&f->one, act_open, f->file, O_RDONLY);
	process_waits_for_lease(f->one.pid);
	/* It was sent: were it for the process it could be seen here. */
	seen_here = signal_pending(LEASE_SIGNAL);
	pthread_barrier_wait(&l.go);
	pthread_join(l.thread, NULL);
	assert_false(seen_here);
	assert_true(l.told);
	assert_int_equal(l.info.si_fd, f->fd);
	assert_int_equal(l.info.si_band, LEASE_BAND);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
}

static void setsig__sigtimedwait_reads_fd_and_band(void **state)
{
	struct facts *f = *state;
	siginfo_t info;

	holder_lease(f);
	outsider_do(&f->one, act_open, f->file, O_RDONLY | O_NONBLOCK);
	info = break_expected(f->fd);
	assert_int_equal(info.si_fd, f->fd);
	assert_int_equal(info.si_band, LEASE_BAND);
	assert_int_equal(info.si_code, POLL_MSG);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
}

static void setsig__signalfd_reads_fd_and_band(void **state)
{
	struct pollfd p = {.events = POLLIN};
	struct signalfd_siginfo info;
	struct facts *f = *state;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, LEASE_SIGNAL);
	p.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	assert_true(p.fd >= 0);
	holder_lease(f);
	assert_int_equal(poll(&p, 1, 0), 0);
	outsider_do(&f->one, act_open, f->file, O_RDONLY | O_NONBLOCK);
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(read(p.fd, &info, sizeof(info)), sizeof(info));
	assert_int_equal(info.ssi_signo, LEASE_SIGNAL);
	assert_int_equal(info.ssi_fd, f->fd);
	assert_int_equal(info.ssi_band, LEASE_BAND);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
}

/* In the outsider: the number under which it took the lease. */
static long act_number(const char *path, long unused)
{
	(void)path;
	(void)unused;
	return outsider_fd;
}

/* Who hears for another process has to know that process's numbers. */
static void si_fd__is_the_number_in_the_process_that_took_the_lease(void **s)
{
	struct f_owner_ex owner = {F_OWNER_TID, gettid()};
	struct facts *f = *s;
	int ours, theirs;

	outsider_ask(&f->one, act_take, f->file, 0);
	assert_int_equal(outsider_answer_fd(&f->one, &f->fd), 0);
	theirs = (int)outsider_do(&f->one, act_number, "", 0);
	ours = fcntl(f->fd, F_DUPFD_CLOEXEC, 100);
	assert_int_not_equal(ours, theirs);
	assert_int_equal(fcntl(ours, F_SETOWN_EX, &owner), 0);
	outsider_do(&f->two, act_open, f->file, O_WRONLY | O_NONBLOCK);
	break_expected(theirs);
	/* Taken again by us it is ours. */
	assert_int_equal(lease_set(ours, F_UNLCK), 0);
	holder_take(ours);
	outsider_do(&f->two, act_open, f->file, O_WRONLY | O_NONBLOCK);
	break_expected(ours);
}

static void unlock__resets_signal_and_owner(void **state)
{
	struct f_owner_ex owner;
	struct facts *f = *state;

	holder_lease(f);
	assert_int_equal(fcntl(f->fd, F_GETSIG), LEASE_SIGNAL);
	assert_int_equal(fcntl(f->fd, F_GETOWN_EX, &owner), 0);
	assert_int_equal(owner.type, F_OWNER_TID);
	assert_int_equal(owner.pid, gettid());
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(fcntl(f->fd, F_GETSIG), 0);
	assert_int_equal(fcntl(f->fd, F_GETOWN_EX, &owner), 0);
	assert_int_equal(owner.pid, 0);
	/* Taken again without them: SIGIO, and to the process. */
	assert_int_equal(lease_set(f->fd, F_WRLCK), 0);
	assert_int_equal(fcntl(f->fd, F_GETOWN_EX, &owner), 0);
	assert_int_equal(owner.type, F_OWNER_PID);
	assert_int_equal(owner.pid, getpid());
	outsider_do(&f->one, act_open, f->file, O_RDONLY | O_NONBLOCK);
	assert_false(signal_pending(LEASE_SIGNAL));
	assert_true(signal_pending(SIGIO));
}

static void setsig__before_setlease_holds(void **state)
{
	struct facts *f = *state;

	/* holder_take() does so: there is no moment with SIGIO between. */
	holder_lease(f);
	assert_int_equal(fcntl(f->fd, F_GETSIG), LEASE_SIGNAL);
	outsider_do(&f->one, act_open, f->file, O_RDONLY | O_NONBLOCK);
	break_expected(f->fd);
}

/* In the outsider: a lease as a program takes it that knows no better. */
static long act_take_plainly(const char *path, long unused)
{
	sigset_t set;

	(void)unused;
	outsider_fd = open(path, O_RDWR | O_CLOEXEC);
	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	return lease_set(outsider_fd, F_WRLCK);
}

static void sigio__kills_a_holder_that_neither_blocks_nor_handles_it(void **s)
{
	struct facts *f = *s;
	int status;

	assert_int_equal(outsider_do(&f->one, act_take_plainly, f->file, 0), 0);
	outsider_ask(&f->two, act_open, f->file, O_WRONLY);
	status = outsider_wait(&f->one);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGIO);
	/* Its end was the answer. */
	assert_int_equal(outsider_answer(&f->two), 0);
}

/* The kernel accounts queued signals of a user against the receiver's limit. */
static void queue_limit(rlim_t soft)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_SIGPENDING, &limit), 0);
	limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &limit), 0);
}

static void queue__when_full_the_break_is_a_plain_sigio(void **state)
{
	const struct timespec limit = {WAIT_MS / 1000, 0};
	struct facts *f = *state;
	siginfo_t info;
	sigset_t set;

	holder_lease(f);
	queue_limit(0);
	outsider_do(&f->one, act_open, f->file, O_RDONLY | O_NONBLOCK);
	queue_limit(RLIM_INFINITY);
	assert_false(signal_pending(LEASE_SIGNAL));
	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	assert_int_equal(sigtimedwait(&set, &info, &limit), SIGIO);
	/* It says nothing: every lease has to be looked at. */
	assert_int_not_equal(info.si_band, LEASE_BAND);
	assert_string_equal(lease_line(f->fd), "BREAKING READ");
}

/* Signals below SIGRTMIN override the limit; several become one. */
static void queue__when_full_an_old_signal_still_says_which_file(void **state)
{
	struct f_owner_ex owner = {F_OWNER_TID, gettid()};
	const struct timespec limit = {WAIT_MS / 1000, 0};
	struct facts *f = *state;
	siginfo_t info;
	sigset_t set;

	holder_open(f, O_RDWR);
	assert_int_equal(fcntl(f->fd, F_SETSIG, SIGIO), 0);
	assert_int_equal(fcntl(f->fd, F_SETOWN_EX, &owner), 0);
	assert_int_equal(lease_set(f->fd, F_WRLCK), 0);
	queue_limit(0);
	outsider_do(&f->one, act_open, f->file, O_RDONLY | O_NONBLOCK);
	queue_limit(RLIM_INFINITY);
	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	assert_int_equal(sigtimedwait(&set, &info, &limit), SIGIO);
	assert_int_equal(info.si_fd, f->fd);
	assert_int_equal(info.si_band, LEASE_BAND);
}

/* In the outsider: be the owner of the description sent along. */
static long act_own_given(const char *path, long unused)
{
	(void)path;
	(void)unused;
	return fcntl(outsider_given, F_SETOWN, getpid()) < 0 ? -errno : 0;
}

/* In the outsider: has it been told? */
static long act_has_signal(const char *path, long unused)
{
	(void)path;
	(void)unused;
	return signal_pending(LEASE_SIGNAL);
}

static void setown__is_one_per_description(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	outsider_ask_fd(&f->one, act_own_given, "", 0, f->fd);
	assert_int_equal(outsider_answer(&f->one), 0);
	outsider_do(&f->two, act_open, f->file, O_RDONLY | O_NONBLOCK);
	assert_int_equal(outsider_do(&f->one, act_has_signal, "", 0), 1);
	assert_false(signal_pending(LEASE_SIGNAL));
}

static void setown__after_the_break_tells_the_new_owner_nothing(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	outsider_do(&f->two, act_open, f->file, O_RDONLY | O_NONBLOCK);
	outsider_ask_fd(&f->one, act_own_given, "", 0, f->fd);
	assert_int_equal(outsider_answer(&f->one), 0);
	/* nor does another one of the same kind */
	outsider_ask(&f->two, act_open, f->file, O_RDONLY);
	outsider_waits(&f->two);
	assert_int_equal(outsider_do(&f->one, act_has_signal, "", 0), 0);
	/* fdinfo is what tells */
	assert_string_equal(lease_line(f->fd), "BREAKING READ");
	break_expected(f->fd);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->two), 0);
}

int signal_tests(void)
{
	const struct CMUnitTest signals[] = {
		FACT(setown__to_a_thread_tells_that_thread_only),
		FACT(setsig__sigtimedwait_reads_fd_and_band),
		FACT(setsig__signalfd_reads_fd_and_band),
		FACT(si_fd__is_the_number_in_the_process_that_took_the_lease),
		FACT(unlock__resets_signal_and_owner),
		FACT(setsig__before_setlease_holds),
		FACT(sigio__kills_a_holder_that_neither_blocks_nor_handles_it),
		FACT(queue__when_full_the_break_is_a_plain_sigio),
		FACT(queue__when_full_an_old_signal_still_says_which_file),
		FACT(setown__is_one_per_description),
		FACT(setown__after_the_break_tells_the_new_owner_nothing),
	};

	return cmocka_run_group_tests(signals, NULL, NULL);
}
