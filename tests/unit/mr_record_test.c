/* SPDX-License-Identifier: BSD-2-Clause */
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mr_record.h"
#include "unit.h"

static struct ibv_mr mrs[4][100];

static void record__comes_back_and_goes_with_take(void **state)
{
	struct mr_record in = {&mrs[0][1], 5, STRATEGY_ODP, NULL, NULL,
			       NULL,	   0},
			 out = {0};

	(void)state;
	assert_false(mr_record_get(&mrs[0][1], &out));
	assert_int_equal(mr_record_put(&in), 0);
	assert_false(mr_record_get(&mrs[0][0], &out));
	assert_true(mr_record_get(&mrs[0][1], &out));
	assert_ptr_equal(out.mr, in.mr);
	assert_int_equal(out.access, 5);
	assert_int_equal(out.strategy, STRATEGY_ODP);
	assert_true(mr_record_take(&mrs[0][1], &out));
	assert_false(mr_record_take(&mrs[0][1], &out));
}

static void record__second_put_replaces(void **state)
{
	struct mr_record in = {&mrs[0][2], 1, STRATEGY_ODP, NULL, NULL,
			       NULL,	   0},
			 out;

	(void)state;
	assert_int_equal(mr_record_put(&in), 0);
	in.access = 2;
	assert_int_equal(mr_record_put(&in), 0);
	assert_true(mr_record_take(&mrs[0][2], &out));
	assert_int_equal(out.access, 2);
	assert_false(mr_record_get(&mrs[0][2], &out));
}

static void *churn(void *arg)
{
	struct ibv_mr *mine = arg;
	struct mr_record out;
	unsigned int round;
	size_t i;

	for (round = 0; round < 50; round++) {
		for (i = 0; i < 100; i++) {
			struct mr_record in = {&mine[i], round, STRATEGY_ODP,
					       NULL,	 NULL,	NULL,
					       0};

			if (mr_record_put(&in))
				return arg;
		}
		for (i = 0; i < 100; i++)
			if (!mr_record_take(&mine[i], &out) ||
			    out.access != round || out.mr != &mine[i])
				return arg;
	}
	return NULL;
}

static void record__threads_keep_theirs(void **state)
{
	pthread_t threads[4];
	void *failed;
	size_t i;

	(void)state;
	for (i = 0; i < 4; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, churn, mrs[i]), 0);
	for (i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
}

/* The lock is never left taken in a child, whenever the fork comes. */
static void record__fork_amid_changes_leaves_child_working(void **state)
{
	struct mr_record out;
	pthread_t thread;
	void *failed;
	int i, status;
	pid_t pid;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, churn, mrs[1]), 0);
	for (i = 0; i < 50; i++) {
		pid = fork();
		if (pid == 0) {
			alarm(10);
			mr_record_get(&mrs[2][0], &out);
			_exit(0);
		}
		assert_true(pid > 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	pthread_join(thread, &failed);
	assert_null(failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(record__comes_back_and_goes_with_take),
		cmocka_unit_test(record__second_put_replaces),
		cmocka_unit_test(record__threads_keep_theirs),
		cmocka_unit_test(
			record__fork_amid_changes_leaves_child_working),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
