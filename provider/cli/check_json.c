/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The report for programs. Field names are a promise: they are listed in
 * daxmr-check(1), new ones may come, none changes its meaning. What does not
 * apply or is not known is null, never left out.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "check.h"

/*
 * One flag for the whole document: any node that could not be made, or hung in,
 * makes it invalid, and null is a valid node in json-c.
 */
static bool failed;

static void put(struct json_object *object, const char *name,
		struct json_object *value)
{
	if (json_object_object_add(object, name, value) != 0) {
		json_object_put(value);
		failed = true;
	}
}

static struct json_object *made(struct json_object *object)
{
	if (!object)
		failed = true;
	return object;
}

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

/*
 * A file's name is bytes, JSON is Unicode: a byte that is not UTF-8 becomes the
 * replacement character.
 */
static struct json_object *text_object(const char *text)
{
	static const char replacement[] = "\xef\xbf\xbd";
	struct json_object *object;
	size_t length;
	char *copy = malloc(3 * strlen(text) + 1), *to = copy;

	if (!copy)
		return made(NULL);
	while (*text) {
		length = utf8_length(text);
		if (length)
			to = mempcpy(to, text, length);
		else
			to = mempcpy(to, replacement, strlen(replacement));
		text += length ? length : 1;
	}
	*to = '\0';
	object = made(json_object_new_string(copy));
	free(copy);
	return object;
}

static void put_text(struct json_object *object, const char *name,
		     const char *text)
{
	put(object, name, text ? text_object(text) : NULL);
}

/* The same, empty for null. */
static void put_full_text(struct json_object *object, const char *name,
			  const char *text)
{
	put_text(object, name, *text ? text : NULL);
}

static void put_bool(struct json_object *object, const char *name, bool value)
{
	put(object, name, made(json_object_new_boolean(value)));
}

static void put_number(struct json_object *object, const char *name,
		       uint64_t value)
{
	put(object, name, made(json_object_new_uint64(value)));
}

/* An errno as its name; null for none. */
static void put_error(struct json_object *object, const char *name, int error)
{
	const char *text = error > 0 ? strerrorname_np(error) : NULL;

	put_text(object, name, text || error <= 0 ? text : "unknown");
}

static void append(struct json_object *array, struct json_object *value)
{
	if (json_object_array_add(array, value) != 0) {
		json_object_put(value);
		failed = true;
	}
}

/* "send recv" as an array of words */
static struct json_object *words(const char *text)
{
	struct json_object *array = made(json_object_new_array());
	size_t length;

	if (strcmp(text, "none") == 0)
		return array;
	for (; *text; text += length + strspn(text + length, " ")) {
		length = strcspn(text, " ");
		append(array,
		       made(json_object_new_string_len(text, (int)length)));
	}
	return array;
}

static struct json_object *limits_object(const struct check_limits *limits)
{
	struct json_object *object = made(json_object_new_object());

	if (limits->memlock_soft == UINT64_MAX)
		put(object, "memlock_soft", NULL);
	else
		put_number(object, "memlock_soft", limits->memlock_soft);
	if (limits->memlock_hard == UINT64_MAX)
		put(object, "memlock_hard", NULL);
	else
		put_number(object, "memlock_hard", limits->memlock_hard);
	put_bool(object, "cap_ipc_lock", limits->cap_ipc_lock);
	return object;
}

static struct json_object *odp_object(const struct odp_caps *caps)
{
	const struct {
		const char *name;
		uint32_t bits;
	} transports[] = {
		{"rc", caps->rc},
		{"uc", caps->uc},
		{"ud", caps->ud},
		{"xrc", caps->xrc},
	};
	struct json_object *object = made(json_object_new_object());
	char names[160];
	size_t i;

	put_bool(object, "supported", caps->has_odp);
	put_bool(object, "implicit", caps->has_implicit);
	for (i = 0; i < 4; i++)
		put(object, transports[i].name,
		    words(odp_caps_names(transports[i].bits, names,
					 sizeof(names))));
	return object;
}

static struct json_object *trust_object(const struct check_device *device)
{
	struct json_object *object = made(json_object_new_object());

	put_bool(object, "trusted", device->is_trusted);
	put_text(object, "verdict", odp_verdict_name(device->trust.verdict));
	put_text(object, "seen", device->trust.seen);
	put_number(object, "port", device->trust.port);
	put_number(object, "transfers", device->trust.cases);
	put_bool(object, "remembered", device->trust.from_cache);
	return object;
}

static struct json_object *device_object(const struct check_device *device)
{
	struct json_object *object = made(json_object_new_object());
	struct json_object *ports = made(json_object_new_array()), *port;
	unsigned int i;

	put_text(object, "name", device->name);
	put_full_text(object, "problem", device->problem);
	put_text(object, "driver", device->driver);
	put_full_text(object, "firmware", device->firmware);
	for (i = 0; i < device->ports; i++) {
		port = made(json_object_new_object());
		put_number(port, "port", device->port[i].number);
		put_text(port, "state", device->port[i].state);
		put_text(port, "link_layer", device->port[i].link_layer);
		put_number(port, "mtu", device->port[i].mtu);
		append(ports, port);
	}
	put(object, "ports", ports);
	put(object, "odp", odp_object(&device->caps));
	put(object, "trust",
	    device->caps.has_odp ? trust_object(device) : NULL);
	return object;
}

static struct json_object *trial_object(int answer, const char *on,
					bool writable, const char *why)
{
	struct json_object *object = made(json_object_new_object());

	if (answer == ROUTE_KERNEL_NOT_ASKED)
		put(object, "registered", NULL);
	else
		put_bool(object, "registered", answer == 0);
	put_error(object, "errno", answer);
	put_text(object, "on", on);
	put_bool(object, "writable", writable);
	put_full_text(object, "why", why);
	return object;
}

static struct json_object *staged_object(const struct check_staged *staged)
{
	struct json_object *object = made(json_object_new_object());

	put_full_text(object, "lease", staged->lease);
	put_full_text(object, "threads", staged->threads);
	put_full_text(object, "limit", staged->limit);
	return object;
}

static struct json_object *answer_object(const struct check_file *file,
					 const struct check_device *device,
					 const struct check_answer *answer)
{
	static const char *const touched[] = {
		[CHECK_TOUCH_NONE] = "nothing",
		[CHECK_TOUCH_FILE] = "file",
		[CHECK_TOUCH_COPY] = "copy",
	};
	struct json_object *object = made(json_object_new_object());
	struct json_object *notes = made(json_object_new_array());
	unsigned int i;

	put_text(object, "device", device->name);
	put_text(object, "verdict", strategy_name(answer->verdict));
	put_bool(object, "works", answer->works);
	put_error(object, "errno", answer->error);
	put_text(object, "why", answer->why);
	for (i = 0; i < answer->notes; i++)
		append(notes, text_object(answer->note[i]));
	put(object, "notes", notes);
	put(object, "kernel",
	    trial_object(answer->kernel, touched[file->sample.touch],
			 file->sample.writable, file->sample.why));
	put(object, "on_demand",
	    answer->odp == ROUTE_KERNEL_NOT_ASKED
		    ? NULL
		    : trial_object(answer->odp, "file", file->writable, ""));
	put(object, "staged",
	    answer->is_staged ? staged_object(&answer->staged) : NULL);
	return object;
}

static struct json_object *keeper_object(const struct check_keeper *keeper)
{
	struct json_object *object = made(json_object_new_object());

	put_text(object, "socket", keeper->socket);
	put_full_text(object, "problem", keeper->problem);
	put_full_text(object, "shared_fate", keeper->shared_fate);
	return object;
}

static struct json_object *file_object(const struct check_report *report,
				       size_t f)
{
	const struct check_file *file = &report->file[f];
	const struct check_mount *mount = &file->mount;
	struct json_object *object = made(json_object_new_object());
	struct json_object *answers = made(json_object_new_array());
	char kinds[320];
	size_t d;

	put_text(object, "path", file->path);
	put_full_text(object, "problem", file->problem);
	memory_kinds_names(file->memory.kinds, kinds, sizeof(kinds));
	put_full_text(object, "kind", kinds);
	put_full_text(object, "file_system", mount->fs);
	put_full_text(object, "mount_point", mount->point);
	put_full_text(object, "mount_source", mount->source);
	put_full_text(object, "mount_options", mount->options);
	put_number(object, "size", file->size);
	put_bool(object, "writable", file->writable);
	put_bool(object, "dax", file->is_dax);
	put_full_text(object, "dax_why", file->dax_why);
	for (d = 0; !file->problem[0] && d < report->devices; d++)
		if (!report->device[d].problem[0])
			append(answers,
			       answer_object(
				       file, &report->device[d],
				       &report->answer[f * report->devices +
						       d]));
	put(object, "answers", answers);
	return object;
}

int check_json_print(const struct check_report *report)
{
	struct json_object *document = made(json_object_new_object());
	struct json_object *devices = made(json_object_new_array());
	struct json_object *files = made(json_object_new_array());
	const char *text = NULL;
	size_t i;

	put_text(document, "strategy", strategy_name(report->wish));
	put_text(document, "problem", report->problem);
	put(document, "limits", limits_object(&report->limits));
	put(document, "keeper", keeper_object(&report->keeper));
	for (i = 0; i < report->devices; i++)
		append(devices, device_object(&report->device[i]));
	put(document, "devices", devices);
	for (i = 0; i < report->files; i++)
		append(files, file_object(report, i));
	put(document, "files", files);
	put_number(document, "exit_status", (uint64_t)report->exit_status);
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
