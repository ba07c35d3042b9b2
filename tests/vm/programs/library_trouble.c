/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a daemon hears where its file cannot be written before others have it,
 * or not at all: events, daxmr_errormsg(), and what is in the file when. Of
 * what it was told that it is durable nothing is lost, and in the end all is
 * there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "api_daemon.h"
#include "ends.h"
#include "unit.h"

#define PAGE DAEMON_PAGE
/* So many of the file's pages stay when others take its blocks. */
#define KEPT 8UL

static struct end device;

static const struct daxmr_options staged = {
	.strategy = DAXMR_STRATEGY_STAGED,
	.flush_ms = DAXMR_FLUSH_OFF,
};

static void open_and_register(struct daemon_file *file)
{
	daemon_open(file);
	daemon_register(file, device.pd, staged);
}

/* Of the file itself, whoever has it. */
static char read_byte(const struct daemon_file *file, size_t at)
{
	char byte = 0;

	assert_int_equal(syscall(SYS_pread64, file->fd, &byte, 1, (off_t)at),
			 1);
	return byte;
}

static struct daxmr_stats stats_of(const struct daemon_file *file)
{
	struct daxmr_stats stats = {.size = sizeof(stats)};

	assert_int_equal(daxmr_region_stats(file->region, &stats), 0);
	return stats;
}

static enum daxmr_state state_of(const struct daemon_file *file)
{
	struct daxmr_info info = {.size = sizeof(info)};

	assert_int_equal(daxmr_region_info(file->region, &info), 0);
	return info.state;
}

static void check_refused(const struct daemon_file *file, size_t page,
			  int error, const char *sentence)
{
	assert_int_equal(daxmr_flush(file->region, page * PAGE, 1, 0), error);
	if (!strstr(daxmr_errormsg(), sentence))
		fail_msg("'%s' is not in: %s", sentence, daxmr_errormsg());
}

/* How long the kernel lets others wait. */
static void set_break_time(const char *seconds)
{
	FILE *file = fopen("/proc/sys/fs/lease-break-time", "we");

	assert_non_null(file);
	assert_true(fputs(seconds, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static bool is_keeper(const char *pid)
{
	char path[300], name[32] = "";
	FILE *comm;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	comm = fopen(path, "re");
	if (!comm)
		return false;
	if (!fgets(name, sizeof(name), comm))
		name[0] = '\0';
	fclose(comm);
	return !strcmp(name, "daxmr-keeper\n");
}

/* There is one in the rig. */
static pid_t find_keeper(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	assert_non_null(proc);
	while (!found && (entry = readdir(proc)))
		if (is_keeper(entry->d_name))
			found = atoi(entry->d_name);
	closedir(proc);
	assert_true(found > 0);
	return found;
}

static char state_of_process(pid_t pid)
{
	char path[64], line[512] = "";
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	stat = fopen(path, "re");
	assert_non_null(stat);
	assert_non_null(fgets(line, sizeof(line), stat));
	fclose(stat);
	return strrchr(line, ')')[2];
}

static pid_t stop_keeper(void)
{
	time_t end = time(NULL) + DAEMON_WAIT_MS / 1000;
	pid_t keeper = find_keeper();

	assert_int_equal(kill(keeper, SIGSTOP), 0);
	while (state_of_process(keeper) != 'T')
		assert_true(time(NULL) < end);
	return keeper;
}

/*
 * The kernel waits for nobody longer than its time: who opened the file then
 * has what was in it, and it stays so until he has gone.
 */
static void lost__what_is_new_comes_when_it_is_ours_again(void **state)
{
	struct daemon_file file;
	struct outsider writer;
	struct daxmr_stats stats;
	pid_t keeper;

	(void)state;
	open_and_register(&file);
	file.addr[3 * PAGE] = 'D';
	assert_int_equal(daxmr_flush(file.region, 3 * PAGE, 1, 0), 0);
	file.addr[PAGE] = 'L';
	keeper = stop_keeper();
	set_break_time("1");
	outsider_start(&writer, &file, O_RDWR);
	outsider_wait_open(&writer);
	set_break_time("45");
	assert_int_equal(outsider_read(&writer, PAGE), 'b');
	assert_int_equal(outsider_read(&writer, 3 * PAGE), 'D');
	outsider_write(&writer, 2 * PAGE, 'W');

	assert_int_equal(kill(keeper, SIGCONT), 0);
	assert_int_equal(daemon_expect(&file, DAXMR_EVENT_RECALL).who,
			 DAXMR_WHO_OTHERS);
	assert_true(daemon_expect(&file, DAXMR_EVENT_LOST).error < 0);
	assert_int_equal(state_of(&file), DAXMR_STATE_LOST);
	check_refused(&file, 1, -EAGAIN, "the kernel took the lease");
	assert_int_equal(outsider_read(&writer, PAGE), 'b');

	outsider_end(&writer);
	daemon_expect(&file, DAXMR_EVENT_RETAKEN);
	assert_int_equal(daemon_expect(&file, DAXMR_EVENT_MERGED).blocks, 1);
	assert_int_equal(file.addr[2 * PAGE], 'W');
	assert_int_equal(file.addr[PAGE], 'L');
	assert_int_equal(daxmr_flush(file.region, PAGE, 1, 0), 0);
	assert_int_equal(read_byte(&file, PAGE), 'L');
	stats = stats_of(&file);
	assert_int_equal(stats.recalls, 1);
	assert_int_equal(stats.lost, 1);
	assert_int_equal(stats.yielded, 0);
	assert_true(stats.yielded_ns > 0);
	assert_int_equal(stats.conflicts, 0);
	daemon_expect_none(&file);
	daemon_close(&file);
}

static int freeze(const struct daemon_file *file)
{
	char folder[sizeof(file->path)];
	int fd;

	strcpy(folder, file->path);
	*strrchr(folder, '/') = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, FIFREEZE, 0), 0);
	return fd;
}

/* Nothing can be written, and nobody waits for that longer than for us. */
static void lost__the_file_system_is_frozen(void **state)
{
	struct daemon_file file;
	struct outsider reader;
	int folder;

	(void)state;
	open_and_register(&file);
	file.addr[PAGE] = 'Z';
	folder = freeze(&file);
	set_break_time("1");
	outsider_start(&reader, &file, O_RDONLY);
	outsider_wait_open(&reader);
	set_break_time("45");
	assert_int_equal(outsider_read(&reader, PAGE), 'b');

	/* the keeper, which would tell, is in the kernel until then */
	assert_int_equal(ioctl(folder, FITHAW, 0), 0);
	close(folder);
	daemon_expect(&file, DAXMR_EVENT_RECALL);
	daemon_expect(&file, DAXMR_EVENT_LOST);
	outsider_end(&reader);
	daemon_expect(&file, DAXMR_EVENT_RETAKEN);
	daemon_expect(&file, DAXMR_EVENT_MERGED);
	assert_int_equal(daxmr_flush(file.region, PAGE, 1, 0), 0);
	assert_int_equal(read_byte(&file, PAGE), 'Z');
	daemon_expect_none(&file);
	daemon_close(&file);
}

/* To the last block. */
static void fill_up(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	off_t at = 0;

	assert_true(fd >= 0);
	for (off_t piece = 1 << 28; piece >= (off_t)PAGE;) {
		if (!fallocate(fd, 0, at, piece)) {
			at += piece;
		} else {
			assert_int_equal(errno, ENOSPC);
			piece /= 2;
		}
	}
	close(fd);
}

/* The first one that does not say that there is no room still. */
static struct daxmr_event next_but_errors(const struct daemon_file *file)
{
	for (;;) {
		struct daxmr_event *event, copy;

		assert_int_equal(
			daxmr_event_get(file->channel, DAEMON_WAIT_MS, &event),
			0);
		copy = *event;
		assert_int_equal(daxmr_event_ack(event), 0);
		if (copy.kind != DAXMR_EVENT_FLUSH_ERROR)
			return copy;
		assert_int_equal(copy.error, -ENOSPC);
	}
}

static struct daxmr_event expect_after_errors(const struct daemon_file *file,
					      enum daxmr_event_kind kind)
{
	struct daxmr_event event = next_but_errors(file);

	assert_string_equal(daxmr_event_name(event.kind),
			    daxmr_event_name(kind));
	return event;
}

/* A flush that is asked for may come to its end while the merge waits. */
static void expect_merged_and_flushed(const struct daemon_file *file)
{
	struct daxmr_event first = next_but_errors(file);
	bool is_merged = first.kind == DAXMR_EVENT_MERGED;
	struct daxmr_event second = expect_after_errors(
		file, is_merged ? DAXMR_EVENT_FLUSHED : DAXMR_EVENT_MERGED);

	if (!is_merged)
		assert_int_equal(first.kind, DAXMR_EVENT_FLUSHED);
	assert_int_equal(is_merged ? second.count : first.count, 1);
}

/* Others take the blocks of the file's second half, and all that there are. */
static void take_all_room(const struct daemon_file *file, const char *filler)
{
	struct outsider writer;

	outsider_start(&writer, file, O_RDWR);
	outsider_wait_open(&writer);
	daemon_expect(file, DAXMR_EVENT_RECALL);
	assert_int_equal(daemon_expect(file, DAXMR_EVENT_YIELDED).error, 0);
	outsider_truncate(&writer, KEPT * PAGE);
	outsider_truncate(&writer, DAEMON_SIZE);
	fill_up(filler);
	outsider_end(&writer);
	daemon_expect(file, DAXMR_EVENT_RETAKEN);
	assert_int_equal(daemon_expect(file, DAXMR_EVENT_FLUSH_ERROR).error,
			 -ENOSPC);
}

/*
 * What there is room for is durable when that is said, the rest is said not to
 * be, to who asks and to who hands the file over; it comes when there is room.
 */
static void flush_error__no_room_and_then_there_is(void **state)
{
	char filler[300];
	struct daemon_file file;
	struct outsider reader;

	(void)state;
	open_and_register(&file);
	snprintf(filler, sizeof(filler), "%s.filler", file.path);
	take_all_room(&file, filler);
	assert_int_equal(state_of(&file), DAXMR_STATE_MERGING);
	file.addr[PAGE] = 'P';
	file.addr[(KEPT + 1) * PAGE] = 'N';
	assert_int_equal(daxmr_flush(file.region, PAGE, 1, 0), 0);
	assert_int_equal(read_byte(&file, PAGE), 'P');
	check_refused(&file, KEPT + 1, -ENOSPC, "No space left on device");
	assert_int_equal(read_byte(&file, (KEPT + 1) * PAGE), 0);

	outsider_start(&reader, &file, O_RDONLY);
	outsider_wait_open(&reader);
	expect_after_errors(&file, DAXMR_EVENT_RECALL);
	assert_int_equal(expect_after_errors(&file, DAXMR_EVENT_YIELDED).error,
			 -ENOSPC);
	assert_int_equal(outsider_read(&reader, PAGE), 'P');
	assert_int_equal(outsider_read(&reader, (KEPT + 1) * PAGE), 0);
	outsider_end(&reader);
	expect_after_errors(&file, DAXMR_EVENT_RETAKEN);
	assert_int_equal(daemon_expect(&file, DAXMR_EVENT_FLUSH_ERROR).error,
			 -ENOSPC);
	assert_int_equal(daxmr_flush(file.region, 0, 1, DAXMR_FLUSH_NOWAIT), 0);

	assert_int_equal(unlink(filler), 0);
	expect_merged_and_flushed(&file);
	assert_int_equal(read_byte(&file, (KEPT + 1) * PAGE), 'N');
	assert_int_equal(file.addr[(KEPT + 1) * PAGE], 'N');
	assert_int_equal(state_of(&file), DAXMR_STATE_HELD);
	assert_true(stats_of(&file).flush_errors >= 3);
	daemon_expect_none(&file);
	daemon_close(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* first: what the others leave may be there a while longer */
		cmocka_unit_test(flush_error__no_room_and_then_there_is),
		cmocka_unit_test(lost__what_is_new_comes_when_it_is_ours_again),
		cmocka_unit_test(lost__the_file_system_is_frozen),
	};
	int failed;

	end_open(&device);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	end_close(&device);
	return failed;
}
