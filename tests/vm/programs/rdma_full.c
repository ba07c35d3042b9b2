/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_full full|frozen FILE
 *
 * A peer writes numbered messages all over FILE without a pause, while another
 * process
 *   full    has half of the file's blocks shared with a copy (reflink), and
 *           takes all the room that there is, or that a quota leaves its
 *           owner, then gives it back;
 *   frozen  freezes the file system, has a third one open the file, thaws it.
 * No completion is an error, and no signal comes. As long as the disk is full
 * the other half of the file is written all the same, msync() fails, and when
 * there is room everything comes to be in the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ends.h"
#include "messages.h"
#include "outside.h"

#define WAIT_SEC 60
/* Slots that lie in the half that is not shared. */
#define REST_SLOT (MESSAGES_SIZE / 2 / MESSAGES_STRIDE + 1)

enum phase {
	RUNNING,
	TROUBLE, /* the other process has made it */
	SEEN,	 /* the peer has written through it long enough */
	OVER,	 /* the other process has taken it away */
};

/* Between the two processes. */
struct board {
	_Atomic uint64_t done; /* how many writes were complete */
	_Atomic enum phase phase;
	atomic_bool is_wrong;
};

static struct board *board;
static const char *path;
static ino_t inode;
static uid_t owner;
static unsigned char bytes[MESSAGES_SIZE];

static void wrong(const char *what)
{
	printf("not ok: %s (%s)\n", what, strerror(errno));
	fflush(stdout);
	atomic_store(&board->is_wrong, true);
	_exit(1);
}

static void pause_ms(long ms)
{
	struct timespec pause = {.tv_nsec = ms * 1000000};

	nanosleep(&pause, NULL);
}

static void wait_for_phase(enum phase phase)
{
	while (atomic_load(&board->phase) != phase)
		pause_ms(5);
}

/*
 * All the room of the file system, or that a quota leaves the file's owner, to
 * the last block.
 */
static void fill_up(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	off_t at = 0;

	if (fd < 0 || fchown(fd, owner, (gid_t)-1))
		wrong("a filler");
	for (off_t piece = 1 << 28; piece >= 4096;) {
		if (!fallocate(fd, 0, at, piece))
			at += piece;
		else if (errno == ENOSPC || errno == EDQUOT)
			piece /= 2;
		else
			wrong("fallocate");
	}
	close(fd);
}

/* The copy has what was there before the file was opened, for good. */
static void check_copy(const char *copy, uint64_t done, uint64_t begun)
{
	char what[200];

	if (!messages_read(copy, bytes))
		wrong("the copy cannot be read");
	if (!messages_are_in(bytes, 0, REST_SLOT - 1, done, begun, what))
		wrong(what);
}

static void make_it_full(void)
{
	char copy[4096], filler[4096];
	struct file_clone_range half = {.src_length = MESSAGES_SIZE / 2};
	uint64_t done, begun;
	int fd, copy_fd;

	snprintf(copy, sizeof(copy), "%s.copy", path);
	snprintf(filler, sizeof(filler), "%s.filler", path);
	copy_fd = open(copy, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (copy_fd < 0 || ftruncate(copy_fd, MESSAGES_SIZE))
		wrong("no copy");
	done = atomic_load(&board->done);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	begun = atomic_load(&board->done) + 1;
	half.src_fd = fd;
	if (fd < 0 || ioctl(copy_fd, FICLONERANGE, &half))
		wrong("the file cannot be cloned");
	close(copy_fd);
	/* It is ours until there is no room left. */
	fill_up(filler);
	close(fd);
	atomic_store(&board->phase, TROUBLE);
	wait_for_phase(SEEN);
	check_copy(copy, done, begun);
	if (unlink(filler))
		wrong("the filler stays");
	atomic_store(&board->phase, OVER);
}

static void look_at_it(uint64_t done)
{
	if (!messages_read(path, bytes))
		wrong("the file cannot be read");
	_exit(!messages_are_all(bytes, done, atomic_load(&board->done) + 1));
}

static void freeze_it(void)
{
	char folder[4096];
	int fd, status;
	pid_t reader;

	snprintf(folder, sizeof(folder), "%s", path);
	*strrchr(folder, '/') = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, FIFREEZE, 0))
		wrong("the file system cannot be frozen");
	reader = fork();
	if (!reader) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		look_at_it(atomic_load(&board->done));
	}
	atomic_store(&board->phase, TROUBLE);
	wait_for_phase(SEEN);
	status = waitpid(reader, NULL, WNOHANG);
	printf("frozen: an opener %s\n", status ? "was let in" : "waits");
	fflush(stdout);
	if (ioctl(fd, FITHAW, 0))
		wrong("the file system cannot be thawed");
	if (!status && (waitpid(reader, &status, 0) != reader || status))
		wrong("the opener has not seen what it must");
	close(fd);
	atomic_store(&board->phase, OVER);
}

/* It was forked before there was anything: it has nothing of the file. */
static void make_trouble(const char *what)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (atomic_load(&board->done) < MESSAGES_SLOTS ||
	       !outside_is_leased(inode))
		pause_ms(5);
	if (strcmp(what, "full") == 0)
		make_it_full();
	else
		freeze_it();
	_exit(0);
}

/* What stands in the file itself: the hook on pread() would show the shadow. */
static void read_file(int fd)
{
	if (syscall(SYS_pread64, fd, bytes, MESSAGES_SIZE, 0) !=
	    (long)MESSAGES_SIZE)
		die("the file cannot be read: %s", strerror(errno));
}

/* All that was written before has come to be where there is room. */
static bool is_seen_full(int fd, const void *file, uint64_t done)
{
	char what[200];

	read_file(fd);
	if (!messages_are_in(bytes, REST_SLOT, MESSAGES_SLOTS, done,
			     MESSAGES_MAX, what))
		return false;
	if (messages_are_in(bytes, 0, REST_SLOT - 1, done, MESSAGES_MAX, what))
		die("full: there is room for all of it: nothing is proved");
	printf("full: %s\n", what);
	/* Some of the blocks were written before there was no room. */
	if (!msync((void *)file, MESSAGES_SIZE / 2, MS_SYNC))
		die("full: msync() says that the file has it");
	printf("full: msync: %s\n", strerror(errno));
	return true;
}

/* From time to time. */
static void look(const char *what, int fd, const void *file, uint64_t number)
{
	static enum phase last;
	static uint64_t since;
	static double until;
	enum phase phase = atomic_load(&board->phase);

	if (phase != last) {
		last = phase;
		since = number;
		until = now() + WAIT_SEC;
	}
	if (phase != RUNNING && now() > until)
		die("%s: phase %d lasts too long", what, phase);
	if (phase != TROUBLE || number < since + MESSAGES_SLOTS)
		return;
	if (strcmp(what, "full") != 0 || is_seen_full(fd, file, since))
		atomic_store(&board->phase, SEEN);
}

/* Unasked, by the write-back. */
static void wait_until_written(int fd, uint64_t done)
{
	double until = now() + WAIT_SEC;
	char what[200];

	do {
		if (now() > until)
			die("over, and not all has come: %s", what);
		pause_ms(20);
		read_file(fd);
	} while (!messages_are_in(bytes, 0, MESSAGES_SLOTS, done, done, what));
}

int main(int argc, char **argv)
{
	struct ibv_mr *mr, *buffer_mr;
	struct end server, peer;
	unsigned char *file, *buffer = aligned_alloc(4096, 4096);
	uint64_t number = 0;
	struct stat st;
	int fd, status;
	pid_t pid;

	if (argc != 3)
		die("usage: rdma_full full|frozen FILE");
	path = argv[2];
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!buffer || board == MAP_FAILED)
		die("no memory");
	if (stat(path, &st))
		die("%s: %s", path, strerror(errno));
	inode = st.st_ino;
	owner = st.st_uid;
	pid = fork();
	if (!pid)
		make_trouble(argv[1]);
	fd = open(path, O_RDWR | O_CLOEXEC);
	file = mmap(NULL, MESSAGES_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    0);
	if (pid < 0 || fd < 0 || file == MAP_FAILED)
		die("%s cannot be mapped: %s", path, strerror(errno));
	end_open(&server);
	end_open(&peer);
	ends_connect(&server, &peer);
	mr = end_register(&server, file, MESSAGES_SIZE, REMOTE_ALL);
	buffer_mr = end_register(&peer, buffer, 4096, REMOTE_ALL);

	while (atomic_load(&board->phase) != OVER &&
	       !atomic_load(&board->is_wrong) && number < MESSAGES_MAX) {
		uint64_t at = message_make(number++, buffer);
		enum ibv_wc_status result = end_rdma(
			&peer, IBV_WR_RDMA_WRITE, buffer_mr, buffer,
			MESSAGES_LENGTH, (uintptr_t)(file + at), mr->rkey);

		if (result != IBV_WC_SUCCESS)
			die("write %lu: %s", (unsigned long)number,
			    ibv_wc_status_str(result));
		atomic_store(&board->done, number);
		if (number % (MESSAGES_SLOTS / 4) == 0)
			look(argv[1], fd, file, number);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		die("the other process has not seen what it must");
	if (end_state(&peer) != IBV_QPS_RTS ||
	    end_state(&server) != IBV_QPS_RTS)
		die("the QPs are not as they were");
	wait_until_written(fd, number);
	if (msync(file, MESSAGES_SIZE, MS_SYNC))
		die("msync: %s", strerror(errno));
	if (ibv_dereg_mr(mr) || !outside_comes_back(inode, file))
		die("the file was not mapped back");
	read_file(fd);
	if (!messages_are_all(bytes, number, number) ||
	    memcmp(file, bytes, MESSAGES_SIZE))
		die("the file is not what it must be");
	if (ibv_dereg_mr(buffer_mr))
		die("ibv_dereg_mr failed");
	end_close(&server);
	end_close(&peer);
	printf("%s: %lu writes\n", argv[1], (unsigned long)number);
	return 0;
}
