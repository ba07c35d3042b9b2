/* SPDX-License-Identifier: BSD-2-Clause */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "keeper_proto.h"
#include "lease_log.h"
#include "lease_news.h"
#include "leases.h"
#include "log.h"
#include "own.h"
#include "probe.h"
#include "raw.h"
#include "reason.h"
#include "shadows.h"
#include "stats.h"

/* Only while the engine is started; no other lock is taken under it. */
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct lease_engine *) known;

/* The engine's thread is the parent's; so are the files. */
static void child_has_none(void)
{
	atomic_store(&known, NULL);
	atomic_store(&own_files, 0);
	atomic_store(&shadows_count, 0);
	atomic_store(&shadows_bytes, 0);
	lease_news_child();
	pthread_mutex_init(&starting, NULL);
}

static void follow_forks(void)
{
	pthread_atfork(NULL, NULL, child_has_none);
}

static bool look_in(const char *folder, const char *below, char path[PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/%s/" KEEPER_NAME, folder, below);

	return n < PATH_MAX && access(path, X_OK) == 0;
}

/* As the preload is found (cli/run_preload.c), from this library's folder. */
static int find_keeper(char path[PATH_MAX])
{
	char *folder = NULL;
	Dl_info info;
	bool found;

	if (dladdr(&known, &info) && info.dli_fname)
		folder = realpath(info.dli_fname, NULL);
	if (folder)
		*strrchr(folder, '/') = '\0';
	found = folder && (look_in(folder, ".", path) ||
			   look_in(folder, KEEPER_RELATIVE_DIR, path));
	if (!found)
		found = look_in("", KEEPER_DIR, path);
	if (!found)
		reason_set_kind(
			REASON_KEEPER, -ENOENT,
			KEEPER_NAME " is missing: neither in %s nor in %s "
				    "nor where it lies beside an installed "
				    "library; build or install it (on Debian "
				    "the package daxmr)",
			folder ? folder : "the library's folder", KEEPER_DIR);
	free(folder);
	return found ? 0 : -ENOENT;
}

/* The log last: its reader may be slow. */
static void changed(void *arg, struct lease *lease,
		    const struct recall_report *report, uint64_t missed)
{
	(void)arg;
	probe_lease_changed(lease, report);
	lease_news_changed(lease, report, missed);
	stats_lease_changed(lease, report, missed);
	lease_log_changed(lease, report, missed);
}

static void looked(void *arg, struct lease *lease)
{
	(void)arg;
	stats_lease_looked(lease);
}

static void gone(void *arg, struct lease *lease)
{
	(void)arg;
	stats_lease_gone(lease);
}

static void asked(void *arg, struct lease *lease, int64_t deadline_ns)
{
	(void)arg;
	lease_news_asked(lease, deadline_ns);
}

static void keeper_died(void *arg, int error)
{
	(void)arg;
	lease_log_keeper_died(error);
}

static void shared_fate(void *arg, const char *text)
{
	(void)arg;
	lease_log_shared_fate(text);
}

struct lease_engine *leases_engine(void)
{
	return atomic_load(&known);
}

static bool is_engine_thread(const char *tid)
{
	char path[64], name[32] = "";
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%.20s/comm", tid);
	fd = raw_open(AT_FDCWD, path, O_RDONLY);
	if (fd < 0)
		return false;
	n = raw_read(fd, name, sizeof(name) - 1);
	raw_close(fd);
	return n > 0 && strcmp(name, LEASE_THREAD_NAME "\n") == 0;
}

bool leases_have_another(void)
{
	DIR *tasks;
	struct dirent *task;
	bool is_there = false;

	if (leases_engine())
		return false;
	tasks = opendir("/proc/self/task");
	while (tasks && !is_there && (task = readdir(tasks)))
		is_there = is_engine_thread(task->d_name);
	if (tasks)
		closedir(tasks);
	return is_there;
}

static int check_alone(void)
{
	if (!leases_have_another())
		return 0;
	return reason_set(-EBUSY,
			  "another copy of libdaxmr is at work in this process "
			  "and knows nothing of this one: see to it that all "
			  "of the program uses one (/proc/%d/maps names them)",
			  (int)getpid());
}

static int start(struct lease_engine **ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct lease_config config = {
		.observer =
			{
				.changed = changed,
				.asked = asked,
				.looked = looked,
				.gone = gone,
				.keeper_died = keeper_died,
				.shared_fate = shared_fate,
			},
	};
	char path[PATH_MAX] = "";
	int r = 0;

	pthread_once(&once, follow_forks);
	config.terms = (struct lease_terms){
		.flush_ms = config_get()->flush_ms,
		.flush_cpu = config_get()->flush_cpu,
		.on_conflict = config_get()->on_conflict,
		.on_shrink = config_get()->on_shrink,
	};
	config.uffd = config_get()->uffd;
	config.keeper_socket = config_get()->keeper;
	r = check_alone();
	if (!r && !config.keeper_socket)
		r = find_keeper(path);
	config.keeper_path = path;
	return r ? r : lease_engine_start(&config, ret);
}

int leases_start(struct lease_engine **ret)
{
	struct lease_engine *engine;
	int saved_errno = errno, r = 0;

	pthread_mutex_lock(&starting);
	engine = atomic_load(&known);
	if (!engine)
		r = start(&engine);
	if (!r)
		atomic_store(&known, engine);
	pthread_mutex_unlock(&starting);
	errno = saved_errno;
	if (!r)
		*ret = engine;
	return r;
}

int leases_acquire(const struct lease_want *want, struct lease **ret)
{
	struct lease_engine *engine;
	int r = leases_start(&engine);

	if (!r)
		r = lease_acquire(engine, want, ret);
	if (r)
		log_sentence(LOG_WARN, "%s", reason_text());
	return r;
}

int leases_release(struct lease *lease, uint64_t offset, uint64_t length,
		   int64_t deadline_ns)
{
	int r = lease_release(lease, offset, length, deadline_ns);

	if (r)
		log_sentence(LOG_ERROR, "%s", reason_text());
	return r;
}
