/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the pages of extents stand: extent_book.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "extent_book.h"
#include "heap.h"
#include "raw.h"
#include "reason.h"

/* What is not used of a book takes addresses, no memory. */
#define BOOK_SIZE  65536U
#define BOOK_PAGES 8U /* so many at least, if they are large */

struct book_head {
	uint32_t version;
	uint32_t block_size;
	uint8_t secret[EXTENT_SECRET_SIZE]; /* random */
};

_Static_assert(sizeof(struct book_head) <= EXTENT_BOOK_HEAD, "as drawn");

/* Unused. */
struct span {
	uint64_t at;
	uint64_t end;
};

struct extent_book {
	struct extent_book *next;
	uint8_t *bytes;
	uint64_t size;
	unsigned int pages; /* in use */
	int fd;		    /* the program's, or -1 */
	/* The program's: in order, no two of them touch. */
	struct span *spans;
	unsigned int count;
	unsigned int room;
	/* The keeper's. */
	dev_t dev;
	ino_t ino;
};

static uint64_t page_size(uint64_t length)
{
	uint64_t size = sizeof(struct extent_page) +
			length / EXTENT_BLOCK * sizeof(uint64_t);

	return (size + EXTENT_GRAIN - 1) / EXTENT_GRAIN * EXTENT_GRAIN;
}

static bool makes_sense(uint64_t offset, uint64_t length)
{
	return length && !(offset % EXTENT_BLOCK) && !(length % EXTENT_BLOCK) &&
	       offset <= INT64_MAX && length <= INT64_MAX - offset;
}

static void set_view(struct extent *extent, struct extent_book *book,
		     uint64_t at, uint64_t offset, uint64_t length)
{
	extent->book = book;
	extent->page = (struct extent_page *)(book->bytes + at);
	extent->digests = (_Atomic uint64_t *)(extent->page + 1);
	extent->secret = ((struct book_head *)book->bytes)->secret;
	extent->offset = offset;
	extent->length = length;
	extent->blocks = length / EXTENT_BLOCK;
	book->pages++;
}

int extent_seal(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals >= 0 && seals & F_SEAL_SHRINK)
		return 0;
	return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) ? -errno : 0;
}

/*
 * mlockall(MCL_FUTURE) would have all of it filled, were it not for this. What
 * stands there, the secret too, is for those who share it alone. NULL and
 * errno.
 */
static uint8_t *map_unfilled(int fd, uint64_t size)
{
	void *bytes = raw_map(fd, size, PROT_NONE, 0);
	int saved_errno;

	if (bytes == MAP_FAILED)
		return NULL;
	if (!raw_keep_to_us(bytes, size) &&
	    !syscall(SYS_munlock, bytes, size) &&
	    !syscall(SYS_mprotect, bytes, size, PROT_READ | PROT_WRITE))
		return bytes;
	saved_errno = errno;
	raw_unmap(bytes, size);
	errno = saved_errno;
	return NULL;
}

static void free_book(struct extent_book *book)
{
	if (book->bytes)
		raw_unmap(book->bytes, book->size);
	if (book->fd >= 0)
		raw_close(book->fd);
	heap_put(book->spans);
	heap_put(book);
}

static int make(struct extent_book *book)
{
	struct book_head *head;
	int r;

	book->fd = (int)syscall(SYS_memfd_create, "daxmr-extent",
				MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (book->fd < 0 || syscall(SYS_ftruncate, book->fd, book->size))
		return -errno;
	r = extent_seal(book->fd);
	if (r)
		return r;
	book->bytes = map_unfilled(book->fd, book->size);
	if (!book->bytes)
		return -errno;
	head = (struct book_head *)book->bytes;
	if (getrandom(head->secret, sizeof(head->secret), 0) !=
	    sizeof(head->secret))
		return -errno;
	head->version = EXTENT_VERSION;
	head->block_size = EXTENT_BLOCK;
	return 0;
}

static int new_book(struct extent_shelf *shelf, uint64_t page)
{
	uint64_t size = EXTENT_BOOK_HEAD + BOOK_PAGES * page;
	struct extent_book *book = heap_get(1, sizeof(*book));
	int r = -ENOMEM;

	if (book) {
		book->fd = -1;
		book->size = size <= BOOK_SIZE ? BOOK_SIZE
					       : (size + 4095) / 4096 * 4096;
		book->spans = heap_get(1, sizeof(*book->spans));
		r = book->spans ? make(book) : -ENOMEM;
	}
	if (r) {
		if (book)
			free_book(book);
		return r;
	}
	book->spans[0] = (struct span){EXTENT_BOOK_HEAD, book->size};
	book->count = book->room = 1;
	book->next = shelf->first;
	shelf->first = book;
	return 0;
}

/* 0: there is no room. */
static uint64_t take_span(struct extent_book *book, uint64_t size)
{
	for (unsigned int i = 0; i < book->count; i++) {
		struct span *span = &book->spans[i];
		uint64_t at = span->at;

		if (span->end - at < size)
			continue;
		span->at += size;
		if (span->at == span->end)
			memmove(span, span + 1,
				(--book->count - i) * sizeof(*span));
		return at;
	}
	return 0;
}

static bool insert_span(struct extent_book *book, unsigned int i)
{
	struct span *bigger = book->spans;

	if (book->count == book->room) {
		bigger =
			heap_more(book->spans, 2 * book->room, sizeof(*bigger));
		if (!bigger)
			return false;
		book->spans = bigger;
		book->room *= 2;
	}
	memmove(&bigger[i + 1], &bigger[i],
		(book->count++ - i) * sizeof(*bigger));
	return true;
}

/* Without memory for the note it stays unused. */
static void give_span(struct extent_book *book, uint64_t at, uint64_t end)
{
	struct span *spans = book->spans;
	unsigned int i = 0;

	while (i < book->count && spans[i].at < at)
		i++;
	if (i && spans[i - 1].end == at) {
		spans[i - 1].end = end;
		if (i < book->count && spans[i].at == end) {
			spans[i - 1].end = spans[i].end;
			memmove(&spans[i], &spans[i + 1],
				(--book->count - i) * sizeof(*spans));
		}
	} else if (i < book->count && spans[i].at == end) {
		spans[i].at = at;
	} else if (insert_span(book, i)) {
		book->spans[i] = (struct span){at, end};
	}
}

static void take_out(struct extent_book **first, struct extent_book *book)
{
	while (*first != book)
		first = &(*first)->next;
	*first = book->next;
}

static void put_first(struct extent_shelf *shelf, struct extent_book *book)
{
	if (shelf->first == book)
		return;
	take_out(&shelf->first, book);
	book->next = shelf->first;
	shelf->first = book;
}

static struct extent_book *find_room(struct extent_shelf *shelf, uint64_t size,
				     uint64_t *ret_at)
{
	struct extent_book *book = shelf->first;

	while (book && !(*ret_at = take_span(book, size)))
		book = book->next;
	if (book)
		put_first(shelf, book);
	return book;
}

int extent_new(struct extent_shelf *shelf, uint64_t offset, uint64_t length,
	       struct extent *ret)
{
	uint64_t size = page_size(length), at = 0;
	struct extent_book *book;
	int r = 0;

	if (!makes_sense(offset, length))
		return reason_set(-EINVAL,
				  "%" PRIu64 " bytes from %" PRIu64
				  " on are no extent: whole pages are",
				  length, offset);
	book = find_room(shelf, size, &at);
	if (!book) {
		r = new_book(shelf, size);
		book = r ? NULL : find_room(shelf, size, &at);
	}
	if (!book)
		return reason_set(r,
				  "%" PRIu64
				  " bytes of shared memory for what is known "
				  "of a region cannot be had: %s%s",
				  size, strerrordesc_np(-r),
				  r == -EMFILE ? "; raise RLIMIT_NOFILE" : "");
	/* Else the first access would find out, by SIGBUS. */
	if (raw_fallocate(book->fd, 0, at, size)) {
		r = -errno;
		give_span(book, at, at + size);
		return reason_set(r,
				  "no memory for what is known of a region: %s",
				  strerrordesc_np(-r));
	}
	/* It may have been another's. */
	memset(book->bytes + at, 0, size);
	set_view(ret, book, at, offset, length);
	ret->page->offset = offset;
	ret->page->length = length;
	return 0;
}

static uint64_t place_in(const struct extent *extent)
{
	return (uint64_t)((uint8_t *)extent->page - extent->book->bytes);
}

void extent_free(struct extent_shelf *shelf, struct extent *extent)
{
	struct extent_book *book = extent->book;
	uint64_t at = place_in(extent);

	extent->page = NULL;
	if (--book->pages) {
		give_span(book, at, at + page_size(extent->length));
		put_first(shelf, book);
		return;
	}
	take_out(&shelf->first, book);
	free_book(book);
}

struct extent_place extent_place(const struct extent *extent)
{
	return (struct extent_place){extent->book->fd, place_in(extent)};
}

/* That are mapped by extent_map(). */
static struct extent_book *books;

static void close_book(struct extent_book *book)
{
	if (book->pages)
		return;
	take_out(&books, book);
	free_book(book);
}

/* NULL and errno. */
static struct extent_book *open_book(int fd, const struct stat *st)
{
	struct extent_book *book = books;
	int saved_errno;

	while (book && (book->ino != st->st_ino || book->dev != st->st_dev))
		book = book->next;
	if (book)
		return book;
	book = heap_get(1, sizeof(*book));
	if (!book)
		return NULL;
	book->fd = -1;
	book->dev = st->st_dev;
	book->ino = st->st_ino;
	book->size = (uint64_t)st->st_size;
	book->bytes = map_unfilled(fd, book->size);
	if (!book->bytes) {
		saved_errno = errno;
		free_book(book);
		errno = saved_errno;
		return NULL;
	}
	book->next = books;
	books = book;
	return book;
}

/* What is there is the program's: looked at once, whatever it is. */
static int look(struct extent_book *book, uint64_t at, struct extent *ret)
{
	const volatile struct book_head *head = (void *)book->bytes;
	const volatile struct extent_page *page;
	uint64_t offset, length;

	if (at % EXTENT_GRAIN || at < EXTENT_BOOK_HEAD ||
	    book->size < sizeof(*page) || at > book->size - sizeof(*page) ||
	    head->version != EXTENT_VERSION || head->block_size != EXTENT_BLOCK)
		return -EPROTO;
	page = (void *)(book->bytes + at);
	offset = page->offset;
	length = page->length;
	if (!makes_sense(offset, length) || page_size(length) > book->size - at)
		return -EPROTO;
	set_view(ret, book, at, offset, length);
	return 0;
}

int extent_map(const struct extent_place *place, struct extent *ret)
{
	struct extent_book *book;
	struct stat st;
	int r;

	r = extent_seal(place->fd);
	if (!r && fstat(place->fd, &st))
		r = -errno;
	if (!r && (uint64_t)st.st_size < EXTENT_BOOK_HEAD)
		r = -EPROTO;
	if (!r) {
		book = open_book(place->fd, &st);
		r = book ? look(book, place->at, ret) : -errno;
		if (book)
			close_book(book);
	}
	if (r == -EPROTO)
		return reason_set(r, "what the program says of a region is of "
				     "another version, or makes no sense");
	return r ? reason_set(r,
			      "what the program says of a region cannot be "
			      "sealed and mapped: %s",
			      strerrordesc_np(-r))
		 : 0;
}

void extent_unmap(struct extent *extent)
{
	extent->book->pages--;
	extent->page = NULL;
	close_book(extent->book);
}
