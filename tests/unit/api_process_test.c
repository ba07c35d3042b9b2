/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The library in a process: children, threads, dlclose(), a second copy of it,
 * and the preload beside it. The device is the stand-in.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../preload/cannot_trap.h"
#include "../preload/standin.h"
#include "api_daemon.h"
#include "unit.h"

#define PAGE DAEMON_PAGE

static const struct daxmr_options staged = {.strategy = DAXMR_STRATEGY_STAGED};

static void in_child(const struct daemon_file *file)
{
	struct daxmr_stats stats = {.size = sizeof(stats)};
	struct daxmr_info info = {.size = sizeof(info)};
	struct daxmr_channel *own = NULL;
	struct daxmr_event *event;

	alarm(60);
	if (daxmr_region_info(file->region, &info) != -ESTALE ||
	    daxmr_region_stats(file->region, &stats) != -ESTALE ||
	    daxmr_flush(file->region, 0, 1, 0) != -ESTALE ||
	    daxmr_resize(file->region, file->fd, PAGE, PAGE) != -ESTALE ||
	    daxmr_dereg_mr(file->region) != -ESTALE ||
	    daxmr_channel_fd(file->channel) != -ESTALE ||
	    daxmr_event_get(file->channel, -1, &event) != -ESTALE ||
	    daxmr_channel_close(file->channel) != -ESTALE ||
	    !strstr(daxmr_errormsg(), "parent"))
		_exit(1);
	if (daxmr_channel_open(&own) ||
	    daxmr_event_get(own, 0, &event) != -EAGAIN ||
	    daxmr_channel_close(own))
		_exit(2);
	_exit(0);
}

static void fork__child_has_nothing_of_it(void **state)
{
	struct daemon_file file;
	int status;
	pid_t pid;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, standin_pd(), staged);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		in_child(&file);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	file.addr[0] = 'p';
	assert_int_equal(daxmr_flush(file.region, 0, 1, 0), 0);
	daemon_close(&file);
}

static void channel__stays_while_a_region_has_it(void **state)
{
	struct daemon_file file;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, standin_pd(), staged);
	assert_int_equal(daxmr_channel_close(file.channel), -EBUSY);
	daemon_close(&file);
}

static void file__has_one_policy(void **state)
{
	struct daxmr_options options = staged;
	struct daxmr_region *second = NULL;
	struct daemon_file file;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, standin_pd(), staged);
	options.size = sizeof(options);
	options.on_conflict = DAXMR_ON_CONFLICT_THEIRS;

	assert_int_equal(daxmr_reg_mr(standin_pd(), file.addr, PAGE,
				      IBV_ACCESS_LOCAL_WRITE, &options,
				      &second),
			 -EBUSY);
	assert_non_null(strstr(daxmr_errormsg(), "on_conflict"));
	options.on_conflict = DAXMR_ON_CONFLICT_DEFAULT;
	assert_int_equal(daxmr_reg_mr(standin_pd(), file.addr, PAGE,
				      IBV_ACCESS_LOCAL_WRITE, &options,
				      &second),
			 0);
	assert_int_equal(daxmr_dereg_mr(second), 0);
	daemon_close(&file);
}

static void stage_max__is_the_region_s_own(void **state)
{
	struct daxmr_options options = staged;
	struct daemon_file file;

	(void)state;
	daemon_open(&file);
	options.size = sizeof(options);
	options.stage_max = PAGE;
	assert_int_equal(daxmr_reg_mr(standin_pd(), file.addr, DAEMON_SIZE,
				      IBV_ACCESS_LOCAL_WRITE, &options,
				      &file.region),
			 -ENOMEM);
	assert_null(file.region);
	options.stage_max = DAEMON_SIZE;
	daemon_register(&file, standin_pd(), options);
	daemon_close(&file);
}

/* The program has closed all it knows of; it gave us one, and took it away. */
static void descriptor__that_was_closed_hurts_nobody(void **state)
{
	struct daemon_file file;
	struct daxmr_event *event;
	struct outsider reader;
	char name[] = "api-other-XXXXXX", got = 0;
	int other, fd;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, standin_pd(), staged);
	fd = daxmr_channel_fd(file.channel);
	other = mkostemp(name, O_CLOEXEC);
	assert_true(other >= 0);
	assert_int_equal(unlink(name), 0);
	assert_int_equal(dup3(other, fd, O_CLOEXEC), fd);

	outsider_start(&reader, &file, O_RDONLY);
	outsider_wait_open(&reader);
	outsider_end(&reader);
	do
		if (daxmr_event_get(file.channel, 0, &event))
			usleep(1000);
		else if (event->kind != DAXMR_EVENT_MERGED)
			daxmr_event_ack(event);
		else
			got = 1;
	while (!got);
	daxmr_event_ack(event);

	assert_int_equal(lseek(other, 0, SEEK_END), 0);
	close(other);
	daemon_close(&file);
}

/* Threads that register and give up, read events and ack them. */
static struct daxmr_channel *shared;
static struct daemon_file shared_file;
static atomic_bool is_over;

static void *come_and_go(void *arg)
{
	struct daxmr_options options = {
		.size = sizeof(options),
		.channel = shared,
		.strategy = DAXMR_STRATEGY_STAGED,
		.on_recall = DAXMR_ON_RECALL_ASK,
	};
	size_t at = (size_t)(uintptr_t)arg * PAGE;
	int failed = 0;

	for (int i = 0; i < 20 && !failed; i++) {
		struct daxmr_stats stats = {.size = sizeof(stats)};
		struct daxmr_info info = {.size = sizeof(info)};
		struct daxmr_region *region;

		failed = daxmr_reg_mr(standin_pd(), shared_file.addr + at,
				      2 * PAGE, IBV_ACCESS_LOCAL_WRITE,
				      &options, &region);
		if (failed)
			break;
		shared_file.addr[at] = (char)i;
		failed = daxmr_flush(region, 0, 1, DAXMR_FLUSH_NOWAIT) ||
			 daxmr_region_info(region, &info) ||
			 daxmr_region_stats(region, &stats) ||
			 daxmr_dereg_mr(region);
	}
	return failed ? (void *)1 : NULL;
}

static void *read_events(void *arg)
{
	struct daxmr_event *event;

	(void)arg;
	while (!atomic_load(&is_over))
		if (!daxmr_event_get(shared, 10, &event))
			daxmr_event_ack(event);
	return NULL;
}

static void threads__come_and_go_together(void **state)
{
	pthread_t threads[3], readers[2];
	void *failed;

	(void)state;
	daemon_open(&shared_file);
	shared = shared_file.channel;
	daemon_register(&shared_file, standin_pd(), staged);
	atomic_store(&is_over, false);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&readers[i], NULL, read_events, NULL),
			0);
	for (uintptr_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go,
						(void *)i),
				 0);
	for (int i = 0; i < 5; i++) {
		struct outsider reader;

		outsider_start(&reader, &shared_file, O_RDONLY);
		outsider_wait_open(&reader);
		outsider_end(&reader);
	}
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	atomic_store(&is_over, true);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_join(readers[i], NULL), 0);
	daemon_close(&shared_file);
}

/* An event that is out when its region goes is good until it is acked. */
static void event__outlives_its_region(void **state)
{
	struct daxmr_event *event;
	struct daemon_file file;
	struct outsider reader;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, standin_pd(), staged);
	outsider_start(&reader, &file, O_RDONLY);
	event = daemon_expect_out(&file, DAXMR_EVENT_RECALL);
	outsider_wait_open(&reader);
	outsider_end(&reader);

	assert_int_equal(daxmr_dereg_mr(file.region), 0);
	file.region = NULL;

	daemon_expect_none(&file);
	assert_int_equal(event->kind, DAXMR_EVENT_RECALL);
	assert_int_equal(daxmr_event_ack(event), 0);
	daemon_close(&file);
}

/* Our library under another name: another build of it, say. */
static void *load_copy(void)
{
	const char *name = "./libdaxmr-copy.so";
	char bytes[65536];
	Dl_info info;
	FILE *from, *to;
	size_t n;
	void *copy;

	assert_true(dladdr((void *)daxmr_version, &info));
	from = fopen(info.dli_fname, "re");
	to = fopen(name, "we");
	assert_non_null(from);
	assert_non_null(to);
	while ((n = fread(bytes, 1, sizeof(bytes), from)) > 0)
		assert_int_equal(fwrite(bytes, 1, n, to), n);
	fclose(from);
	assert_int_equal(fclose(to), 0);
	copy = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!copy)
		fail_msg("%s", dlerror());
	unlink(name);
	return copy;
}

typedef int reg_fn(struct ibv_pd *pd, void *addr, size_t length, int access,
		   const struct daxmr_options *options,
		   struct daxmr_region **ret);
typedef int dereg_fn(struct daxmr_region *region);
typedef const char *text_fn(void);

static void copy__of_the_library_is_refused_files(void **state)
{
	struct daxmr_options options = staged;
	struct daemon_file file, other;
	struct daxmr_region *region = NULL;
	void *copy = load_copy(), *memory = aligned_alloc(PAGE, PAGE);
	reg_fn *reg = (reg_fn *)dlsym(copy, "daxmr_reg_mr");
	dereg_fn *dereg = (dereg_fn *)dlsym(copy, "daxmr_dereg_mr");
	text_fn *errormsg = (text_fn *)dlsym(copy, "daxmr_errormsg");

	(void)state;
	assert_ptr_not_equal(reg, daxmr_reg_mr);
	options.size = sizeof(options);
	daemon_open(&file);
	daemon_open(&other);
	daemon_register(&file, standin_pd(), staged);

	assert_int_equal(reg(standin_pd(), other.addr, PAGE,
			     IBV_ACCESS_LOCAL_WRITE, &options, &region),
			 -EBUSY);
	assert_non_null(strstr(errormsg(), "another copy of libdaxmr"));
	assert_int_equal(reg(standin_pd(), file.addr, PAGE,
			     IBV_ACCESS_LOCAL_WRITE, &options, &region),
			 -EBUSY);
	/* what needs no lease is no trouble */
	assert_int_equal(reg(standin_pd(), memory, PAGE, IBV_ACCESS_LOCAL_WRITE,
			     NULL, &region),
			 0);
	assert_int_equal(dereg(region), 0);

	/* and it stays, whatever is said */
	assert_int_equal(dlclose(copy), 0);
	assert_string_equal(errormsg(), "");
	free(memory);
	daemon_close(&file);
	daemon_close(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fork__child_has_nothing_of_it),
		cmocka_unit_test(channel__stays_while_a_region_has_it),
		cmocka_unit_test(file__has_one_policy),
		cmocka_unit_test(stage_max__is_the_region_s_own),
		cmocka_unit_test(descriptor__that_was_closed_hurts_nobody),
		cmocka_unit_test(event__outlives_its_region),
		cmocka_unit_test(threads__come_and_go_together),
		cmocka_unit_test(copy__of_the_library_is_refused_files),
	};
	int skip = cannot_trap();

	if (skip)
		return skip;
	standin_control()->refuse_files = EFAULT;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
