/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outsider FILE STORY BOARD-FD
 *
 * What others do to a file that has a shadow, one thing after another, while
 * rdma_outsiders has its peers write: a process of its own, with system calls
 * alone. DAXMR_TEST_LONG: for minutes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ends.h"
#include "outsider_acts.h"

static struct outsider me;
static bool is_long;

static void must(bool is_so, const char *what)
{
	if (!is_so)
		die("%s: %s", what, strerror(errno));
}

static void write_words(int fd, uint64_t first, uint32_t count)
{
	uint64_t words[BLOCK_WORDS];

	for (uint32_t i = 0; i < count; i++)
		words[i] = stamped(first + i, me.board->stamp);
	must(pwrite(fd, words, count * 8UL, (off_t)(first * 8)) ==
		     (ssize_t)(count * 8UL),
	     "write");
}

static void write_theirs(int fd)
{
	for (uint32_t i = 0; i < THEIRS; i++) {
		write_words(fd, (uint64_t)theirs_block(i) * BLOCK_WORDS,
			    BLOCK_WORDS);
		me.board->theirs[i] = me.board->stamp;
		me.board->is_punched[i] = false;
	}
	me.board->merged += THEIRS;
}

/* Not a word that peers write. */
static void write_shared(int fd)
{
	for (uint32_t slot = 0; slot < SLOTS; slot++) {
		uint64_t first = (uint64_t)slot_block(slot) * BLOCK_WORDS;

		if (slot_role(slot) != SHARED)
			continue;
		for (uint32_t half = 0; half < 2; half++)
			write_words(fd, first + half * HALF_WORDS + GAP_WORD,
				    HALF_WORDS - GAP_WORD);
		me.board->merged++;
	}
}

static void write_both(int fd)
{
	bool is_marked = me.policy == ERROR && me.board->both;

	for (uint32_t slot = 0; slot < SLOTS; slot++)
		if (slot_role(slot) == BOTH)
			write_words(fd,
				    (uint64_t)slot_block(slot) * BLOCK_WORDS,
				    BLOCK_WORDS);
	me.board->both = me.board->stamp;
	/* A block in conflict is not counted again. */
	me.board->merged += is_marked ? 0 : BOTH_SLOTS;
	me.board->conflicts += is_marked ? 0 : BOTH_SLOTS;
}

/* Between those the peers go on: their words of before are in the file. */
static void overwrites(bool is_all)
{
	int fd;

	outsider_wait_leased(&me);
	fd = outsider_open(&me, is_all ? O_RDWR : O_WRONLY);
	me.board->stamp++;
	write_theirs(fd);
	if (me.policy == OURS)
		write_shared(fd);
	if (is_all) {
		write_both(fd);
		outsider_wait_round(&me);
	}
	close(fd);
}

static void punches(void)
{
	int fd;

	outsider_wait_leased(&me);
	fd = outsider_open(&me, O_RDWR);
	for (uint32_t i = 0; i < THEIRS; i += 2) {
		must(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)(theirs_block(i) * BLOCK), BLOCK),
		     "punch");
		me.board->merged += !me.board->is_punched[i];
		me.board->is_punched[i] = true;
	}
	close(fd);
}

/* What a writer holds stays as it was when it was opened. */
static void holds_for_writing(void)
{
	double until = now() + (is_long ? 60 : 0);
	int fd;

	outsider_wait_leased(&me);
	fd = outsider_open(&me, O_RDWR);
	do
		outsider_check_still(&me);
	while (now() < until);
	me.board->stamp++;
	write_theirs(fd);
	close(fd);
}

/* Blocks that are zeroes now and were not. */
static void count_cut(void)
{
	me.board->merged += me.board->was_cut ? TAIL_SLOTS : BLOCKS - CUT_BLOCK;
	me.board->was_cut = true;
}

/* With the peers at it beyond the end: it grows for them, or doesn't. */
static void cuts(bool is_held)
{
	outsider_wait_leased(&me);
	if (is_held) {
		int fd = outsider_open(&me, O_RDWR);

		must(!ftruncate(fd, CUT), "ftruncate");
		outsider_wait_round(&me);
		close(fd);
	} else {
		outsider_cut(&me, CUT);
	}
	count_cut();
	me.board->size = me.policy == OURS ? SIZE : CUT;
	outsider_settle(&me);
	outsider_read(&me, 0);
}

static void grows(uint64_t size)
{
	outsider_wait_leased(&me);
	outsider_cut(&me, size);
	me.board->size = size;
	outsider_settle(&me);
	outsider_read(&me, 0);
}

static void loops(void)
{
	double until = now() + (is_long ? 30 : 1.5);
	unsigned int opens = 0;

	while (now() < until || opens < 20) {
		close(outsider_open(&me, opens % 4 ? O_RDONLY : O_RDWR));
		opens++;
	}
	printf("%u opens one after the other\n", opens);
}

/* On another file system, in the folder we run in. */
static void copies(void)
{
	outsider_copy(&me, "--reflink=auto", "copy");
}

/* A clone stays as it was; what is stored later has blocks of its own. */
static void clones(void)
{
	const char *name = me.path;
	char clone[4096];

	snprintf(clone, sizeof(clone), "%s-clone", name);
	outsider_copy(&me, "--reflink=always", clone);
	me.path = clone;
	outsider_check_still(&me);
	me.path = name;
	outsider_read(&me, 0);
	unlink(clone);
}

/* The region's file is another one than what has its name now. */
static void replaced_and_deleted(void)
{
	const char *name = me.path;
	char link_name[4096], new_name[4096], text[16] = "";
	int fd;

	snprintf(link_name, sizeof(link_name), "%s-link", name);
	snprintf(new_name, sizeof(new_name), "%s-new", name);
	fd = open(new_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	must(fd >= 0 && write(fd, "another file", 12) == 12, new_name);
	must(!link(name, link_name), link_name);
	must(!rename(new_name, name), name);
	me.path = link_name;
	overwrites(true);
	copies();
	loops();
	outsider_read(&me, 0);
	must(!unlink(link_name), link_name);
	me.board->is_deleted = true;
	outsider_wait_round(&me);
	must(pread(fd, text, sizeof(text), 0) == 12 &&
		     !strcmp(text, "another file"),
	     "the file that replaced it has changed");
	close(fd);
}

static void ours(void)
{
	copies();
	outsider_read(&me, now() + (is_long ? 60 : 3));
	for (int i = 0; i < (is_long ? 50 : 3); i++)
		overwrites(false);
	outsider_read(&me, 0);
	overwrites(true);
	punches();
	copies();
	holds_for_writing();
	cuts(true);
	cuts(false);
	grows(SIZE + 65536);
}

static void theirs(void)
{
	overwrites(true);
	punches();
	copies();
	cuts(true);
	grows(SIZE);
}

static void error(void)
{
	unsigned int asked;

	overwrites(true);
	outsider_read(&me, 0);
	overwrites(true);
	copies();
	outsider_wait_leased(&me);
	asked = atomic_fetch_add(&me.board->sync_asked, 1) + 1;
	while (atomic_load(&me.board->sync_done) != asked)
		outsider_wait_round(&me);
}

static void clone_story(void)
{
	clones();
	overwrites(true);
	clones();
	punches();
	outsider_read(&me, 0);
}

static const struct {
	const char *name;
	void (*tell)(void);
	void (*end)(void);
} stories[] = {
	{"ours", ours, replaced_and_deleted},
	{"theirs", theirs, NULL},
	{"error", error, NULL},
	{"clone", clone_story, NULL},
};

int main(int argc, char **argv)
{
	double until;
	size_t i = 0;

	if (argc != 4)
		die("usage: outsider FILE STORY BOARD-FD");
	while (i < 4 && strcmp(argv[2], stories[i].name))
		i++;
	if (i == 4)
		die("there is no story '%s'", argv[2]);
	me.path = argv[1];
	me.policy = policy_of(argv[2]);
	me.board = mmap(NULL, sizeof(*me.board), PROT_READ | PROT_WRITE,
			MAP_SHARED, atoi(argv[3]), 0);
	if (me.board == MAP_FAILED)
		die("no board");
	is_long = getenv("DAXMR_TEST_LONG") != NULL;
	outsider_begin(&me);
	until = now() + (is_long ? 60 : 0);
	do {
		stories[i].tell();
	} while (now() < until);
	if (stories[i].end)
		stories[i].end();
	else
		outsider_settle(&me);
	outsider_tell_waits();
	atomic_store(&me.board->is_over, true);
	return 0;
}
