/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lines of a page, and numbers that fit into a column: top.h.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "top.h"

void top_page_add(struct top_page *page, enum top_style style,
		  const char *format, ...)
{
	struct top_line *line =
		reallocarray(page->line, page->count + 1, sizeof(*line));
	va_list args;
	int length;

	if (!line) {
		page->failed = true;
		return;
	}
	page->line = line;
	line += page->count;
	line->style = style;
	va_start(args, format);
	length = vasprintf(&line->text, format, args);
	va_end(args);
	if (length < 0)
		page->failed = true;
	else
		page->count++;
}

void top_page_free(struct top_page *page)
{
	for (size_t i = 0; i < page->count; i++)
		free(page->line[i].text);
	free(page->line);
	*page = (struct top_page){0};
}

int top_page_print(const struct top_page *page)
{
	if (page->failed) {
		cli_error("no memory");
		return CLI_USAGE;
	}
	for (size_t i = 0; i < page->count; i++)
		puts(page->line[i].text);
	return CLI_OK;
}

/* The first unit of which there are less than four digits. */
struct top_number top_time(int64_t ns)
{
	static const struct {
		const char *name;
		uint64_t of_next;
	} units[] = {{"us", 1000}, {"ms", 1000}, {"s", 60},
		     {"m", 60},	   {"h", 24},	 {"d", UINT64_MAX}};
	uint64_t value = ns > 0 ? (uint64_t)ns / 1000 : 0;
	struct top_number number;
	size_t unit = 0;

	while (value > 999 && units[unit].of_next != UINT64_MAX)
		value /= units[unit++].of_next;
	snprintf(number.text, sizeof(number.text), "%" PRIu64 "%s",
		 value % 100000, units[unit].name);
	return number;
}

struct top_number top_bytes(double bytes)
{
	static const char units[] = "BKMGTPE";
	struct top_number number;
	size_t unit = 0;

	if (bytes < 0) {
		snprintf(number.text, sizeof(number.text), "-");
		return number;
	}
	/* 999.95 would be printed as 1000.0 */
	while (bytes >= 999.95 && unit < sizeof(units) - 2) {
		bytes /= 1024;
		unit++;
	}
	snprintf(number.text, sizeof(number.text), unit ? "%.1f%c" : "%.0f%c",
		 bytes, units[unit]);
	return number;
}

struct top_number top_rate(double rate)
{
	struct top_number number;

	if (rate < 0)
		snprintf(number.text, sizeof(number.text), "-");
	else
		snprintf(number.text, sizeof(number.text),
			 rate < 1000 ? "%.1f" : "%.0f",
			 rate < 1e6 ? rate : 999999);
	return number;
}
