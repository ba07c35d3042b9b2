/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that is not the program's: heap.h. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "raw.h"

#if defined(__SANITIZE_ADDRESS__)

void *heap_get(size_t count, size_t size)
{
	return calloc(count, size);
}

void *heap_more(void *old, size_t count, size_t size)
{
	return reallocarray(old, count, size);
}

void heap_put(void *block)
{
	int saved_errno = errno;

	free(block);
	errno = saved_errno;
}

#else

/*
 * Blocks of 64 bytes, 128, 192 and so on up to 1 KiB, then of 2 KiB, 4 KiB and
 * so on, cut from pieces; larger ones are mapped.
 */
#define GRAIN	64UL
#define FINE	16U /* of which there are so many sizes */
#define CLASSES 21U
#define LARGEST (GRAIN * FINE << (CLASSES - FINE))
#define PIECE	(256UL << 10)
#define PAGE	4096UL

/* In front of each block, and keeps it aligned for anything. */
struct head {
	size_t room;	   /* with this */
	struct head *next; /* of those that are free */
};

_Static_assert(sizeof(struct head) % _Alignof(max_align_t) == 0, "aligned");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct head *unused[CLASSES];
static char *piece;
static size_t piece_left;

/*
 * In a child, which has but the thread that forked: another may have had the
 * lock, and a list have been half changed, so what was free is left. The lock
 * is not taken over a fork: who forks may wait, in a handler, for somebody who
 * waits for the engine. A constructor, since handlers in the child run in the
 * order in which they were set, and others may want memory.
 */
static void start_anew(void)
{
	pthread_mutex_init(&lock, NULL);
	memset(unused, 0, sizeof(unused));
	piece_left = 0;
}

static __attribute__((constructor)) void follow_forks(void)
{
	pthread_atfork(NULL, NULL, start_anew);
}

static size_t room_of(unsigned int class)
{
	return class < FINE ? GRAIN * (class + 1)
			    : GRAIN * FINE << (class - FINE + 1);
}

static unsigned int class_of(size_t room)
{
	unsigned int class = 0;

	while (room_of(class) < room)
		class ++;
	return class;
}

/*
 * Zeroes, which take no memory until they are touched. A huge page there would
 * be a region's memory many times over.
 */
static void *map(size_t length)
{
	void *addr = raw_map_memory(length, 0);
	int saved_errno = errno;

	if (addr == MAP_FAILED)
		return NULL;
	syscall(SYS_madvise, addr, length, MADV_NOHUGEPAGE);
	errno = saved_errno; /* kernels without huge pages */
	return addr;
}

/* Locked. What is left of a piece is smaller than what was asked for. */
static struct head *cut(size_t room)
{
	struct head *head;

	if (piece_left < room) {
		char *fresh = map(PIECE);

		if (!fresh)
			return NULL;
		piece = fresh;
		piece_left = PIECE;
	}
	head = (struct head *)(void *)piece;
	piece += room;
	piece_left -= room;
	return head;
}

static struct head *take(size_t room)
{
	unsigned int class = class_of(room);
	struct head *head;

	pthread_mutex_lock(&lock);
	head = unused[class];
	if (head)
		unused[class] = head->next;
	else
		head = cut(room_of(class));
	pthread_mutex_unlock(&lock);
	if (head)
		head->room = room_of(class);
	return head;
}

static struct head *get(size_t length)
{
	struct head *head = NULL;
	size_t room = length + sizeof(*head);

	if (room < length || room > SIZE_MAX - PAGE) {
		errno = ENOMEM;
		return NULL;
	}
	if (room <= LARGEST)
		return take(room);
	room = (room + PAGE - 1) & ~(PAGE - 1);
	head = map(room);
	if (head)
		head->room = room;
	return head;
}

void *heap_get(size_t count, size_t size)
{
	struct head *head = NULL;
	size_t length;

	if (__builtin_mul_overflow(count, size, &length))
		errno = ENOMEM;
	else
		head = get(length);
	if (!head)
		return NULL;
	return head->room > LARGEST ? head + 1 : memset(head + 1, 0, length);
}

void *heap_more(void *old, size_t count, size_t size)
{
	struct head *head = old;
	size_t length, room = head ? head[-1].room - sizeof(*head) : 0;

	if (__builtin_mul_overflow(count, size, &length)) {
		errno = ENOMEM;
		return NULL;
	}
	if (old && length <= room)
		return old;
	head = get(length);
	if (!head)
		return NULL;
	if (old)
		memcpy(head + 1, old, room);
	heap_put(old);
	return head + 1;
}

void heap_put(void *block)
{
	struct head *head = block;
	int saved_errno = errno;
	unsigned int class;

	if (!block)
		return;
	head--;
	if (head->room > LARGEST) {
		raw_unmap(head, head->room);
		errno = saved_errno;
		return;
	}
	class = class_of(head->room);
	pthread_mutex_lock(&lock);
	head->next = unused[class];
	unused[class] = head;
	pthread_mutex_unlock(&lock);
}

#endif

char *heap_text(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = heap_get(size, 1);

	return copy ? memcpy(copy, text, size) : NULL;
}
