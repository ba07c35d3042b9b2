/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A JSON document from json-c, of which nobody has to look after each node: one
 * that could not be made, or hung in, makes the whole document invalid.
 */
#ifndef DAXMR_CLI_JSON_PUT_H
#define DAXMR_CLI_JSON_PUT_H

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

/* value NULL: null. The object has it from now on. */
void json_put(struct json_object *object, const char *name,
	      struct json_object *value);
/* NULL: null. What is not UTF-8 is replaced (utf8.h). */
void json_put_text(struct json_object *object, const char *name,
		   const char *text);
void json_put_bool(struct json_object *object, const char *name, bool value);
void json_put_number(struct json_object *object, const char *name,
		     uint64_t value);
void json_append(struct json_object *array, struct json_object *value);

struct json_object *json_text(const char *text);
/* What json-c has made; null is a valid node there. */
struct json_object *json_made(struct json_object *object);

/* On standard output; the document is gone. 0, or -ENOMEM. */
int json_print(struct json_object *document);

#endif
