/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose a lease is: the open file description's, not a process's.  And what
 * becomes of the program's other locks when descriptors are taken, closed and
 * remapped for a lease.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_facts.h"

/* In the outsider: opens, once it may, and reads the first byte. */
static long act_open_and_load(const char *path, long unused)
{
	long result = act_open(path, O_RDONLY);

	return result < 0 ? result : act_load(path, unused);
}

/* What the keeper stands on: it flushes after the program's death. */
static void owner__killed_leaves_the_lease_to_who_has_a_dup(void **state)
{
	struct facts *f = *state;
	int status;

	outsider_ask(&f->one, act_take, f->file, 0);
	assert_int_equal(outsider_answer_fd(&f->one, &f->fd), 0);
	status = outsider_kill(&f->one);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	assert_int_equal(lease_get(f->fd), F_WRLCK);
	assert_string_equal(lease_line(f->fd), "ACTIVE WRITE");
	outsider_ask(&f->two, act_open_and_load, f->file, 0);
	outsider_waits(&f->two);
	assert_string_equal(lease_line(f->fd), "BREAKING READ");
	assert_int_equal(pwrite(f->fd, "\x11", 1, 0), 1);
	outsider_waits(&f->two);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->two), 0x11);
	/* and takes it again, with the signal to itself */
	assert_int_equal(outsider_do(&f->two, act_close, "", 0), 0);
	holder_take(f->fd);
	outsider_do(&f->two, act_open, f->file, O_RDONLY | O_NONBLOCK);
	break_expected(f->fd);
}

static void owner__last_close_lets_the_opener_in(void **state)
{
	struct facts *f = *state;
	int second;

	holder_lease(f);
	second = dup(f->fd);
	outsider_ask(&f->one, act_open, f->file, O_RDONLY);
	break_expected(f->fd);
	outsider_waits(&f->one);
	close(f->fd);
	outsider_waits(&f->one);
	close(second);
	assert_int_equal(outsider_answer(&f->one), 0);
}

static void owner__last_munmap_lets_the_opener_in(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	holder_map(f);
	close(f->fd);
	outsider_ask(&f->one, act_open, f->file, O_RDONLY);
	outsider_waits(&f->one);
	munmap(f->map, FILE_SIZE);
	f->map = NULL;
	assert_int_equal(outsider_answer(&f->one), 0);
}

/*
 * The child's copy of the mapping is of the same description, which is all
 * that is counted: nothing tells of it but /proc.
 */
static void child__forked_before_stores_unseen(void **state)
{
	struct facts *f = *state;
	pid_t parent = getpid(), pid;
	int to_child[2], status;
	char go;

	holder_open(f, O_RDWR);
	holder_map(f);
	assert_int_equal(pipe2(to_child, O_CLOEXEC), 0);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(to_child[1]);
		close(f->fd);
		if (getppid() != parent || read(to_child[0], &go, 1) != 1)
			_exit(1);
		f->map[0] = 0x22;
		_exit(0);
	}
	holder_take(f->fd);
	/* A failed test closes the pipe: then the child ends as well. */
	assert_int_equal(write(to_child[1], "", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(f->map[0], 0x22);
	no_break_expected(f->fd);
}

/* In the outsider: is there somebody's fcntl lock, somebody's flock? */
static long act_try_fcntl(const char *path, long unused)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	(void)path;
	(void)unused;
	if (fcntl(outsider_fd, F_SETLK, &lock) < 0)
		return -errno;
	lock.l_type = F_UNLCK;
	return fcntl(outsider_fd, F_SETLK, &lock) < 0 ? -errno : 0;
}

static long act_try_flock(const char *path, long unused)
{
	(void)path;
	(void)unused;
	if (flock(outsider_fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	return flock(outsider_fd, LOCK_UN) < 0 ? -errno : 0;
}

static void take_fcntl_lock(struct facts *f)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	holder_open(f, O_RDWR);
	assert_int_equal(fcntl(f->fd, F_SETLK, &lock), 0);
	assert_int_equal(outsider_do(&f->one, act_open, f->file, O_RDWR), 0);
	assert_int_equal(outsider_do(&f->one, act_try_fcntl, "", 0), -EAGAIN);
}

static void fcntl_lock__is_dropped_by_dup_and_close(void **state)
{
	struct facts *f = *state;

	take_fcntl_lock(f);
	close(dup(f->fd));
	assert_int_equal(outsider_do(&f->one, act_try_fcntl, "", 0), 0);
}

static void fcntl_lock__is_dropped_by_close_of_another_open(void **state)
{
	struct facts *f = *state;

	take_fcntl_lock(f);
	close(open_or_fail(f->file, O_RDONLY));
	assert_int_equal(outsider_do(&f->one, act_try_fcntl, "", 0), 0);
}

/* A thread with descriptors of its own, as daxmr's in the program. */
struct own_table {
	struct facts *facts;
	pthread_barrier_t ready, go;
	int failed;
	int type;
};

static void *dup_and_close(void *arg)
{
	struct own_table *t = arg;
	int second;

	if (unshare(CLONE_FILES) < 0) {
		t->failed = errno;
		return NULL;
	}
	second = dup(t->facts->fd);
	if (second < 0 || close(second) < 0 || close(t->facts->fd) < 0)
		t->failed = errno;
	return NULL;
}

static void fcntl_lock__is_kept_by_a_thread_with_its_own_table(void **state)
{
	struct own_table t = {.facts = *state};
	pthread_t thread;

	take_fcntl_lock(t.facts);
	assert_int_equal(pthread_create(&thread, NULL, dup_and_close, &t), 0);
	pthread_join(thread, NULL);
	assert_int_equal(t.failed, 0);
	assert_int_equal(outsider_do(&t.facts->one, act_try_fcntl, "", 0),
			 -EAGAIN);
	/* and here the descriptor is open still */
	assert_int_not_equal(fcntl(t.facts->fd, F_GETFD), -1);
}

static void *hold_in_own_table(void *arg)
{
	struct own_table *t = arg;

	t->failed = unshare(CLONE_FILES) < 0 ? errno : 0;
	pthread_barrier_wait(&t->ready);
	pthread_barrier_wait(&t->go);
	t->type = lease_get(t->facts->fd);
	return NULL;
}

static void own_table__survives_close_range(void **state)
{
	struct own_table t = {.facts = *state};
	pthread_t thread;

	holder_lease(t.facts);
	pthread_barrier_init(&t.ready, NULL, 2);
	pthread_barrier_init(&t.go, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, hold_in_own_table, &t),
			 0);
	pthread_barrier_wait(&t.ready);
	/* Nothing of the test's frame is above it. */
	close_range((unsigned int)t.facts->fd, ~0U, 0);
	pthread_barrier_wait(&t.go);
	pthread_join(thread, NULL);
	assert_int_equal(t.failed, 0);
	assert_int_equal(fcntl(t.facts->fd, F_GETFD), -1);
	assert_int_equal(t.type, F_WRLCK);
}

static void flock__is_dropped_when_the_last_mapping_is_remapped(void **state)
{
	struct facts *f = *state;

	holder_open(f, O_RDWR);
	assert_int_equal(flock(f->fd, LOCK_EX), 0);
	assert_int_equal(outsider_do(&f->one, act_open, f->file, O_RDWR), 0);
	holder_map(f);
	close(f->fd);
	/* The mapping holds the description, and that the lock. */
	assert_int_equal(outsider_do(&f->one, act_try_flock, "", 0),
			 -EWOULDBLOCK);
	holder_open(f, O_RDWR);
	assert_ptr_equal(mmap(f->map, FILE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED, f->fd, 0),
			 f->map);
	assert_int_equal(outsider_do(&f->one, act_try_flock, "", 0), 0);
}

static void flock__is_kept_by_a_dup(void **state)
{
	struct facts *f = *state;

	holder_open(f, O_RDWR);
	assert_int_equal(flock(f->fd, LOCK_EX), 0);
	assert_int_equal(outsider_do(&f->one, act_open, f->file, O_RDWR), 0);
	/* who only keeps what is sent along */
	outsider_ask_fd(&f->two, act_open, "/dev/null", O_RDONLY, f->fd);
	assert_int_equal(outsider_answer(&f->two), 0);
	close(dup(f->fd));
	close(f->fd);
	assert_int_equal(outsider_do(&f->one, act_try_flock, "", 0),
			 -EWOULDBLOCK);
}

int owner_tests(void)
{
	const struct CMUnitTest owner[] = {
		FACT(owner__killed_leaves_the_lease_to_who_has_a_dup),
		FACT(owner__last_close_lets_the_opener_in),
		FACT(owner__last_munmap_lets_the_opener_in),
		FACT(child__forked_before_stores_unseen),
		FACT(fcntl_lock__is_dropped_by_dup_and_close),
		FACT(fcntl_lock__is_dropped_by_close_of_another_open),
		FACT(fcntl_lock__is_kept_by_a_thread_with_its_own_table),
		FACT(own_table__survives_close_range),
		FACT(flock__is_dropped_when_the_last_mapping_is_remapped),
		FACT(flock__is_kept_by_a_dup),
	};

	return cmocka_run_group_tests(owner, NULL, NULL);
}
