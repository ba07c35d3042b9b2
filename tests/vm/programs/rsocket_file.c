/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rsocket beside a region and on one: a stream between two processes, whose
 * server has one half of a file registered by itself and lends the other one to
 * the stream (riomap()); the client writes there by riowrite().
 *
 *     rsocket_file FILE ADDRESS
 *
 * Of daxmr it knows nothing. rsocket registers memory of its own by the same
 * calls; that has to stay as it is.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <rdma/rsocket.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"

enum {
	HALF = 65536,
	PORT = 7473
};

static struct sockaddr_in address_of(const char *text)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(PORT)};

	if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
		die("%s: no address", text);
	return address;
}

static int open_stream(void)
{
	int stream = rsocket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (stream < 0 ||
	    rsetsockopt(stream, SOL_RDMA, RDMA_IOMAPSIZE, &one, sizeof(one)))
		die("rsocket: %m");
	return stream;
}

static void take(int stream, void *to, size_t length)
{
	if (rrecv(stream, to, length, MSG_WAITALL) != (ssize_t)length)
		die("rrecv: %m");
}

static void give(int stream, const void *from, size_t length)
{
	if (rsend(stream, from, length, 0) != (ssize_t)length)
		die("rsend: %m");
}

/* What it is told where; then as much by the stream; and hears when it is in.
 */
static int run_client(const char *text)
{
	struct sockaddr_in address = address_of(text);
	static char bytes[HALF];
	int stream = open_stream();
	off_t offset;

	if (rconnect(stream, (struct sockaddr *)&address, sizeof(address)))
		die("rconnect: %m");
	take(stream, &offset, sizeof(offset));
	memset(bytes, 'M', sizeof(bytes));
	if (riowrite(stream, bytes, sizeof(bytes), offset, 0) !=
	    (ssize_t)sizeof(bytes))
		die("riowrite: %m");
	memset(bytes, 'S', sizeof(bytes));
	give(stream, bytes, sizeof(bytes));
	take(stream, bytes, 1);
	rclose(stream);
	return 0;
}

static pid_t start_client(const char *address)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %m");
	/* a program of its own: it inherits nothing of ours */
	if (!pid) {
		execl("/proc/self/exe", "rsocket_file", address, NULL);
		_exit(127);
	}
	return pid;
}

/* Past all that may stand before the file. */
static void check_half(const char *path, off_t at, char byte)
{
	static char bytes[HALF];
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);

	if (syscall(SYS_pread64, fd, bytes, sizeof(bytes), at) != HALF)
		die("%s: %m", path);
	for (int i = 0; i < HALF; i++)
		if (bytes[i] != byte)
			die("%s: byte %d of the half at %lld is 0x%02x, not "
			    "'%c'",
			    path, i, (long long)at, (unsigned char)bytes[i],
			    byte);
	close(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address;
	int listener, stream, status;
	struct ibv_mr *mr;
	struct end end;
	off_t offset;
	pid_t client;
	char *file;

	if (argc == 2)
		return run_client(argv[1]);
	if (argc != 3)
		die("usage: rsocket_file FILE ADDRESS");
	address = address_of(argv[2]);
	listener = open_stream();
	if (rbind(listener, (struct sockaddr *)&address, sizeof(address)) ||
	    rlisten(listener, 1))
		die("rlisten: %m");
	client = start_client(argv[2]);
	end_open(&end);
	file = map_file(argv[1], 2L * HALF);
	mr = end_register(&end, file, HALF, REMOTE_ALL);

	stream = raccept(listener, NULL, NULL);
	if (stream < 0)
		die("raccept: %m");
	offset = riomap(stream, file + HALF, HALF, PROT_WRITE, 0, -1);
	if (offset < 0)
		die("riomap: %m");
	give(stream, &offset, sizeof(offset));
	/* into the region: the stream's bytes are copied there */
	take(stream, file, HALF);
	check_half(argv[1], 0, 'S');
	check_half(argv[1], HALF, 'M');
	give(stream, file, 1);
	if (riounmap(stream, file + HALF, HALF))
		die("riounmap: %m");
	rclose(stream);
	if (waitpid(client, &status, 0) != client || status)
		die("the client: %d", status);
	rclose(listener);
	ibv_dereg_mr(mr);
	end_close(&end);
	puts("both halves are in the file");
	return 0;
}
