/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One sentence per thread: reason.h.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "reason.h"
#include "thread_text.h"

_Static_assert(REASON_MAX == THREAD_TEXT_MAX, "as thread_text.h has it");

/* initial-exec: what else says where it lies is malloc()'s (heap.h) */
static _Thread_local unsigned int last_kind
	__attribute__((tls_model("initial-exec")));

static enum reason_kind kind_of(int error)
{
	switch (error) {
	case -ENOMEM:
		return REASON_MEMORY;
	case -EMFILE:
	case -ENFILE:
		return REASON_DESCRIPTORS;
	case -ENOSPC:
	case -EDQUOT:
		return REASON_NO_SPACE;
	case -ETIMEDOUT:
		return REASON_TIMEOUT;
	default:
		return REASON_OTHER;
	}
}

static void set(unsigned int kind, const char *format, va_list ap)
{
	int saved_errno = errno;
	char *sentence = thread_text_write(THREAD_TEXT_REASON);

	if (sentence)
		vsnprintf(sentence, REASON_MAX, format, ap);
	last_kind = kind;
	errno = saved_errno;
}

int reason_set(int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	set(kind_of(error), format, ap);
	va_end(ap);
	return error;
}

int reason_set_kind(unsigned int kind, int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	set(kind, format, ap);
	va_end(ap);
	return error;
}

void reason_mark(unsigned int kind)
{
	last_kind = kind;
}

unsigned int reason_kind(void)
{
	return last_kind;
}

const char *reason_text(void)
{
	return thread_text(THREAD_TEXT_REASON);
}

const char *reason_file(int fd, char *text, size_t size)
{
	int saved_errno = errno;
	char link[64], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/thread-self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	if (n <= 0)
		snprintf(text, size, "descriptor %d", fd);
	else if ((size_t)n < size)
		memcpy(text, path, (size_t)n + 1);
	else
		snprintf(text, size, "...%s", path + n - (size - 4));
	errno = saved_errno;
	return text;
}

const char *reason_memory(int error)
{
	switch (error) {
	case -EMFILE:
		return "; raise RLIMIT_NOFILE, each takes a descriptor";
	case -EFBIG:
		return "; raise RLIMIT_FSIZE (ulimit -f), which counts for "
		       "memory that is shared, too";
	default:
		return "";
	}
}
