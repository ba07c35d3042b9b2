/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr check: what a registration of a file on a device would do, and why.
 *
 *	check.c         the flow: options, files x devices, exit status
 *	check_file.c    what a file is; its first page, mapped
 *	check_dax.c     why a file is DAX, or why not
 *	check_mount.c   the mount it lies on
 *	check_sample.c  the memory that a trial may touch
 *	check_device.c  what a device is and can do
 *	check_limits.c  locked memory
 *	check_keeper.c  the keeper of leases
 *	check_staged.c  what staging needs
 *	check_answer.c  trial registrations, and the verdict
 *	check_text.c    for people
 *	check_json.c    for programs; its field names are in daxmr-check(1)
 *
 * The verdict is made by the code that the preload decides with (choice.h).
 * Nothing here changes a checked file: no data, no blocks, no times.
 */
#ifndef DAXMR_CLI_CHECK_H
#define DAXMR_CLI_CHECK_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "choice.h"
#include "fate.h"
#include "window/window_test.h"

#define CHECK_PORTS 8

struct check_mount {
	bool is_known;
	unsigned int major; /* of the file system; 0: no block device */
	unsigned int minor;
	char point[PATH_MAX];
	char fs[64];
	char source[256];
	char options[512]; /* of the file system, such as dax=always */
};

enum check_touch {
	CHECK_TOUCH_NONE, /* no trial */
	CHECK_TOUCH_FILE, /* the file's own first page */
	CHECK_TOUCH_COPY, /* a nameless file of the same kind beside it */
};

/* What the trial registers. */
struct check_sample {
	enum check_touch touch;
	void *addr; /* where it isn't the file's own mapping */
	size_t length;
	bool writable;
	char why[320]; /* why it is not the obvious one, else empty */
};

struct check_file {
	const char *path;
	char problem[800]; /* why there is nothing to check, else empty */
	int path_fd;	   /* O_PATH */
	int fd;
	bool writable;
	char read_only_why[160]; /* where it is not */
	uint64_t size;
	uint64_t block_size; /* of the file system */
	struct check_mount mount;
	bool is_dax;
	char dax_why[800];
	void *addr; /* its first page */
	size_t length;
	struct memory memory; /* what lies there */
	struct check_sample sample;
};

struct check_port {
	unsigned int number;
	const char *state;
	const char *link_layer;
	unsigned int mtu;
	bool is_active;
};

struct check_device {
	const char *name;
	char problem[320]; /* why it cannot be used, else empty */
	struct ibv_context *context;
	struct ibv_pd *pd;
	char driver[64];
	char firmware[64];
	unsigned int ports; /* entries of port[] */
	struct check_port port[CHECK_PORTS];
	bool has_active_port;
	struct odp_caps caps;
	struct odp_trust trust; /* where it has ODP */
	bool is_trusted;
	struct window_verdict window; /* on_shrink=error, keys=window */
};

struct check_limits {
	uint64_t memlock_soft; /* UINT64_MAX: unlimited */
	uint64_t memlock_hard;
	bool cap_ipc_lock;
};

struct check_keeper {
	const char *socket;	    /* NULL: the program starts its own */
	char problem[800];	    /* why none is to be had, else empty */
	char shared_fate[FATE_MAX]; /* what would end both, else empty */
};

/* What keeps a file from being staged; each a sentence, or empty. */
struct check_staged {
	int error;	   /* what the program would get, or 0 */
	char lease[800];   /* why none would be granted */
	char threads[400]; /* why only programs with one thread can */
	char limit[800];   /* why not all of it */
};

#define CHECK_NOTES 6

/* One file on one device. */
struct check_answer {
	enum strategy verdict;
	bool works;
	int error; /* what the program would get, 0 where it works */
	char why[2000];
	int kernel; /* the plain trial: ROUTE_KERNEL_NOT_ASKED, 0 or errno */
	int odp;    /* the same with on-demand paging */
	struct check_staged staged; /* where that is the verdict */
	bool is_staged;		    /* the way it would go, if it could */
	unsigned int notes;
	char note[CHECK_NOTES][900];
};

/* check_mount.c: the mount that fd is on. */
void check_mount_find(int fd, struct check_mount *ret);
/* Whether a comma-separated list has this option. */
bool check_mount_has(const struct check_mount *mount, const char *option);

/* check_file.c; a file with a problem is one too, and to be closed. */
void check_file_open(struct check_file *file, const char *path);
void check_file_close(struct check_file *file);

/* check_dax.c: fills in is_dax and dax_why. */
struct statx;
void check_dax_explain(struct check_file *file, const struct statx *stx);

/* check_sample.c: fills in file->sample. */
void check_sample_make(struct check_file *file);
void check_sample_free(struct check_file *file);
/* Whether this kernel registers any read-only shared mapping on the device. */
bool check_sample_read_only_works(const struct real_verbs *real,
				  struct ibv_pd *pd);

/* check_device.c; one with a problem is one too, and to be closed. */
void check_device_open(struct check_device *device,
		       const struct real_verbs *real, struct ibv_device *ibv);
void check_device_close(struct check_device *device,
			const struct real_verbs *real);

void check_limits_get(struct check_limits *ret);

/* Of a program that runs where this one does. */
void check_keeper_get(struct check_keeper *ret);

/* check_staged.c */
void check_staged_find(const struct check_file *file,
		       const struct check_keeper *keeper,
		       struct check_staged *ret);

/* check_answer.c; neither the file nor the device has a problem. */
void check_answer_find(const struct check_file *file,
		       const struct check_device *device,
		       const struct check_limits *limits,
		       const struct check_keeper *keeper,
		       const struct real_verbs *real, enum strategy wish,
		       struct check_answer *ret);

/* All that was found out, for the two that print it. */
struct check_report {
	enum strategy wish;
	struct check_limits limits;
	struct check_keeper keeper;
	const char *problem; /* of the whole, else NULL */
	size_t files;
	struct check_file *file;
	size_t devices;
	struct check_device *device;
	struct check_answer *answer; /* [file * devices + device] */
	int exit_status;
};

void check_text_print(const struct check_report *report);
/* 0 or -ENOMEM */
int check_json_print(const struct check_report *report);

#endif
