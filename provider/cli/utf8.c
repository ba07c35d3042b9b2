/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

/* How long the UTF-8 character is that text starts with; 0: it is none. */
static size_t utf8_length(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	uint32_t value, least;
	size_t length, i;

	if (at[0] < 0x80)
		return 1;
	if (at[0] >= 0xf0 && at[0] < 0xf8)
		length = 4, value = at[0] & 0x07, least = 0x10000;
	else if (at[0] >= 0xe0 && at[0] < 0xf0)
		length = 3, value = at[0] & 0x0f, least = 0x800;
	else if (at[0] >= 0xc0 && at[0] < 0xe0)
		length = 2, value = at[0] & 0x1f, least = 0x80;
	else
		return 0;
	for (i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0; /* the end of the text too */
		value = value << 6 | (at[i] & 0x3f);
	}
	if (value < least || value > 0x10ffff ||
	    (value >= 0xd800 && value < 0xe000))
		return 0;
	return length;
}

char *utf8_copy(const char *text)
{
	static const char replacement[] = "\xef\xbf\xbd";
	char *copy = malloc(3 * strlen(text) + 1), *to = copy;
	size_t length;

	if (!copy)
		return NULL;
	while (*text) {
		length = utf8_length(text);
		if (length)
			to = mempcpy(to, text, length);
		else
			to = mempcpy(to, replacement, strlen(replacement));
		text += length ? length : 1;
	}
	*to = '\0';
	return copy;
}

char *utf8_clean(const char *text)
{
	unsigned char *copy = (unsigned char *)utf8_copy(text), *to = copy;

	for (const unsigned char *at = copy; at && *at; at++) {
		/* two bytes for one control character */
		bool is_second = at[0] == 0xc2 && at[1] < 0xa0;

		at += is_second;
		*to++ = is_second || at[0] < ' ' || at[0] == 0x7f ? '?' : at[0];
	}
	if (to)
		*to = '\0';
	return (char *)copy;
}
