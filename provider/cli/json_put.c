/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "json_put.h"
#include "utf8.h"

/* One for the whole document. */
static bool failed;

struct json_object *json_made(struct json_object *object)
{
	if (!object)
		failed = true;
	return object;
}

void json_put(struct json_object *object, const char *name,
	      struct json_object *value)
{
	if (json_object_object_add(object, name, value) != 0) {
		json_object_put(value);
		failed = true;
	}
}

struct json_object *json_text(const char *text)
{
	char *copy = utf8_copy(text);
	struct json_object *object =
		json_made(copy ? json_object_new_string(copy) : NULL);

	free(copy);
	return object;
}

void json_put_text(struct json_object *object, const char *name,
		   const char *text)
{
	json_put(object, name, text ? json_text(text) : NULL);
}

void json_put_bool(struct json_object *object, const char *name, bool value)
{
	json_put(object, name, json_made(json_object_new_boolean(value)));
}

void json_put_number(struct json_object *object, const char *name,
		     uint64_t value)
{
	json_put(object, name, json_made(json_object_new_uint64(value)));
}

void json_append(struct json_object *array, struct json_object *value)
{
	if (json_object_array_add(array, value) != 0) {
		json_object_put(value);
		failed = true;
	}
}

int json_print(struct json_object *document)
{
	const char *text = NULL;

	if (!failed)
		text = json_object_to_json_string_ext(
			document, JSON_C_TO_STRING_PRETTY |
					  JSON_C_TO_STRING_SPACED |
					  JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		puts(text);
	json_object_put(document);
	return text ? 0 : -ENOMEM;
}
