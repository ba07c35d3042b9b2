/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A socket that is listened on by one at a time: keeper_socket.h.
 *
 * The file of one that was killed stays. Only connect(2) tells it from a live
 * one, so what lies there is looked at, removed and made under a lock: of two
 * that start at once the second finds the first.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "keeper_proto.h"
#include "keeper_socket.h"

#define MODE	 0600
#define LOCK_END ".lock"

static int say(const char *path, int error, const char *what)
{
	fprintf(stderr, KEEPER_NAME ": %s %s\n", path, what);
	return error;
}

static int say_error(const char *path, const char *what)
{
	int error = errno;

	fprintf(stderr, KEEPER_NAME ": %s %s: %s\n", path, what,
		strerror(error));
	return -error;
}

/* Whoever starts at the same time waits; the file goes with who has it. */
static int lock(const char *lock_path)
{
	struct stat ours, there;
	int fd;

	for (;;) {
		fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
			  MODE);
		if (fd < 0 || flock(fd, LOCK_EX))
			return say_error(lock_path, "cannot be locked");
		if (!fstat(fd, &ours) && !stat(lock_path, &there) &&
		    ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
			return fd;
		close(fd);
	}
}

/* -ECONNREFUSED: nobody listens there. */
static int try_socket(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
			0),
	    r;

	if (fd < 0)
		return -errno;
	r = connect(fd, (const struct sockaddr *)address, sizeof(*address))
		    ? -errno
		    : 0;
	close(fd);
	return r;
}

/* What lies there: removed if it is a socket that nobody listens on. */
static int clear(const struct sockaddr_un *address)
{
	const char *path = address->sun_path;
	struct stat st;

	if (lstat(path, &st))
		return errno == ENOENT ? 0
				       : say_error(path, "cannot be looked at");
	if (!S_ISSOCK(st.st_mode))
		return say(path, -EEXIST,
			   "is there and no socket: name another path");
	if (try_socket(address) != -ECONNREFUSED)
		return say(path, -EADDRINUSE,
			   "is in use: somebody listens there; end that one, "
			   "or name another path");
	return unlink(path) ? say_error(path, "cannot be removed") : 0;
}

static int make_socket(const struct sockaddr_un *address)
{
	const char *path = address->sun_path;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
			0),
	    r = 0;

	umask(0777 & ~MODE);
	if (fd < 0 ||
	    bind(fd, (const struct sockaddr *)address, sizeof(*address)) ||
	    listen(fd, SOMAXCONN))
		r = say_error(path, "cannot be listened on");
	if (r && fd >= 0)
		close(fd);
	return r ? r : fd;
}

int keeper_socket_open(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char lock_path[sizeof(address.sun_path) + sizeof(LOCK_END)];
	int locked, r;

	if (!*path || strlen(path) >= sizeof(address.sun_path))
		return say(path, -ENAMETOOLONG,
			   "is no path of a socket: 1 to 107 bytes");
	strcpy(address.sun_path, path);
	snprintf(lock_path, sizeof(lock_path), "%s" LOCK_END, path);
	locked = lock(lock_path);
	if (locked < 0)
		return locked;
	r = clear(&address);
	if (!r)
		r = make_socket(&address);
	unlink(lock_path);
	close(locked);
	return r;
}

void keeper_socket_close(int fd, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char lock_path[sizeof(address.sun_path) + sizeof(LOCK_END)];
	int locked;

	close(fd);
	strcpy(address.sun_path, path);
	snprintf(lock_path, sizeof(lock_path), "%s" LOCK_END, path);
	locked = lock(lock_path);
	if (locked < 0)
		return;
	if (try_socket(&address) == -ECONNREFUSED)
		unlink(path);
	unlink(lock_path);
	close(locked);
}
