/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log: one line per event on the program's standard error, and the sentence
 * that daxmr_errormsg() returns.
 *
 * The log is a guest's: one write() per line, errno kept, no signal, and
 * nothing at all where descriptor 2 does not look like a place for messages. A
 * program that closed its standard error may have anything else there by now. A
 * log is a terminal, a pipe, a Unix socket, /dev/null, or a regular file that
 * is open for writing only.
 */
#ifndef DAXMR_LOG_H
#define DAXMR_LOG_H

enum log_level {
	LOG_OFF,
	LOG_ERROR,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG,
	LOG_LEVELS
};

const char *log_level_name(enum log_level level);

/* At most as much as config_get()->log lets through. */
void log_write(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * The same by a thread that others wait for, so that must not wait for who
 * reads the log: a line that there is no room for is left out.
 */
void log_try_write(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* log_write() before the configuration is there: limit is what it would say. */
void log_write_at(enum log_level limit, enum log_level level,
		  const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Sets this thread's sentence and logs it at the level. */
void log_sentence(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* This thread's sentence: never NULL, empty where nothing has failed. */
const char *log_last_sentence(void);
void log_clear_sentence(void);

#endif
