/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a process says of its regions, and what others read of it, while it goes
 * on and when it ends.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alarm_soon.h"
#include "lease_table.h"
#include "list.h"
#include "stats.h"
#include "unit.h"

#define NOBODY	 65534
#define NAMELESS 41  /* no errno has this number */
#define MANY	 200 /* more than pages have slots */

/* All of it is the same number: one that is torn is not. */
static struct stats_region region_of(uint64_t number)
{
	struct stats_region region = {
		.is_there = 1,
		.addr = number,
		.length = number,
		.since_ns = (int64_t)number,
		.dev = number,
		.ino = number,
		.strategy = STRATEGY_STAGED,
	};

	snprintf(region.device, sizeof(region.device), "d%llu",
		 (unsigned long long)number);
	snprintf(region.name, sizeof(region.name), "/%0200llu",
		 (unsigned long long)number);
	return region;
}

static void check_whole(const struct stats_region *region)
{
	struct stats_region same = region_of(region->addr);

	assert_memory_equal(region, &same, sizeof(same));
}

/* NULL: there is nothing of this process. */
static const struct list_process *look_at(pid_t pid, struct list *list)
{
	assert_int_equal(list_find(&pid, 1, list), 0);
	assert_true(list->count <= 1);
	return list->count ? list->process : NULL;
}

static size_t regions_of(pid_t pid)
{
	struct list list;
	const struct list_process *process = look_at(pid, &list);
	size_t regions = process ? process->regions : 0;

	for (size_t i = 0; i < regions; i++)
		check_whole(&process->region[i]);
	list_free(&list);
	return regions;
}

static uint64_t add(uint64_t number)
{
	struct stats_region region = region_of(number);
	uint64_t listed = stats_region_add(&region);

	assert_true(listed);
	return listed;
}

static int descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static void region__is_seen_until_it_is_removed(void **state)
{
	int before = descriptors();
	uint64_t first, second;

	(void)state;
	errno = 4711;
	first = add(1);
	second = add(2);
	assert_int_equal(regions_of(getpid()), 2);
	errno = 4711;
	stats_region_remove(first);
	assert_int_equal(errno, 4711);
	assert_int_equal(regions_of(getpid()), 1);
	stats_region_remove(second);
	stats_region_remove(0);
	assert_int_equal(regions_of(getpid()), 0);
	assert_int_equal(descriptors(), before);
}

static void region__has_its_new_access(void **state)
{
	struct list list;
	const struct list_process *process;
	uint64_t listed = add(1);

	(void)state;
	stats_region_access(listed, 7);
	stats_region_access(0, 8);
	stats_region_access(listed + (1ULL << 32), 9);
	process = look_at(getpid(), &list);
	assert_non_null(process);
	assert_int_equal(process->regions, 1);
	assert_int_equal(process->region->access, 7);
	assert_int_equal(process->region->length, 1);
	list_free(&list);
	stats_region_remove(listed);
}

static void regions__have_room_in_more_pages(void **state)
{
	uint64_t listed[MANY];

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		listed[i] = add(i + 1);
	assert_int_equal(regions_of(getpid()), MANY);
	for (size_t i = 0; i < MANY; i++)
		stats_region_remove(listed[i]);
	assert_int_equal(regions_of(getpid()), 0);
}

static void region__has_what_was_severed_with_it(void **state)
{
	const struct list_process *process;
	uint64_t listed = add(1);
	struct list list;

	(void)state;
	stats_region_pinned(listed, 3, 2);
	stats_region_pinned(0, 4, 4);
	stats_region_pinned(listed + (1ULL << 32), 5, 5);
	process = look_at(getpid(), &list);
	assert_non_null(process);
	assert_int_equal(process->region->severed, 3);
	assert_int_equal(process->region->keys_changed, 2);
	assert_int_equal(process->region->length, 1);
	list_free(&list);
	stats_region_remove(listed);
}

static const struct list_device *find_device(const struct list_process *process,
					     const char *name)
{
	for (size_t i = 0; process && i < process->devices; i++)
		if (!strcmp(process->device[i].name, name))
			return &process->device[i];
	return NULL;
}

/* By whatever number of contexts, one after another. */
static void devices__are_counted_by_name(void **state)
{
	const struct list_process *process;
	const struct list_device *device;
	uint64_t before;
	struct list list;
	char name[80], *text;

	(void)state;
	stats_device_count("d0", STATS_WAITS, 1);
	stats_device_count("d1", STATS_DRAINED, 2);
	stats_device_count("d1", STATS_DRAINED + GATE_LEFT_KIND, 3);
	stats_device_count("d1", STATS_DRAINED + GATE_LEFT_LATE, 1);
	stats_device_count("d1", STATS_DEVICE_COUNTS, 1);
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	stats_device_count(name, STATS_WAITS, 1);
	stats_device_count(name, STATS_WAITS, 1);
	process = look_at(getpid(), &list);
	assert_non_null(find_device(process, "d0"));
	device = find_device(process, "d1");
	assert_non_null(device);
	assert_int_equal(device->count[STATS_DRAINED], 2);
	text = list_left(device);
	assert_string_equal(text, "late 1, kind 3");
	free(text);
	name[63] = '\0';
	assert_int_equal(find_device(process, name)->count[STATS_WAITS], 2);
	before = list_device_sum(process, STATS_WAITS);
	assert_true(before >= 3);
	list_free(&list);
	for (int i = 0; i < STATS_DEVICES + 3; i++) {
		snprintf(name, sizeof(name), "more%d", i);
		stats_device_count(name, STATS_WAITS, 1);
	}
	process = look_at(getpid(), &list);
	assert_int_equal(process->devices, STATS_DEVICES);
	assert_true(list_device_sum(process, STATS_WAITS) > before);
	list_free(&list);
}

static void access__has_names(void **state)
{
	static const struct {
		uint32_t access;
		const char *text;
	} cases[] = {
		{0, "local-read"},
		{IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ,
		 "local-write remote-read"},
		{IBV_ACCESS_RELAXED_ORDERING | 1U << 30,
		 "relaxed-ordering 0x40000000"},
		{IBV_ACCESS_ON_DEMAND | 1U << 9, "on-demand flush-persistent"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *text = list_access(cases[i].access);

		assert_string_equal(text, cases[i].text);
		free(text);
	}
}

static void refusals__are_counted_by_errno_and_reason(void **state)
{
	char why[STATS_WHY + 40] = "", *text;
	struct list list;
	const struct list_process *process;

	(void)state;
	stats_refused(100000, REASON_OTHER, "");
	stats_refused(-1, REFUSAL_KERNEL, "");
	stats_refused(NAMELESS, REASON_OTHER, "");
	stats_refused(EBUSY, REASON_BUSY, "one");
	memset(why, 'w', sizeof(why) - 1);
	stats_refused(EBUSY, REASON_TERMS, why);
	process = look_at(getpid(), &list);
	assert_non_null(process);
	assert_int_equal(process->refused[EBUSY], 2);
	assert_int_equal(process->last_refusal.error, EBUSY);
	assert_true(process->last_refusal.at_ns > 0);
	why[STATS_WHY - 1] = '\0';
	assert_string_equal(process->last_refusal.why, why);
	text = list_refused(process->refused);
	assert_string_equal(text, "unknown 3, EBUSY 2");
	free(text);
	text = list_refused_for(process->refused_for);
	assert_string_equal(
		text, "other 2, open-elsewhere 1, other-policies 1, kernel 1");
	free(text);
	assert_int_equal(process->last_refusal.reason, REASON_TERMS);
	assert_int_equal(process->refused[0], 3);
	assert_int_equal(process->refused[NAMELESS], 0);
	assert_int_equal(process->uid, geteuid());
	list_free(&list);
}

/* A child that says when it is ready, and then lives until it is killed. */
static pid_t start_child(void (*act)(int to), int *ret_from)
{
	int pipe_fds[2];
	pid_t pid;

	assert_int_equal(pipe(pipe_fds), 0);
	pid = fork();
	if (!pid) {
		act(pipe_fds[1]);
		for (;;)
			pause();
	}
	close(pipe_fds[1]);
	*ret_from = pipe_fds[0];
	return pid;
}

static void say(int to, char what)
{
	if (write(to, &what, 1) != 1)
		_exit(1);
}

static char hear(int from)
{
	char what = 0;

	assert_int_equal(read(from, &what, 1), 1);
	return what;
}

static void end_child(pid_t pid, int from)
{
	close(from);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void have_two(int to)
{
	struct stats_region one = region_of(1), two = region_of(2);

	say(to, stats_region_add(&one) && stats_region_add(&two) ? 'y' : 'n');
}

/* Who looks at its memory just then (ps) keeps that for a moment. */
static void wait_until_gone(pid_t pid)
{
	for (int i = 0; i < 60000 && regions_of(pid); i++)
		usleep(1000);
	assert_int_equal(regions_of(pid), 0);
}

static void process__is_gone_with_kill_9(void **state)
{
	int from;
	pid_t pid = start_child(have_two, &from);

	(void)state;
	assert_int_equal(hear(from), 'y');
	assert_int_equal(regions_of(pid), 2);
	end_child(pid, from);
	wait_until_gone(pid);
}

static uint64_t parents;

static void give_up_the_parents(int to)
{
	stats_region_remove(parents);
	say(to, 'r');
	have_two(to);
	stats_region_remove(parents);
	say(to, 'r');
}

static void child__has_its_own_alone(void **state)
{
	pid_t pid;
	int from;

	(void)state;
	parents = add(7);
	pid = start_child(give_up_the_parents, &from);
	assert_int_equal(hear(from), 'r');
	assert_int_equal(hear(from), 'y');
	assert_int_equal(hear(from), 'r');
	assert_int_equal(regions_of(pid), 2);
	assert_int_equal(regions_of(getpid()), 1);
	end_child(pid, from);
	assert_int_equal(regions_of(getpid()), 1);
	stats_region_remove(parents);
}

static void look_as_nobody(int to)
{
	pid_t parent = getppid();
	struct list list;

	if (setgid(NOBODY) || setuid(NOBODY) || list_find(&parent, 1, &list))
		say(to, '?');
	else
		say(to, list.count ? 'y' : list.hidden ? 'n' : '-');
}

static void process__is_not_seen_by_other_users(void **state)
{
	uint64_t listed = add(9);
	pid_t pid;
	int from;

	(void)state;
	if (geteuid()) {
		stats_region_remove(listed);
		print_message("only root can be another user\n");
		skip();
	}
	pid = start_child(look_as_nobody, &from);
	assert_int_equal(hear(from), 'n');
	end_child(pid, from);
	stats_region_remove(listed);
}

static atomic_bool is_over;

static void *come_and_go(void *arg)
{
	uint64_t number = (uintptr_t)arg, listed;
	struct stats_region region;
	char device[8];

	while (!atomic_load(&is_over)) {
		region = region_of(number);
		listed = stats_region_add(&region);
		if (!listed)
			return arg;
		stats_region_remove(listed);
		/* A context opened, and what a gate of it counts. */
		snprintf(device, sizeof(device), "d%u",
			 (unsigned int)(number % 5));
		stats_device_count(device, STATS_WAITS, 1);
		stats_device_count(device, STATS_SEVERED, 1);
		number += 3;
	}
	return NULL;
}

static size_t devices_of(pid_t pid)
{
	struct list list;
	const struct list_process *process = look_at(pid, &list);
	size_t devices = process ? process->devices : 0;

	for (size_t i = 0; i < devices; i++) {
		assert_true(process->device[i].name[0]);
		assert_true(process->device[i].count[STATS_SEVERED] < 1U << 31);
	}
	list_free(&list);
	return devices;
}

static void reader__sees_whole_records_while_they_come_and_go(void **state)
{
	uint64_t listed = add(1);
	pthread_t threads[3];
	size_t seen = 0, devices = 0, more;
	void *result;

	(void)state;
	atomic_store(&is_over, false);
	for (uintptr_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go,
						(void *)(i + 1)),
				 0);
	for (int i = 0; i < 300; i++) {
		seen += regions_of(getpid());
		/* Those that have come do not go. */
		more = devices_of(getpid());
		assert_true(more >= devices);
		devices = more;
	}
	atomic_store(&is_over, true);
	for (size_t i = 0; i < 3; i++) {
		pthread_join(threads[i], &result);
		assert_null(result);
	}
	/* The one that stays, each time. */
	assert_true(seen >= 300);
	assert_true(devices > 0);
	stats_region_remove(listed);
	assert_int_equal(regions_of(getpid()), 0);
}

#define SIGNALS 200

static atomic_int handled;

static void count_in_handler(int signal)
{
	(void)signal;
	stats_device_count("d0", STATS_WAITS, 1);
	if (atomic_fetch_add(&handled, 1) + 1 < SIGNALS)
		alarm_soon(100);
}

/* A handler that waits for a thread of ours waits for what it interrupts. */
static void handler__waits_for_nothing_that_it_interrupts(void **state)
{
	struct sigaction before, action = {.sa_handler = count_in_handler};
	unsigned int rounds = 0;

	(void)state;
	atomic_store(&handled, 0);
	assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
	assert_int_equal(alarm_soon(100), 0);
	for (; atomic_load(&handled) < SIGNALS; rounds++)
		stats_region_remove(add(1));
	assert_true(rounds > 0);
	assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
}

static struct lease lease = {.dev = 5, .ino = 6};

static void tell(enum recall_state from, enum recall_state to,
		 enum recall_cause cause, int64_t spent_us)
{
	struct recall_report report = {
		.from = from,
		.to = to,
		.cause = cause,
		.at_ns = 1,
		.spent_ns = spent_us * 1000,
		.theirs = cause == RECALL_MERGED ? 3 : 0,
		.conflicts = cause == RECALL_MERGED ? 2 : 0,
	};

	stats_lease_changed(&lease, &report, 0);
}

static const struct stats_file *look_at_file(struct list *list)
{
	const struct list_process *process = look_at(getpid(), list);

	assert_non_null(process);
	return process->files ? process->file : NULL;
}

static void check_file(const struct stats_file *file)
{
	assert_non_null(file);
	assert_int_equal(file->dev, 5);
	assert_int_equal(file->ino, 6);
	assert_string_equal(list_state_name(file), "held");
	assert_int_equal(file->recalls, 2);
	assert_int_equal(file->own_opens, 1);
	assert_int_equal(file->yielded, 3);
	assert_int_equal(file->forced, 1);
	assert_int_equal(file->theirs, 9);
	assert_int_equal(file->conflicts, 6);
	assert_int_equal(file->spent_ns[RECALL_BREAKING], 1500000);
	/* What the program does itself is no recall. */
	assert_int_equal(file->handed_over, 2);
	assert_int_equal(file->all_ns, 1000000);
	assert_int_equal(file->longest_ns, 900000);
	assert_int_equal(list_quantile_us(file, 50), 128);
	assert_int_equal(list_quantile_us(file, 99), 900);
}

static void recall(enum recall_cause begin, enum recall_cause end, int64_t us)
{
	tell(RECALL_HELD, RECALL_BREAKING, begin, 1);
	tell(RECALL_BREAKING, RECALL_YIELDED, end, us);
	tell(RECALL_YIELDED, RECALL_MERGING, RECALL_RETAKEN, 1);
	tell(RECALL_MERGING, RECALL_HELD, RECALL_MERGED, 1);
}

static void lease__is_counted_until_it_is_gone(void **state)
{
	struct list list;

	(void)state;
	tell(RECALL_FREE, RECALL_HELD, RECALL_GRANTED, 0);
	recall(RECALL_BREAK_HEARD, RECALL_FLUSHED, 100);
	recall(RECALL_BREAK_HEARD, RECALL_OUT_OF_TIME, 900);
	recall(RECALL_OWN_OPEN, RECALL_FLUSHED, 500);
	check_file(look_at_file(&list));
	list_free(&list);
	lease.flushed_gone = (struct lease_flushed){8, 4, 1};
	stats_lease_looked(&lease);
	assert_int_equal(look_at_file(&list)->compared, 8);
	assert_int_equal(list.process->file->copied, 4);
	assert_int_equal(list.process->file->failed, 1);
	list_free(&list);
	tell(RECALL_HELD, (enum recall_state)77, RECALL_GRANTED, 0);
	stats_lease_gone(&lease);
	stats_lease_gone(&lease);
	stats_lease_looked(&lease);
	assert_null(look_at_file(&list));
	list_free(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(region__is_seen_until_it_is_removed),
		cmocka_unit_test(region__has_its_new_access),
		cmocka_unit_test(regions__have_room_in_more_pages),
		cmocka_unit_test(region__has_what_was_severed_with_it),
		cmocka_unit_test(access__has_names),
		cmocka_unit_test(refusals__are_counted_by_errno_and_reason),
		cmocka_unit_test(process__is_gone_with_kill_9),
		cmocka_unit_test(child__has_its_own_alone),
		cmocka_unit_test(process__is_not_seen_by_other_users),
		cmocka_unit_test(
			reader__sees_whole_records_while_they_come_and_go),
		/* The page is full of devices after this one. */
		cmocka_unit_test(devices__are_counted_by_name),
		cmocka_unit_test(handler__waits_for_nothing_that_it_interrupts),
		cmocka_unit_test(lease__is_counted_until_it_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
