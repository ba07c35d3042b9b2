/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pool of libpmemobj that is registered: the library locks its file, maps it
 * and closes it; what a transaction has committed is in the file then, and the
 * pool can be opened again as soon as it has been closed.
 */
#include <dirent.h>
#include <libpmemobj.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "mapped.h"
#include "staging.h"

#define LAYOUT "daxmr"
#define POOL   (2 * PMEMOBJ_MIN_POOL)
#define ROUNDS 100

struct root {
	char text[64];
	uint64_t count;
	PMEMoid newest;
};

static char path[256];

/* The program's own descriptor of the pool, whoever opened it. */
static int descriptor(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	struct stat pool, st;
	int fd = -1;

	assert_non_null(dir);
	assert_int_equal(stat(path, &pool), 0);
	while (fd < 0 && (entry = readdir(dir))) {
		int n = atoi(entry->d_name);

		if (entry->d_name[0] != '.' && !fstat(n, &st) &&
		    st.st_dev == pool.st_dev && st.st_ino == pool.st_ino)
			fd = n;
	}
	closedir(dir);
	assert_true(fd >= 0);
	return fd;
}

/* The file itself: past the hooks, which would show the shadow. */
static void check_file(PMEMoid oid, const char *text)
{
	char room[64] = "";

	assert_int_equal(syscall(SYS_pread64, descriptor(), room, sizeof(room),
				 (off_t)oid.off),
			 sizeof(room));
	assert_string_equal(room, text);
}

static void commit(PMEMobjpool *pool, PMEMoid oid, int round)
{
	struct root *root = pmemobj_direct(oid);

	TX_BEGIN(pool)
	{
		pmemobj_tx_add_range(oid, 0, sizeof(*root));
		root->count++;
		snprintf(root->text, sizeof(root->text), "round %d", round);
		if (round % 2)
			pmemobj_tx_free(root->newest);
		else
			root->newest = pmemobj_tx_zalloc(
				100 + (size_t)round * 40 % 3000, 1);
	}
	TX_ONABORT
	{
		fail_msg("%s", pmemobj_errormsg());
	}
	TX_END
}

static void pool__is_registered_and_durable(void **state)
{
	PMEMobjpool *pool = pmemobj_create(path, LAYOUT, POOL, 0600);
	struct ibv_mr *mr;
	PMEMoid oid;
	char text[64];

	(void)state;
	if (!pool)
		fail_msg("%s", pmemobj_errormsg());
	oid = pmemobj_root(pool, sizeof(struct root));
	mr = register_range(pool, POOL);
	assert_true(is_shadow(pool));
	for (int round = 0; round < ROUNDS; round++) {
		commit(pool, oid, round);
		snprintf(text, sizeof(text), "round %d", round);
		check_file(oid, text);
	}
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_false(is_shadow(pool));
	pmemobj_close(pool);
	assert_int_equal(pmemobj_check(path, LAYOUT), 1);
}

static void pool__opened_again_and_closed_while_registered(void **state)
{
	PMEMobjpool *pool = pmemobj_open(path, LAYOUT);
	const struct root *root;
	struct ibv_mr *mr;

	(void)state;
	if (!pool)
		fail_msg("%s", pmemobj_errormsg());
	root = pmemobj_direct(pmemobj_root(pool, sizeof(*root)));
	assert_int_equal(root->count, ROUNDS);
	mr = register_range(pool, POOL);
	assert_true(is_shadow(pool));
	commit(pool, pmemobj_root(pool, sizeof(*root)), ROUNDS);
	pmemobj_close(pool);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_int_equal(pmemobj_check(path, LAYOUT), 1);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(pool__is_registered_and_durable,
				       staging_reset),
		cmocka_unit_test_setup(
			pool__opened_again_and_closed_while_registered,
			staging_reset),
	};
	int skip = staging_cannot();

	if (skip)
		return skip;
	alarm(180);
	snprintf(path, sizeof(path), "%s/pool-%d", file_mapping_folder(),
		 getpid());
	staging_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
