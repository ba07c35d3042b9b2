/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DAXMR_CLI_UTF8_H
#define DAXMR_CLI_UTF8_H

/*
 * A file's name is bytes, JSON and others are Unicode: a byte that is not UTF-8
 * becomes the replacement character. To be freed; NULL: no memory.
 */
char *utf8_copy(const char *text);

/* The same for a terminal: what it would take for a command is a '?'. */
char *utf8_clean(const char *text);

#endif
