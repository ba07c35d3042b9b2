/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "raw.h"
#include "thread_text.h"

#define SIZE 4096UL

_Static_assert(THREAD_TEXTS *THREAD_TEXT_MAX <= SIZE, "one page has them");

/* as reason.c */
static _Thread_local char *page __attribute__((tls_model("initial-exec")));
static pthread_key_t key;

static void unmap(void *of)
{
	page = NULL;
	raw_unmap(of, SIZE);
}

static void make_key(void)
{
	pthread_key_create(&key, unmap);
}

char *thread_text_write(enum thread_text which)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int saved_errno = errno;
	char *new;

	if (!page) {
		pthread_once(&once, make_key);
		new = raw_map_memory(SIZE, 0);
		if (new == MAP_FAILED) {
			errno = saved_errno;
			return NULL;
		}
		page = new;
		pthread_setspecific(key, new);
		errno = saved_errno;
	}
	return page + which * THREAD_TEXT_MAX;
}

const char *thread_text(enum thread_text which)
{
	return page ? page + which * THREAD_TEXT_MAX : "";
}
