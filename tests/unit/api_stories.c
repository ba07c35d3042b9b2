/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stories of daxmr.h's events, on whatever device and file system: each
 * event in its order, and what was in the file and in the region.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api_daemon.h"
#include "api_stories.h"
#include "unit.h"

#define PAGE DAEMON_PAGE

/* The device that the region is registered for. */
static struct ibv_pd *pd;

static const struct daxmr_options staged = {.strategy = DAXMR_STRATEGY_STAGED};

static bool is_readable(const struct daemon_file *file)
{
	struct pollfd source = {.fd = daxmr_channel_fd(file->channel),
				.events = POLLIN};

	return poll(&source, 1, 0) == 1;
}

static struct daxmr_stats stats_of(const struct daemon_file *file)
{
	struct daxmr_stats stats = {.size = sizeof(stats)};

	assert_int_equal(daxmr_region_stats(file->region, &stats), 0);
	return stats;
}

/* The file goes to somebody, who has it open when this returns. */
static void lend(const struct daemon_file *file, struct outsider *outsider,
		 int flags)
{
	outsider_start(outsider, file, flags);
	outsider_wait_open(outsider);
	assert_int_equal(daemon_expect(file, DAXMR_EVENT_RECALL).who,
			 DAXMR_WHO_OTHERS);
	assert_int_equal(daemon_expect(file, DAXMR_EVENT_YIELDED).error, 0);
}

static struct daxmr_event come_back(const struct daemon_file *file,
				    struct outsider *outsider)
{
	outsider_end(outsider);
	daemon_expect(file, DAXMR_EVENT_RETAKEN);
	return daemon_expect(file, DAXMR_EVENT_MERGED);
}

static void reader__opens_and_closes(void **state)
{
	struct daxmr_info info = {.size = sizeof(info)};
	struct daemon_file file;
	struct daxmr_stats stats;
	struct outsider reader;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, pd, staged);
	file.addr[3 * PAGE] = '3';
	assert_false(is_readable(&file));

	lend(&file, &reader, O_RDONLY);
	assert_int_equal(outsider_read(&reader, 3 * PAGE), '3');
	assert_int_equal(daxmr_region_info(file.region, &info), 0);
	assert_int_equal(info.state, DAXMR_STATE_YIELDED);
	assert_int_equal(come_back(&file, &reader).blocks, 0);

	daemon_expect_none(&file);
	assert_false(is_readable(&file));
	assert_int_equal(daxmr_region_info(file.region, &info), 0);
	assert_int_equal(info.state, DAXMR_STATE_HELD);
	stats = stats_of(&file);
	assert_int_equal(stats.recalls, 1);
	assert_int_equal(stats.yielded, 1);
	assert_int_equal(stats.retaken, 1);
	assert_true(stats.yielded_ns > 0);
	daemon_close(&file);
}

static void writer__changes_blocks(void **state)
{
	struct daemon_file file;
	struct daxmr_event event;
	struct outsider writer;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, pd, staged);

	lend(&file, &writer, O_RDWR);
	outsider_write(&writer, 2 * PAGE, 'X');
	outsider_write(&writer, 5 * PAGE, 'Y');
	event = come_back(&file, &writer);

	assert_int_equal(event.blocks, 2);
	assert_int_equal(file.addr[2 * PAGE], 'X');
	assert_int_equal(file.addr[5 * PAGE], 'Y');
	daemon_expect_none(&file);
	daemon_close(&file);
}

/* Page 2 is 'X' in the file and 'O' here: who wins? */
static void conflict_on_page_2(struct daemon_file *file,
			       enum daxmr_on_conflict on_conflict)
{
	struct daxmr_options options = staged;
	struct outsider writer;

	options.on_conflict = on_conflict;
	options.flush_ms = DAXMR_FLUSH_OFF;
	daemon_open(file);
	daemon_register(file, pd, options);

	lend(file, &writer, O_RDWR);
	outsider_write(&writer, 2 * PAGE, 'X');
	file->addr[2 * PAGE] = 'O';
	outsider_end(&writer);

	daemon_expect(file, DAXMR_EVENT_RETAKEN);
	assert_int_equal(daemon_expect(file, DAXMR_EVENT_CONFLICT).blocks, 1);
	daemon_expect(file, DAXMR_EVENT_MERGED);
	assert_int_equal(stats_of(file).conflicts, 1);
}

/* Of the file, which pread() does not show where a preload hooks it. */
static char read_page_2(const struct daemon_file *file)
{
	char byte = 0;

	assert_int_equal(syscall(SYS_pread64, file->fd, &byte, 1, 2 * PAGE), 1);
	return byte;
}

static void writer__changes_what_is_changed_here(void **state)
{
	struct daemon_file file;

	(void)state;
	conflict_on_page_2(&file, DAXMR_ON_CONFLICT_THEIRS);
	assert_int_equal(file.addr[2 * PAGE], 'X');
	assert_int_equal(read_page_2(&file), 'X');
	daemon_expect_none(&file);
	daemon_close(&file);
}

static void writer__changes_what_is_changed_here_and_ours_is_kept(void **state)
{
	struct daemon_file file;

	(void)state;
	conflict_on_page_2(&file, DAXMR_ON_CONFLICT_OURS);
	assert_int_equal(file.addr[2 * PAGE], 'O');
	assert_int_equal(daxmr_flush(file.region, 2 * PAGE, 1, 0), 0);
	assert_int_equal(read_page_2(&file), 'O');
	daemon_expect_none(&file);
	daemon_close(&file);
}

static void writer__changes_what_is_changed_here_and_none_wins(void **state)
{
	struct daemon_file file;

	(void)state;
	conflict_on_page_2(&file, DAXMR_ON_CONFLICT_ERROR);
	assert_int_equal(file.addr[2 * PAGE], 'O');
	assert_int_equal(daxmr_flush(file.region, 2 * PAGE, 1, 0), -EIO);
	/* who has asked knows, and the rest has been told */
	daemon_expect_none(&file);
	assert_int_equal(read_page_2(&file), 'X');
	assert_int_equal(daxmr_flush(file.region, 3 * PAGE, 1, 0), 0);

	/* one of the two ways out */
	file.addr[2 * PAGE] = 'X';
	assert_int_equal(daxmr_flush(file.region, 2 * PAGE, 1, 0), 0);
	file.addr[2 * PAGE] = 'N';
	assert_int_equal(daxmr_flush(file.region, 2 * PAGE, 1, 0), 0);
	assert_int_equal(read_page_2(&file), 'N');
	daemon_close(&file);
}

static void others__cut_the_file_off_and_it_grows_again(void **state)
{
	struct daxmr_options options = staged;
	struct daemon_file file;
	struct daxmr_event event;
	struct outsider writer;
	struct stat st;

	(void)state;
	options.flush_ms = DAXMR_FLUSH_OFF;
	daemon_open(&file);
	daemon_register(&file, pd, options);

	lend(&file, &writer, O_RDWR);
	outsider_truncate(&writer, 4 * PAGE);
	outsider_end(&writer);
	daemon_expect(&file, DAXMR_EVENT_RETAKEN);
	event = daemon_expect(&file, DAXMR_EVENT_SHRUNK);
	assert_int_equal(event.blocks, DAEMON_SIZE / PAGE - 4);
	daemon_expect(&file, DAXMR_EVENT_MERGED);
	assert_int_equal(file.addr[5 * PAGE], 0);

	file.addr[5 * PAGE] = 'n';
	assert_int_equal(daxmr_flush(file.region, 5 * PAGE, 1, 0), 0);
	event = daemon_expect(&file, DAXMR_EVENT_GROWN);
	assert_int_equal(event.blocks, 1);
	assert_int_equal(fstat(file.fd, &st), 0);
	assert_true(st.st_size > (off_t)(5 * PAGE));
	daemon_close(&file);
}

static void others__cut_the_file_off_and_what_is_beyond_is_dropped(void **state)
{
	struct daxmr_options options = staged;
	struct daemon_file file;
	struct outsider writer;
	struct stat st;

	(void)state;
	options.flush_ms = DAXMR_FLUSH_OFF;
	options.on_shrink = DAXMR_ON_SHRINK_DISCARD;
	daemon_open(&file);
	daemon_register(&file, pd, options);
	lend(&file, &writer, O_RDWR);
	outsider_truncate(&writer, 4 * PAGE);
	outsider_end(&writer);
	daemon_expect(&file, DAXMR_EVENT_RETAKEN);
	daemon_expect(&file, DAXMR_EVENT_SHRUNK);
	daemon_expect(&file, DAXMR_EVENT_MERGED);

	file.addr[5 * PAGE] = 'n';
	assert_int_equal(daxmr_flush(file.region, 5 * PAGE, 1, 0), 0);

	assert_int_equal(daemon_expect(&file, DAXMR_EVENT_BEYOND_EOF).blocks,
			 1);
	assert_int_equal(fstat(file.fd, &st), 0);
	assert_int_equal(st.st_size, 4 * PAGE);
	daemon_close(&file);
}

/* A long time: nothing but the ack can let it go in a test. */
static const struct daxmr_options asks = {
	.strategy = DAXMR_STRATEGY_STAGED,
	.on_recall = DAXMR_ON_RECALL_ASK,
	.quiesce_ms = 30000,
};

static void consent__is_a_snapshot_to_the_point(void **state)
{
	struct daxmr_event *event;
	struct daemon_file file;
	struct outsider reader;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, pd, asks);
	outsider_start(&reader, &file, O_RDONLY);

	/* commits go on until the daemon says so */
	event = daemon_expect_out(&file, DAXMR_EVENT_RECALL);
	assert_true(event->deadline_ns > event->at_ns);
	for (size_t i = 0; i < DAEMON_SIZE; i += PAGE)
		file.addr[i] = 'S';
	assert_int_equal(daxmr_event_ack(event), 0);
	daemon_expect(&file, DAXMR_EVENT_YIELDED);
	for (size_t i = 0; i < DAEMON_SIZE; i += PAGE)
		file.addr[i] = 'T';

	outsider_wait_open(&reader);
	for (size_t i = 0; i < DAEMON_SIZE; i += PAGE)
		assert_int_equal(outsider_read(&reader, (off_t)i), 'S');
	come_back(&file, &reader);
	assert_int_equal(stats_of(&file).consents_late, 0);
	daemon_close(&file);
}

/* The commit that is under way ends; else who has one thread could not agree.
 */
static void consent__is_given_after_a_flush(void **state)
{
	struct daxmr_event *event;
	struct daemon_file file;
	struct outsider reader;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, pd, asks);
	outsider_start(&reader, &file, O_RDONLY);
	event = daemon_expect_out(&file, DAXMR_EVENT_RECALL);

	file.addr[PAGE] = 'c';
	assert_int_equal(daxmr_flush(file.region, PAGE, PAGE, 0), 0);
	/* nobody else has the file yet */
	assert_int_equal(stats_of(&file).yielded, 0);
	assert_int_equal(daxmr_event_ack(event), 0);
	daemon_expect(&file, DAXMR_EVENT_YIELDED);
	outsider_wait_open(&reader);
	assert_int_equal(outsider_read(&reader, PAGE), 'c');
	come_back(&file, &reader);
	assert_int_equal(stats_of(&file).consents_late, 0);
	daemon_close(&file);
}

static void consent__is_waited_for_until_its_deadline(void **state)
{
	struct daxmr_options options = asks;
	struct daxmr_event *event;
	struct daemon_file file;
	struct outsider reader;

	(void)state;
	options.quiesce_ms = 1;
	daemon_open(&file);
	daemon_register(&file, pd, options);

	outsider_start(&reader, &file, O_RDONLY);
	outsider_wait_open(&reader);

	event = daemon_expect_out(&file, DAXMR_EVENT_RECALL);
	daemon_expect(&file, DAXMR_EVENT_YIELDED);
	assert_int_equal(daxmr_event_ack(event), 0);
	come_back(&file, &reader);
	assert_int_equal(stats_of(&file).consents_late, 1);
	daemon_close(&file);
}

static void resize__is_no_change_by_others(void **state)
{
	struct daxmr_info info = {.size = sizeof(info)};
	struct daemon_file file;
	struct outsider reader;
	struct stat st;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, pd, staged);

	assert_int_equal(daxmr_resize(file.region, file.fd, DAEMON_MAPPED,
				      DAEMON_MAPPED),
			 0);
	assert_int_equal(daxmr_region_info(file.region, &info), 0);
	assert_int_equal(info.length, DAEMON_MAPPED);
	assert_int_equal(info.mr->length, DAEMON_MAPPED);
	file.addr[DAEMON_MAPPED - 1] = 'e';
	assert_int_equal(daxmr_flush(file.region, DAEMON_MAPPED - 1, 1, 0), 0);
	assert_int_equal(daxmr_resize(file.region, file.fd, 2 * PAGE, 2 * PAGE),
			 0);

	assert_int_equal(fstat(file.fd, &st), 0);
	assert_int_equal(st.st_size, 2 * PAGE);
	daemon_expect_none(&file);
	file.addr[PAGE] = 'p';
	lend(&file, &reader, O_RDONLY);
	assert_int_equal(outsider_read(&reader, PAGE), 'p');
	come_back(&file, &reader);
	daemon_close(&file);
}

/* The preload hooks the program's own calls. */
static bool is_preloaded(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload && strstr(preload, "libdaxmr-preload");
}

/* Changed and merged, or found while the new region was still looked after. */
static void expect_change_found(const struct daemon_file *file)
{
	struct daxmr_event *event;
	enum daxmr_event_kind kind;

	assert_int_equal(daxmr_event_get(file->channel, DAEMON_WAIT_MS, &event),
			 0);
	kind = event->kind;
	assert_int_equal(daxmr_event_ack(event), 0);
	if (kind == DAXMR_EVENT_CHANGED) {
		daemon_expect(file, DAXMR_EVENT_SHRUNK);
		daemon_expect(file, DAXMR_EVENT_MERGED);
	} else {
		assert_int_equal(kind, DAXMR_EVENT_SHRUNK);
	}
}

static void own_ftruncate__is_found_as_a_change_by_others(void **state)
{
	struct daemon_file file;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, pd, staged);

	assert_int_equal(ftruncate(file.fd, 4 * PAGE), 0);

	if (is_preloaded()) {
		daemon_expect_none(&file);
	} else {
		expect_change_found(&file);
	}
	assert_int_equal(file.addr[5 * PAGE], 0);
	daemon_close(&file);
}

static void own_open__waits_and_sees_all(void **state)
{
	struct daemon_file file;
	char byte = 0;
	int fd;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, pd, staged);
	file.addr[PAGE] = 'o';

	fd = open(file.path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, PAGE), 1);
	assert_int_equal(byte, 'o');
	assert_int_equal(daemon_expect(&file, DAXMR_EVENT_RECALL).who,
			 is_preloaded() ? DAXMR_WHO_SELF : DAXMR_WHO_OTHERS);
	daemon_expect(&file, DAXMR_EVENT_YIELDED);
	close(fd);

	daemon_expect(&file, DAXMR_EVENT_RETAKEN);
	daemon_expect(&file, DAXMR_EVENT_MERGED);
	daemon_close(&file);
}

static void flush__not_waited_for_is_told(void **state)
{
	struct daxmr_options options = staged;
	struct daemon_file file;
	char byte = 0;

	(void)state;
	options.flush_ms = DAXMR_FLUSH_OFF;
	daemon_open(&file);
	daemon_register(&file, pd, options);
	file.addr[PAGE] = 'f';

	assert_int_equal(daxmr_flush(file.region, PAGE, 1, DAXMR_FLUSH_NOWAIT),
			 0);

	assert_int_equal(daemon_expect(&file, DAXMR_EVENT_FLUSHED).error, 0);
	assert_int_equal(pread(file.fd, &byte, 1, PAGE), 1);
	assert_int_equal(byte, 'f');
	daemon_close(&file);
}

/* Nobody reads the channel meanwhile. */
static void queue__is_bounded_and_loses_nothing(void **state)
{
	enum {
		ROUNDS = 5
	};
	struct daemon_file file;
	uint64_t blocks = 0;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, pd, staged);
	for (int i = 0; i < ROUNDS; i++) {
		struct outsider writer;

		outsider_start(&writer, &file, O_RDWR);
		outsider_wait_open(&writer);
		outsider_write(&writer, (off_t)(i * PAGE), 'Q');
		outsider_end(&writer);
		/* until it has been merged */
		while (stats_of(&file).merged < (uint64_t)i + 1)
			usleep(1000);
	}

	assert_true(is_readable(&file));
	assert_int_equal(daemon_expect(&file, DAXMR_EVENT_RECALL).count,
			 ROUNDS);
	assert_int_equal(daemon_expect(&file, DAXMR_EVENT_YIELDED).count,
			 ROUNDS);
	assert_int_equal(daemon_expect(&file, DAXMR_EVENT_RETAKEN).count,
			 ROUNDS);
	blocks = daemon_expect(&file, DAXMR_EVENT_MERGED).blocks;
	assert_int_equal(blocks, ROUNDS);
	daemon_expect_none(&file);
	daemon_close(&file);
}

const struct CMUnitTest api_stories[] = {
	cmocka_unit_test(reader__opens_and_closes),
	cmocka_unit_test(writer__changes_blocks),
	cmocka_unit_test(writer__changes_what_is_changed_here),
	cmocka_unit_test(writer__changes_what_is_changed_here_and_ours_is_kept),
	cmocka_unit_test(writer__changes_what_is_changed_here_and_none_wins),
	cmocka_unit_test(others__cut_the_file_off_and_it_grows_again),
	cmocka_unit_test(
		others__cut_the_file_off_and_what_is_beyond_is_dropped),
	cmocka_unit_test(consent__is_a_snapshot_to_the_point),
	cmocka_unit_test(consent__is_given_after_a_flush),
	cmocka_unit_test(consent__is_waited_for_until_its_deadline),
	cmocka_unit_test(resize__is_no_change_by_others),
	cmocka_unit_test(own_ftruncate__is_found_as_a_change_by_others),
	cmocka_unit_test(own_open__waits_and_sees_all),
	cmocka_unit_test(flush__not_waited_for_is_told),
	cmocka_unit_test(queue__is_bounded_and_loses_nothing),
};

_Static_assert(sizeof(api_stories) / sizeof(api_stories[0]) == API_STORIES,
	       "API_STORIES counts them");

void api_stories_for(struct ibv_pd *of)
{
	pd = of;
}
