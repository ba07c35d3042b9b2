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

#include "check.h"
#include "json_put.h"

/* The same, empty for null. */
static void put_full_text(struct json_object *object, const char *name,
			  const char *text)
{
	json_put_text(object, name, *text ? text : NULL);
}

/* An errno as its name; null for none. */
static void put_error(struct json_object *object, const char *name, int error)
{
	const char *text = error > 0 ? strerrorname_np(error) : NULL;

	json_put_text(object, name, text || error <= 0 ? text : "unknown");
}

/* "send recv" as an array of words */
static struct json_object *words(const char *text)
{
	struct json_object *array = json_made(json_object_new_array());
	size_t length;

	if (strcmp(text, "none") == 0)
		return array;
	for (; *text; text += length + strspn(text + length, " ")) {
		length = strcspn(text, " ");
		json_append(array, json_made(json_object_new_string_len(
					   text, (int)length)));
	}
	return array;
}

static struct json_object *limits_object(const struct check_limits *limits)
{
	struct json_object *object = json_made(json_object_new_object());

	if (limits->memlock_soft == UINT64_MAX)
		json_put(object, "memlock_soft", NULL);
	else
		json_put_number(object, "memlock_soft", limits->memlock_soft);
	if (limits->memlock_hard == UINT64_MAX)
		json_put(object, "memlock_hard", NULL);
	else
		json_put_number(object, "memlock_hard", limits->memlock_hard);
	json_put_bool(object, "cap_ipc_lock", limits->cap_ipc_lock);
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
	struct json_object *object = json_made(json_object_new_object());
	char names[160];
	size_t i;

	json_put_bool(object, "supported", caps->has_odp);
	json_put_bool(object, "implicit", caps->has_implicit);
	for (i = 0; i < 4; i++)
		json_put(object, transports[i].name,
			 words(odp_caps_names(transports[i].bits, names,
					      sizeof(names))));
	return object;
}

static struct json_object *trust_object(const struct check_device *device)
{
	struct json_object *object = json_made(json_object_new_object());

	json_put_bool(object, "trusted", device->is_trusted);
	json_put_text(object, "verdict",
		      odp_verdict_name(device->trust.verdict));
	json_put_text(object, "seen", device->trust.seen);
	json_put_number(object, "port", device->trust.port);
	json_put_number(object, "transfers", device->trust.cases);
	json_put_bool(object, "remembered", device->trust.from_cache);
	return object;
}

static struct json_object *window_object(const struct check_device *device)
{
	struct json_object *object = json_made(json_object_new_object());

	json_put_bool(object, "right", device->window.is_right);
	json_put_bool(object, "atomics", device->window.has_atomics);
	json_put_text(object, "seen", device->window.seen);
	return object;
}

static struct json_object *device_object(const struct check_device *device)
{
	struct json_object *object = json_made(json_object_new_object());
	struct json_object *ports = json_made(json_object_new_array()), *port;
	unsigned int i;

	json_put_text(object, "name", device->name);
	put_full_text(object, "problem", device->problem);
	json_put_text(object, "driver", device->driver);
	put_full_text(object, "firmware", device->firmware);
	for (i = 0; i < device->ports; i++) {
		port = json_made(json_object_new_object());
		json_put_number(port, "port", device->port[i].number);
		json_put_text(port, "state", device->port[i].state);
		json_put_text(port, "link_layer", device->port[i].link_layer);
		json_put_number(port, "mtu", device->port[i].mtu);
		json_append(ports, port);
	}
	json_put(object, "ports", ports);
	json_put(object, "odp", odp_object(&device->caps));
	json_put(object, "trust",
		 device->caps.has_odp ? trust_object(device) : NULL);
	json_put(object, "windows", device->pd ? window_object(device) : NULL);
	return object;
}

static struct json_object *trial_object(int answer, const char *on,
					bool writable, const char *why)
{
	struct json_object *object = json_made(json_object_new_object());

	if (answer == ROUTE_KERNEL_NOT_ASKED)
		json_put(object, "registered", NULL);
	else
		json_put_bool(object, "registered", answer == 0);
	put_error(object, "errno", answer);
	json_put_text(object, "on", on);
	json_put_bool(object, "writable", writable);
	put_full_text(object, "why", why);
	return object;
}

static struct json_object *staged_object(const struct check_staged *staged)
{
	struct json_object *object = json_made(json_object_new_object());

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
	struct json_object *object = json_made(json_object_new_object());
	struct json_object *notes = json_made(json_object_new_array());
	unsigned int i;

	json_put_text(object, "device", device->name);
	json_put_text(object, "verdict", strategy_name(answer->verdict));
	json_put_bool(object, "works", answer->works);
	put_error(object, "errno", answer->error);
	json_put_text(object, "why", answer->why);
	for (i = 0; i < answer->notes; i++)
		json_append(notes, json_text(answer->note[i]));
	json_put(object, "notes", notes);
	json_put(object, "kernel",
		 trial_object(answer->kernel, touched[file->sample.touch],
			      file->sample.writable, file->sample.why));
	json_put(object, "on_demand",
		 answer->odp == ROUTE_KERNEL_NOT_ASKED
			 ? NULL
			 : trial_object(answer->odp, "file", file->writable,
					""));
	json_put(object, "staged",
		 answer->is_staged ? staged_object(&answer->staged) : NULL);
	return object;
}

static struct json_object *keeper_object(const struct check_keeper *keeper)
{
	struct json_object *object = json_made(json_object_new_object());

	json_put_text(object, "socket", keeper->socket);
	put_full_text(object, "problem", keeper->problem);
	put_full_text(object, "shared_fate", keeper->shared_fate);
	return object;
}

static struct json_object *file_object(const struct check_report *report,
				       size_t f)
{
	const struct check_file *file = &report->file[f];
	const struct check_mount *mount = &file->mount;
	struct json_object *object = json_made(json_object_new_object());
	struct json_object *answers = json_made(json_object_new_array());
	char kinds[320];
	size_t d;

	json_put_text(object, "path", file->path);
	put_full_text(object, "problem", file->problem);
	memory_kinds_names(file->memory.kinds, kinds, sizeof(kinds));
	put_full_text(object, "kind", kinds);
	put_full_text(object, "file_system", mount->fs);
	put_full_text(object, "mount_point", mount->point);
	put_full_text(object, "mount_source", mount->source);
	put_full_text(object, "mount_options", mount->options);
	json_put_number(object, "size", file->size);
	json_put_bool(object, "writable", file->writable);
	json_put_bool(object, "dax", file->is_dax);
	put_full_text(object, "dax_why", file->dax_why);
	for (d = 0; !file->problem[0] && d < report->devices; d++)
		if (!report->device[d].problem[0])
			json_append(
				answers,
				answer_object(
					file, &report->device[d],
					&report->answer[f * report->devices +
							d]));
	json_put(object, "answers", answers);
	return object;
}

int check_json_print(const struct check_report *report)
{
	struct json_object *document = json_made(json_object_new_object());
	struct json_object *devices = json_made(json_object_new_array());
	struct json_object *files = json_made(json_object_new_array());
	size_t i;

	json_put_text(document, "strategy", strategy_name(report->wish));
	json_put_text(document, "problem", report->problem);
	json_put(document, "limits", limits_object(&report->limits));
	json_put(document, "keeper", keeper_object(&report->keeper));
	for (i = 0; i < report->devices; i++)
		json_append(devices, device_object(&report->device[i]));
	json_put(document, "devices", devices);
	for (i = 0; i < report->files; i++)
		json_append(files, file_object(report, i));
	json_put(document, "files", files);
	json_put_number(document, "exit_status", (uint64_t)report->exit_status);
	return json_print(document);
}
