/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "log.h"
#include "raw.h"
#include "thread_text.h"

#define LINE_SIZE 1200

static const char *const level_names[LOG_LEVELS] = {
	[LOG_OFF] = "off",   [LOG_ERROR] = "error", [LOG_WARN] = "warn",
	[LOG_INFO] = "info", [LOG_DEBUG] = "debug",
};

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

/* Whether descriptor 2 is a place for messages, and of which kind; see log.h.
 */
static bool stderr_is_ours_to_use(mode_t *ret_kind)
{
	struct sockaddr_storage address = {0};
	socklen_t size = sizeof(address);
	struct stat st;
	int flags;

	if (fstat(STDERR_FILENO, &st) < 0)
		return false;
	flags = fcntl(STDERR_FILENO, F_GETFL);
	if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
		return false;
	*ret_kind = st.st_mode & S_IFMT;
	switch (*ret_kind) {
	case S_IFREG:
		return (flags & O_ACCMODE) == O_WRONLY;
	case S_IFIFO:
		return true;
	case S_IFCHR:
		return st.st_rdev == makedev(1, 3) || isatty(STDERR_FILENO);
	case S_IFSOCK:
		return getsockname(STDERR_FILENO, (struct sockaddr *)&address,
				   &size) == 0 &&
		       address.ss_family == AF_UNIX;
	default:
		return false;
	}
}

typedef ssize_t put_fn(const char *line, size_t length);

static ssize_t put(const char *line, size_t length)
{
	return write(STDERR_FILENO, line, length);
}

/* Between the two somebody else can still use up the room. */
static ssize_t put_if_ready(const char *line, size_t length)
{
	struct pollfd to = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (raw_poll(&to, 1, 0) == 1 && to.revents & POLLOUT)
		return put(line, length);
	return 0;
}

/*
 * Only vmsplice(2) can be told not to wait for room in a pipe whose description
 * is the program's. The pipe keeps the page itself, which nobody else has when
 * this returns.
 */
static ssize_t put_into_pipe(const char *line, size_t length)
{
	char *page = raw_map_memory(LINE_SIZE, 0);
	struct iovec all = {page, length};
	int saved_errno;
	ssize_t n;

	if (page == MAP_FAILED)
		return 0;
	memcpy(page, line, length);
	n = vmsplice(STDERR_FILENO, &all, 1, SPLICE_F_NONBLOCK);
	saved_errno = errno;
	raw_unmap(page, LINE_SIZE);
	errno = saved_errno;
	/* in a sandbox, say */
	return n < 0 && (errno == ENOSYS || errno == EPERM)
		       ? put_if_ready(line, length)
		       : n;
}

static ssize_t put_into_socket(const char *line, size_t length)
{
	return send(STDERR_FILENO, line, length, MSG_DONTWAIT);
}

static put_fn *without_waiting(mode_t kind)
{
	switch (kind) {
	case S_IFIFO:
		return put_into_pipe;
	case S_IFSOCK:
		return put_into_socket;
	default:
		return put_if_ready;
	}
}

/*
 * A write to a pipe that nobody reads raises SIGPIPE in this thread, and one
 * beyond the limit on the size of files SIGXFSZ: held back, and taken away
 * again unless the program had one pending of its own.
 */
static void write_line(put_fn *by, const char *line, size_t length)
{
	static const struct timespec no_wait;
	sigset_t raised, old_set, pending;

	sigemptyset(&raised);
	sigaddset(&raised, SIGPIPE);
	sigaddset(&raised, SIGXFSZ);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &raised, &old_set);
	if (by(line, length) < 0 && (errno == EPIPE || errno == EFBIG)) {
		int signal = errno == EPIPE ? SIGPIPE : SIGXFSZ;

		sigemptyset(&raised);
		sigaddset(&raised, signal);
		while (sigismember(&pending, signal) != 1 &&
		       sigtimedwait(&raised, NULL, &no_wait) < 0 &&
		       errno == EINTR)
			;
	}
	pthread_sigmask(SIG_SETMASK, &old_set, NULL);
}

static void write_va(enum log_level level, bool may_wait, const char *format,
		     va_list args)
{
	int saved_errno = errno, used, more;
	char line[LINE_SIZE];
	mode_t kind;

	if (!stderr_is_ours_to_use(&kind)) {
		errno = saved_errno;
		return;
	}
	used = snprintf(line, sizeof(line), "daxmr[%d] %s: ", (int)getpid(),
			level_names[level]);
	more = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format,
			 args);
	if (more > 0)
		used += more;
	if (used > (int)sizeof(line) - 2)
		used = (int)sizeof(line) - 2;
	for (more = 0; more < used; more++)
		if ((unsigned char)line[more] < 0x20 || line[more] == 0x7f)
			line[more] = '?';
	line[used++] = '\n';
	write_line(may_wait ? put : without_waiting(kind), line, (size_t)used);
	errno = saved_errno;
}

void log_write_at(enum log_level limit, enum log_level level,
		  const char *format, ...)
{
	va_list args;

	if (level > limit)
		return;
	va_start(args, format);
	write_va(level, true, format, args);
	va_end(args);
}

void log_write(enum log_level level, const char *format, ...)
{
	va_list args;

	if (level > config_get()->log)
		return;
	va_start(args, format);
	write_va(level, true, format, args);
	va_end(args);
}

void log_try_write(enum log_level level, const char *format, ...)
{
	va_list args;

	if (level > config_get()->log)
		return;
	va_start(args, format);
	write_va(level, false, format, args);
	va_end(args);
}

void log_sentence(enum log_level level, const char *format, ...)
{
	int saved_errno = errno;
	char *sentence = thread_text_write(THREAD_TEXT_LAST);
	va_list args;

	va_start(args, format);
	if (sentence)
		vsnprintf(sentence, THREAD_TEXT_MAX, format, args);
	va_end(args);
	errno = saved_errno;
	log_write(level, "%s", log_last_sentence());
}

const char *log_last_sentence(void)
{
	return thread_text(THREAD_TEXT_LAST);
}

void log_clear_sentence(void)
{
	if (*log_last_sentence())
		*thread_text_write(THREAD_TEXT_LAST) = '\0';
}
