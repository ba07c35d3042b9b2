/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who may believe which verdict. Another process is stood for by a forked
 * child, whose table is empty, or by a look at the file itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "odp_fake_sysfs.h"
#include "odp_fake_verbs.h"
#include "trust.h"
#include "trust_file.h"
#include "trust_id.h"
#include "unit.h"

#define BUILD_ID "sys/module/rdma_rxe/notes/.note.gnu.build-id"
#define BOOT_ID	 "proc/sys/kernel/random/boot_id"

static char file[PATH_MAX];

static int setup(void **state)
{
	int err = sysfs_setup(state);

	fake_reset();
	strcpy(fake.device.name, sysfs_device());
	snprintf(file, sizeof(file), "%s/odp-trust-%s", sysfs_trust_folder(),
		 sysfs_device());
	return err;
}

static struct odp_trust ask(void)
{
	struct odp_trust trust;

	errno = 4242;
	odp_trust_get(&fake_verbs, &fake.device, &trust);
	assert_int_equal(errno, 4242);
	assert_int_equal(fake.live, 0);
	return trust;
}

/* A child asks: whether it had to test. Its verdict has to be right. */
static bool another_process_tests(void)
{
	int status;
	pid_t child = fork();

	if (!child) {
		struct odp_trust trust;
		int before = fake.opened;

		odp_trust_get(&fake_verbs, &fake.device, &trust);
		if (trust.verdict != ODP_RIGHT ||
		    trust.from_cache == (fake.opened != before))
			_exit(2);
		_exit(!trust.from_cache);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_in_range(WEXITSTATUS(status), 0, 1);
	return WEXITSTATUS(status);
}

static void get__asked_again_comes_from_memory(void **state)
{
	struct odp_trust first, second;

	(void)state;
	first = ask();
	assert_int_equal(first.verdict, ODP_RIGHT);
	assert_false(first.from_cache);
	unlink(file);
	second = ask();
	assert_true(second.from_cache);
	assert_int_equal(second.verdict, ODP_RIGHT);
	assert_true(second.iova_right);
	assert_int_equal(second.cases, first.cases);
	assert_string_equal(second.seen, first.seen);
	assert_int_equal(fake.opened, 1);
}

static void get__wrong_is_remembered_too(void **state)
{
	struct odp_trust trust;
	char identity[DEVICE_IDENTITY_MAX];

	(void)state;
	fake.fault = FAKE_PAGE_START;
	assert_int_equal(ask().verdict, ODP_WRONG);
	fake.fault = FAKE_RIGHT;
	assert_int_equal(ask().verdict, ODP_WRONG);
	assert_true(device_identity(&fake.device, identity, sizeof(identity)));
	assert_true(trust_file_load(sysfs_device(), identity, &trust));
	assert_int_equal(trust.verdict, ODP_WRONG);
	assert_false(trust.iova_right);
	assert_non_null(strstr(trust.seen, "RC write"));
}

static void get__another_process_reads_the_file(void **state)
{
	(void)state;
	ask();
	assert_false(another_process_tests());
}

static void get__without_a_folder_every_process_tests(void **state)
{
	(void)state;
	trust_file_set_folder("/nonexistent/daxmr");
	ask();
	assert_true(another_process_tests());
	assert_true(ask().from_cache);
}

static void get__loaded_again_is_tested_again(void **state)
{
	(void)state;
	ask();
	sysfs_reload_device();
	assert_false(ask().from_cache);
	assert_true(ask().from_cache);
	assert_false(another_process_tests());
}

static void get__no_verdict_is_asked_again_soon(void **state)
{
	struct odp_trust trust;

	(void)state;
	fake.port.state = IBV_PORT_DOWN;
	trust = ask();
	assert_int_equal(trust.verdict, ODP_NO_VERDICT);
	assert_int_equal(access(file, F_OK), -1);
	fake.port.state = IBV_PORT_ACTIVE;
	/* Ten times of next to nothing. */
	for (int i = 0; i < 2000 && trust.verdict != ODP_RIGHT; i++) {
		usleep(1000);
		trust = ask();
	}
	assert_int_equal(trust.verdict, ODP_RIGHT);
	assert_true(ask().from_cache);
}

static void get__slow_no_verdict_is_not_asked_for_each_time(void **state)
{
	(void)state;
	fake.fault = FAKE_SILENT;
	assert_int_equal(ask().verdict, ODP_NO_VERDICT);
	assert_int_equal(ask().verdict, ODP_NO_VERDICT);
	assert_int_equal(fake.opened, 1);
}

static void
get__device_that_sysfs_does_not_show_is_remembered_a_while(void **state)
{
	struct odp_trust trust;

	(void)state;
	strcpy(fake.device.name, "elsewhere0");
	assert_false(ask().from_cache);
	/* Another test's end may come in between on a busy machine. */
	for (int i = 0; i < 100; i++)
		if ((trust = ask()).from_cache)
			break;
	assert_true(trust.from_cache);
	assert_int_equal(trust.verdict, ODP_RIGHT);
	/* It may have become another meanwhile. */
	for (int i = 0; i < 20000 && trust.from_cache; i++) {
		usleep(1000);
		trust = ask();
	}
	assert_false(trust.from_cache);
	assert_int_equal(trust.verdict, ODP_RIGHT);
}

static void get__renamed_device_is_not_tested_again(void **state)
{
	char was[PATH_MAX], is[PATH_MAX];

	(void)state;
	strcpy(fake.device.dev_name, "uverbs7");
	sysfs_put("sys/class/infiniband_verbs/uverbs7/abi_version", "1\n");
	assert_false(ask().from_cache);
	snprintf(was, sizeof(was), "%s/sys/class/infiniband/%s", sysfs_root(),
		 sysfs_device());
	snprintf(is, sizeof(is), "%s/sys/class/infiniband/renamed0",
		 sysfs_root());
	assert_int_equal(rename(was, is), 0);
	for (int i = 0; i < 3; i++)
		assert_true(ask().from_cache);
	assert_int_equal(fake.opened, 1);
}

static void get__another_device_of_the_old_name_is_tested(void **state)
{
	(void)state;
	strcpy(fake.device.dev_name, "uverbs7");
	sysfs_put("sys/class/infiniband_verbs/uverbs7/abi_version", "1\n");
	sysfs_put("sys/class/infiniband_verbs/uverbs8/abi_version", "1\n");
	ask();
	strcpy(fake.device.dev_name, "uverbs8");
	assert_false(ask().from_cache);
	assert_true(ask().from_cache);
}

static void file__another_identity_is_tested_again(void **state)
{
	static const struct {
		const char *name;
		const char *text;
	} rows[] = {
		{BOOT_ID, "9e0a3b1c-0000-4000-8000-000000000002\n"},
		{"proc/sys/kernel/osrelease", "7.2.13-test\n"},
		{BUILD_ID, "\1\2\4"},
		{"sys/module/rdma_rxe/srcversion", "0123456789ABCDEE\n"},
		{"sys/module/ib_core/srcversion", "1\n"},
		{"@/node_guid", "0:0:0:1\n"},
		{"@/fw_ver", "1.2.4\n"},
		{"@/ports/1/state", "1: DOWN\n"},
		{"@/ports/2/state", "4: ACTIVE\n"},
	};

	(void)state;
	ask();
	assert_false(another_process_tests());
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		sysfs_put(rows[i].name, rows[i].text);
		if (!another_process_tests())
			fail_msg("%s was not looked at", rows[i].name);
		assert_false(another_process_tests());
	}
	sysfs_link("@/device/driver", "../other");
	assert_true(another_process_tests());
}

static void file__without_a_boot_id_nothing_is_written(void **state)
{
	(void)state;
	sysfs_remove(BOOT_ID);
	ask();
	assert_int_equal(access(file, F_OK), -1);
	assert_true(another_process_tests());
}

static void file__is_private(void **state)
{
	struct stat st;

	(void)state;
	umask(0);
	ask();
	umask(022);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(stat(sysfs_trust_folder(), &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
}

static void file__writable_by_others_is_not_believed(void **state)
{
	static const mode_t modes[] = {0620, 0602, 0666};

	(void)state;
	ask();
	for (int i = 0; i < 3; i++) {
		assert_int_equal(chmod(file, modes[i]), 0);
		assert_true(another_process_tests());
		/* Which wrote its own. */
		assert_false(another_process_tests());
	}
}

static void folder__writable_by_others_is_not_believed(void **state)
{
	(void)state;
	ask();
	assert_int_equal(chmod(sysfs_trust_folder(), 0770), 0);
	assert_true(another_process_tests());
	assert_int_equal(chmod(sysfs_trust_folder(), 0700), 0);
	assert_false(another_process_tests());
	assert_int_equal(chmod(sysfs_root(), 0777), 0);
	assert_true(another_process_tests());
	assert_int_equal(chmod(sysfs_root(), 0755), 0);
	assert_false(another_process_tests());
}

static void file__of_another_user_is_not_believed(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip(); /* only root can give a file away */
	ask();
	assert_int_equal(chown(file, 12345, (gid_t)-1), 0);
	assert_true(another_process_tests());
	assert_false(another_process_tests());
	assert_int_equal(chown(sysfs_trust_folder(), 12345, (gid_t)-1), 0);
	assert_true(another_process_tests());
	assert_true(another_process_tests());
}

static void file__symbolic_link_is_not_followed(void **state)
{
	char other[PATH_MAX + 8];

	(void)state;
	ask();
	snprintf(other, sizeof(other), "%s.real", file);
	assert_int_equal(rename(file, other), 0);
	assert_int_equal(symlink(other, file), 0);
	assert_true(another_process_tests());
	assert_false(another_process_tests());
}

static void folder__symbolic_link_is_not_followed(void **state)
{
	char other[PATH_MAX + 8];

	(void)state;
	ask();
	snprintf(other, sizeof(other), "%s.real", sysfs_trust_folder());
	assert_int_equal(rename(sysfs_trust_folder(), other), 0);
	assert_int_equal(symlink(other, sysfs_trust_folder()), 0);
	assert_true(another_process_tests());
	assert_true(another_process_tests());
}

static void file__fifo_or_folder_in_its_place_holds_nobody_up(void **state)
{
	(void)state;
	ask();
	assert_int_equal(unlink(file), 0);
	assert_int_equal(mkfifo(file, 0600), 0);
	assert_true(another_process_tests());
	assert_int_equal(unlink(file), 0);
	assert_int_equal(mkdir(file, 0700), 0);
	assert_true(another_process_tests());
	assert_int_equal(rmdir(file), 0);
}

static size_t read_file(char *text, size_t size)
{
	int fd = open(file, O_RDONLY);
	ssize_t n = read(fd, text, size);

	close(fd);
	assert_in_range(n, 1, size - 1);
	return (size_t)n;
}

static void write_file(const char *text, size_t length)
{
	int fd = open(file, O_WRONLY | O_TRUNC);

	assert_int_equal(write(fd, text, length), length);
	close(fd);
}

/* What trust_file_load() makes of it; a child for each would be slow. */
static bool file_is_believed(void)
{
	char identity[DEVICE_IDENTITY_MAX];
	struct odp_trust trust = {.cases = 777};
	bool ok;

	assert_true(device_identity(&fake.device, identity, sizeof(identity)));
	ok = trust_file_load(sysfs_device(), identity, &trust);
	if (!ok)
		assert_int_equal(trust.cases, 777);
	return ok;
}

static void file__truncated_anywhere_is_not_believed(void **state)
{
	char text[8192];
	size_t length;

	(void)state;
	ask();
	length = read_file(text, sizeof(text));
	assert_true(file_is_believed());
	for (size_t n = 0; n < length; n++) {
		write_file(text, n);
		assert_false(file_is_believed());
	}
	write_file(text, length);
	assert_true(file_is_believed());
}

static void file__garbage_is_not_believed(void **state)
{
	static const char *const lines[][2] = {
		{"verdict right", "verdict great"},
		{"verdict right", "verdict no verdict"},
		{"verdict right", "verdict"},
		{"iova right", "iova maybe"},
		{"port 1", "port 256"},
		{"port 1", "port -1"},
		{"port 1", "port 1 "},
		{"port 1", "port"},
		{"cases ", "cases 99999999999999999999"},
		{"time_us ", "time_us x"},
		{"seen ", "seen \t"},
		{"\nend\n", "\nend\n\n"},
		{"\nend\n", "\nEND\n"},
		{"trust 1", "trust 2"},
	};
	char text[8192], wrong[16384];
	size_t length;

	(void)state;
	ask();
	length = read_file(text, sizeof(text) - 1);
	text[length] = '\0';
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char *at = strstr(text, lines[i][0]);

		assert_non_null(at);
		snprintf(wrong, sizeof(wrong), "%.*s%s%s", (int)(at - text),
			 text, lines[i][1], at + strlen(lines[i][0]));
		write_file(wrong, strlen(wrong));
		if (file_is_believed())
			fail_msg("\"%s\" was believed", lines[i][1]);
	}
	write_file(text, length + 1); /* with a NUL byte behind it */
	assert_false(file_is_believed());
	memset(wrong, 'x', sizeof(wrong));
	write_file(wrong, sizeof(wrong));
	assert_false(file_is_believed());
	write_file(text, length);
	assert_true(file_is_believed());
}

static void *ask_in_thread(void *result)
{
	odp_trust_get(&fake_verbs, &fake.device, result);
	return NULL;
}

static void get__threads_at_once_wait_for_one_test(void **state)
{
	struct odp_trust trust[8];
	pthread_t thread[8];
	int cached = 0;

	(void)state;
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, ask_in_thread,
						&trust[i]),
				 0);
	for (int i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(trust[i].verdict, ODP_RIGHT);
		cached += trust[i].from_cache;
	}
	assert_int_equal(cached, 7);
	assert_int_equal(fake.opened, 1);
	assert_int_equal(fake.live, 0);
}

/* All the stack that a thread can have been given is little. */
static struct odp_trust ask_on_little_stack(void)
{
	/* What sanitizers add to each frame is not what this is about. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	const size_t size = 256 << 10;
#else
	const size_t size = (size_t)sysconf(_SC_THREAD_STACK_MIN);
#endif
	struct odp_trust trust;
	pthread_attr_t attr;
	pthread_t thread;

	assert_int_equal(pthread_attr_init(&attr), 0);
	assert_int_equal(pthread_attr_setstacksize(&attr, size), 0);
	assert_int_equal(pthread_create(&thread, &attr, ask_in_thread, &trust),
			 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attr);
	return trust;
}

static void get__thread_with_the_smallest_stack_can_ask(void **state)
{
	struct odp_trust trust;
	int status;
	pid_t child;

	(void)state;
	trust = ask_on_little_stack();
	assert_int_equal(trust.verdict, ODP_RIGHT);
	assert_false(trust.from_cache);
	assert_true(ask_on_little_stack().from_cache);
	assert_int_equal(access(file, F_OK), 0);
	/* In another process, from the file. */
	child = fork();
	if (!child)
		_exit(ask_on_little_stack().from_cache ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	/* Without a file, and with a driver to be looked up. */
	sysfs_link("@/device/driver", "../../../bus/pci/drivers/mlx5_core");
	sysfs_reload_device();
	trust_file_set_folder("/nonexistent/daxmr");
	assert_false(ask_on_little_stack().from_cache);
}

#ifdef __SANITIZE_THREAD__
static void leave_right_verdict(void)
{
	const struct odp_trust right = {.verdict = ODP_RIGHT, .port = 1};
	char identity[DEVICE_IDENTITY_MAX];

	assert_true(device_identity(&fake.device, identity, sizeof(identity)));
	trust_file_store(sysfs_device(), identity, &right);
}
#endif

static void get__forked_in_the_middle_of_a_test_tests_itself(void **state)
{
	struct odp_trust trust;
	pthread_t thread;

	(void)state;
	fake.fault = FAKE_SILENT; /* a second in which the test is under way */
	assert_int_equal(pthread_create(&thread, NULL, ask_in_thread, &trust),
			 0);
	while (!__atomic_load_n(&fake.opened, __ATOMIC_ACQUIRE))
		usleep(100);
#ifdef __SANITIZE_THREAD__
	/*
	 * Which dies of a thread that the child of a program with threads
	 * starts: there it shall not have to test.
	 */
	leave_right_verdict();
#endif
	for (int i = 0; i < 3; i++) {
		int status;
		pid_t child = fork();

		if (!child) {
			struct odp_trust mine;

			alarm(20);
			fake.fault = FAKE_RIGHT;
			odp_trust_get(&fake_verbs, &fake.device, &mine);
			_exit(mine.verdict == ODP_RIGHT ? 0 : 1);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
	pthread_join(thread, NULL);
	assert_int_equal(trust.verdict, ODP_NO_VERDICT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, sysfs_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(get__asked_again_comes_from_memory),
		TEST(get__wrong_is_remembered_too),
		TEST(get__another_process_reads_the_file),
		TEST(get__without_a_folder_every_process_tests),
		TEST(get__loaded_again_is_tested_again),
		TEST(get__no_verdict_is_asked_again_soon),
		TEST(get__slow_no_verdict_is_not_asked_for_each_time),
		TEST(get__device_that_sysfs_does_not_show_is_remembered_a_while),
		TEST(get__renamed_device_is_not_tested_again),
		TEST(get__another_device_of_the_old_name_is_tested),
		TEST(file__another_identity_is_tested_again),
		TEST(file__without_a_boot_id_nothing_is_written),
		TEST(file__is_private),
		TEST(file__writable_by_others_is_not_believed),
		TEST(folder__writable_by_others_is_not_believed),
		TEST(file__of_another_user_is_not_believed),
		TEST(file__symbolic_link_is_not_followed),
		TEST(folder__symbolic_link_is_not_followed),
		TEST(file__fifo_or_folder_in_its_place_holds_nobody_up),
		TEST(file__truncated_anywhere_is_not_believed),
		TEST(file__garbage_is_not_believed),
		TEST(get__threads_at_once_wait_for_one_test),
		TEST(get__thread_with_the_smallest_stack_can_ask),
		TEST(get__forked_in_the_middle_of_a_test_tests_itself),
	};

	return cmocka_run_group_tests_name("odp cache", tests, NULL, NULL);
}
