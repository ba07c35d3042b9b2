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
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "log.h"
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

/* Whether descriptor 2 is a place for messages; see log.h. */
static bool stderr_is_ours_to_use(void)
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
	switch (st.st_mode & S_IFMT) {
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

/*
 * A write to a pipe that nobody reads raises SIGPIPE in this thread: held back,
 * and taken away again unless the program had one pending of its own.
 */
static void write_line(const char *line, size_t length)
{
	static const struct timespec no_wait;
	sigset_t pipe_set, old_set, pending;
	bool was_pending;

	sigemptyset(&pipe_set);
	sigaddset(&pipe_set, SIGPIPE);
	sigpending(&pending);
	was_pending = sigismember(&pending, SIGPIPE) == 1;
	pthread_sigmask(SIG_BLOCK, &pipe_set, &old_set);
	if (write(STDERR_FILENO, line, length) < 0 && errno == EPIPE &&
	    !was_pending)
		while (sigtimedwait(&pipe_set, NULL, &no_wait) < 0 &&
		       errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &old_set, NULL);
}

static void write_va(enum log_level level, const char *format, va_list args)
{
	int saved_errno = errno, used, more;
	char line[LINE_SIZE];

	if (!stderr_is_ours_to_use()) {
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
	write_line(line, (size_t)used);
	errno = saved_errno;
}

void log_write_at(enum log_level limit, enum log_level level,
		  const char *format, ...)
{
	va_list args;

	if (level > limit)
		return;
	va_start(args, format);
	write_va(level, format, args);
	va_end(args);
}

void log_write(enum log_level level, const char *format, ...)
{
	va_list args;

	if (level > config_get()->log)
		return;
	va_start(args, format);
	write_va(level, format, args);
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
