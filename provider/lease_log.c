/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens to leases, in the log: lease_log.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config.h"
#include "keeper_proto.h"
#include "lease_log.h"
#include "log.h"
#include "raw.h"
#include "reason.h"

/* Every cause: the compiler warns of one that is missing. */
static const char *cause_name(enum recall_cause cause, int error)
{
	switch (cause) {
	case RECALL_GRANTED:
		return "granted";
	case RECALL_BREAK_HEARD:
		return "another process wants the file";
	case RECALL_RELEASE_ASKED:
		return "it is given back";
	case RECALL_OWN_OPEN:
		return "this program opens the file once more";
	case RECALL_CHANGED:
		return "the file was changed past daxmr";
	case RECALL_FLUSHED:
		return "all is flushed, the file is handed over";
	case RECALL_OUT_OF_TIME:
		return "handed over before all was flushed";
	case RECALL_WRITTEN:
		return "all is flushed";
	case RECALL_REVOKED:
		return "the kernel took it";
	case RECALL_RETAKEN:
		return "taken again";
	case RECALL_MERGED:
		return "merged";
	case RECALL_RELEASED:
		return "released";
	case RECALL_FLUSH_FAILED:
		return "flushing failed and is tried again";
	case RECALL_MERGE_FAILED:
		return "merging failed and is tried again";
	case RECALL_TAKE_FAILED:
		return "it cannot be taken and is tried again";
	case RECALL_UNWATCHED:
		return "changes past daxmr cannot be noticed";
	case RECALL_SHRUNK:
		return "others have cut the file off";
	case RECALL_GROWN:
		return "data beyond the file's end, which has grown for it";
	case RECALL_DROPPED:
		return "data beyond the file's end, which is dropped";
	case RECALL_UNATTACHED:
		return error ? "the new daxmr-keeper cannot have a region's "
			       "shadow, which is not flushed until it can; it "
			       "is tried again"
			     : "the new daxmr-keeper has the region's shadow";
	case RECALL_RANGE_UNATTACHED:
		return error ? "the new daxmr-keeper has no room to look after "
			       "a region's blocks, and does not allocate them "
			       "again when others have had the file; it is "
			       "tried again"
			     : "the new daxmr-keeper looks after the region's "
			       "blocks";
	case RECALL_CAUSES:
		break;
	}
	return "changed";
}

/* What has become of them. */
static const char *conflict_name(const struct lease *lease)
{
	switch (lease_terms(lease)->on_conflict) {
	case ON_CONFLICT_OURS:
		return "ours kept";
	case ON_CONFLICT_THEIRS:
		return "theirs taken";
	case ON_CONFLICT_ERROR:
		return "both left as they are, msync fails";
	}
	return "kept";
}

static enum log_level level_of(const struct recall_report *report)
{
	switch (report->cause) {
	case RECALL_OUT_OF_TIME:
	case RECALL_REVOKED:
	case RECALL_CHANGED:
	case RECALL_UNWATCHED:
	case RECALL_SHRUNK:
	case RECALL_GROWN:
	case RECALL_DROPPED:
	case RECALL_FLUSH_FAILED:
	case RECALL_MERGE_FAILED:
	case RECALL_TAKE_FAILED:
		return LOG_WARN;
	default:
		return report->error || report->conflicts ? LOG_WARN : LOG_INFO;
	}
}

/*
 * A description of our own of a pipe or a terminal, with which no write waits:
 * -1 there is none to be had, and nobody reads.
 */
static int without_waiting(int fd)
{
	char link[64];
	struct stat st;
	int own;

	if (raw_stat(fd, &st) || (!S_ISFIFO(st.st_mode) && !isatty(fd)))
		return fd;
	snprintf(link, sizeof(link), "/proc/thread-self/fd/%d", fd);
	own = raw_open(AT_FDCWD, link, O_WRONLY | O_NONBLOCK | O_NOCTTY);
	if (own < 0 && errno != ENXIO)
		return fd; /* of another user, say */
	raw_close(fd);
	return own;
}

/*
 * The thread that observes has /dev/null for standard error: the program's is
 * borrowed for a line. One that would make us wait gets none; the program may
 * be waiting for us. (A regular file on a frozen file system does.)
 */
static bool borrow_stderr(void)
{
	struct pollfd to = {.fd = STDERR_FILENO, .events = POLLOUT};
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0), fd = -1;

	if (pidfd >= 0)
		fd = (int)syscall(SYS_pidfd_getfd, pidfd, STDERR_FILENO, 0);
	raw_close(pidfd);
	if (fd >= 0)
		fd = without_waiting(fd);
	if (fd < 0)
		return false;
	syscall(SYS_dup3, fd, STDERR_FILENO, O_CLOEXEC);
	raw_close(fd);
	return raw_poll(&to, 1, 0) == 1 && to.revents & POLLOUT;
}

/*
 * The thread's 0 is /dev/null, too. A new one might not be had (EMFILE), and 2
 * must not be left to the next file that is leased.
 */
static void give_stderr_back(void)
{
	syscall(SYS_dup3, STDIN_FILENO, STDERR_FILENO, O_CLOEXEC);
}

void lease_log_changed(struct lease *lease, const struct recall_report *report,
		       uint64_t missed)
{
	enum log_level level = level_of(report);
	char merged[128] = "";
	dev_t dev;
	ino_t ino;

	if (level > config_get()->log)
		return;
	lease_file(lease, &dev, &ino);
	if (report->theirs || report->conflicts)
		snprintf(merged, sizeof(merged),
			 ", %u blocks of others taken, %u conflicts: %s",
			 report->theirs, report->conflicts,
			 conflict_name(lease));
	else if (report->beyond)
		snprintf(merged, sizeof(merged), ", %u blocks of 4 KiB",
			 report->beyond);
	if (borrow_stderr())
		log_write(
			level,
			"lease on inode %llu of %u:%u: %s%s, %s after %lld us "
			"of %s%s%s%s",
			(unsigned long long)ino, major(dev), minor(dev),
			cause_name(report->cause, report->error), merged,
			recall_state_name(report->to),
			(long long)report->spent_ns / 1000,
			recall_state_name(report->from),
			report->error ? ": " : "",
			report->error ? strerrordesc_np(-report->error) : "",
			missed ? " (states in between are left out)" : "");
	give_stderr_back();
}

void lease_log_keeper_died(int error)
{
	if (borrow_stderr()) {
		if (error)
			log_write(LOG_ERROR,
				  KEEPER_NAME " died, and no other can be "
					      "started: %s",
				  reason_text());
		else
			log_write(LOG_WARN,
				  KEEPER_NAME " died; another has taken over");
	}
	give_stderr_back();
}

void lease_log_shared_fate(const char *text)
{
	if (borrow_stderr())
		log_write(LOG_WARN, "%s", text);
	give_stderr_back();
}
