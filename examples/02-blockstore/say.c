/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "say.h"

int say(int error, const char *format, ...)
{
	const char *meaning = error ? strerror(-error) : "";
	va_list args;

	flockfile(stderr);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "%s%s\n", error ? ": " : "", meaning);
	funlockfile(stderr);
	return error;
}

int read_size(const char *option, const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	unsigned long long number;
	const char *unit;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	unit = *end ? strchr(units, *end) : NULL;
	if (unit && !end[1]) {
		int shift = 10 * (int)(unit - units + 1);

		if (number <= UINT64_MAX >> shift) {
			*ret = (uint64_t)number << shift;
			return 0;
		}
	} else if (!errno && end != text && !*end && *text != '-') {
		*ret = number;
		return 0;
	}
	return say(-EINVAL, "%s %s: a number is wanted, as 4096 or 16M", option,
		   text);
}

int read_address(const char *text, char *host, char *port)
{
	const char *colon = strrchr(text, ':');

	if (!colon || colon == text || !colon[1] || colon - text > 255 ||
	    strlen(colon + 1) > 7)
		return say(-EINVAL,
			   "%s: an address and a port are wanted, as "
			   "10.0.0.1:7471",
			   text);
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	memcpy(port, colon + 1, strlen(colon + 1) + 1);
	return 0;
}
