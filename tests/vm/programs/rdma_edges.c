/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_edges odp|staged|refused|no-odp FOLDER
 *
 * Registrations at the edges of what makes sense, with files in FOLDER. With
 * "odp" and "staged" those of files must work, but for what no lease or shadow
 * can be had of; else they must fail with EOPNOTSUPP, and with the kernel's own
 * EINVAL for ON_DEMAND on a device that has none; mistakes must fail with the
 * errno of a plain registration. Every failure must have left a sentence.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ends.h"

#define PAGE 4096UL
#define SIZE (64 * PAGE)

static const char *folder;
static struct end server, peer;
static unsigned char *buffer;
static struct ibv_mr *buffer_mr;
static bool odp, staged;
static int on_demand_result;
static const char *(*errormsg)(void);
static int failures;

static const char *path_of(const char *name)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static unsigned char *new_file(const char *name)
{
	unsigned char *addr;

	unlink(path_of(name));
	addr = map_file(path_of(name), SIZE);
	fill_pattern(addr, SIZE, 0, 7);
	return addr;
}

/* Registers and compares the outcome: 0 it works, else the errno. */
static struct ibv_mr *expect(const char *what, void *addr, size_t length,
			     int access, int want)
{
	struct ibv_mr *mr = ibv_reg_mr(server.pd, addr, length, access);
	int got = mr ? 0 : errno;
	const char *sentence = mr ? "" : errormsg();

	if (got != want || (!mr && !*sentence)) {
		printf("not ok: %s: %s, not %s; sentence: %s\n", what,
		       got ? strerror(got) : "registered",
		       want ? strerror(want) : "registered", sentence);
		failures++;
	} else {
		printf("ok: %s: %s %s\n", what,
		       got ? strerror(got) : "registered", sentence);
	}
	return mr;
}

static void done(struct ibv_mr *mr)
{
	if (mr && ibv_dereg_mr(mr))
		die("ibv_dereg_mr failed");
}

/* What works has to work: reads all of it as a peer. */
static void read_all(const char *what, struct ibv_mr *mr,
		     const unsigned char *want, uint32_t length)
{
	enum ibv_wc_status status;

	if (!mr)
		return;
	memset(buffer, 0xee, length);
	ends_connect(&server, &peer);
	status = end_rdma(&peer, IBV_WR_RDMA_READ, buffer_mr, buffer, length,
			  (uintptr_t)mr->addr, mr->rkey);
	if (status != IBV_WC_SUCCESS || memcmp(buffer, want, length)) {
		printf("not ok: %s: read by a peer: %s\n", what,
		       status ? ibv_wc_status_str(status) : "wrong bytes");
		failures++;
	}
}

static int file_result(void)
{
	return odp || staged ? 0 : EOPNOTSUPP;
}

/* What ODP can do and a shadow cannot. */
static int odp_result(int as_staged)
{
	return staged ? as_staged : file_result();
}

static void whole_parts_and_odd_ranges(void)
{
	unsigned char *addr = new_file("plain");
	struct ibv_mr *mr;

	mr = expect("a whole file", addr, SIZE, REMOTE_ALL, file_result());
	read_all("a whole file", mr, addr, SIZE);
	done(mr);
	mr = expect("an odd range", addr + 5001, 7777, REMOTE_ALL,
		    file_result());
	read_all("an odd range", mr, addr + 5001, 7777);
	done(mr);
	mr = expect("one byte", addr + PAGE - 1, 1, 0, file_result());
	done(mr);
	done(expect("the program's own ON_DEMAND", addr, SIZE,
		    REMOTE_ALL | IBV_ACCESS_ON_DEMAND, on_demand_result));
	munmap(addr, SIZE);
}

/* The same bytes at another iova: ibv_reg_mr_iova(). */
static void moved_iova(void)
{
	unsigned char *addr = new_file("iova");
	uint64_t iova = 1UL << 40;
	struct ibv_mr *mr =
		ibv_reg_mr_iova(server.pd, addr, SIZE, iova, REMOTE_ALL);
	int got = mr ? 0 : errno;
	enum ibv_wc_status status;

	if (got != file_result()) {
		printf("not ok: an iova of its own: %s: %s\n", strerror(got),
		       errormsg());
		failures++;
	}
	if (mr) {
		ends_connect(&server, &peer);
		memset(buffer, 0xee, SIZE);
		status = end_rdma(&peer, IBV_WR_RDMA_READ, buffer_mr, buffer,
				  SIZE - 777, iova + 777, mr->rkey);
		if (status || memcmp(buffer, addr + 777, SIZE - 777)) {
			printf("not ok: an iova of its own, read by a peer: "
			       "%s\n",
			       status ? ibv_wc_status_str(status)
				      : "wrong bytes");
			failures++;
		}
	}
	done(mr);
	munmap(addr, SIZE);
}

/* What the kernel says of no bytes is not ours to change. */
static void no_bytes(void)
{
	unsigned char *addr = new_file("none");
	struct ibv_mr *mr = ibv_reg_mr(server.pd, buffer, 0, REMOTE_ALL);
	int plain = mr ? 0 : errno;

	done(mr);
	done(expect("no bytes", addr, 0, REMOTE_ALL, plain));
	munmap(addr, SIZE);
}

static void beyond_the_end(void)
{
	unsigned char *addr = new_file("short");
	struct ibv_mr *mr;

	if (truncate(path_of("short"), 4 * PAGE + 1) < 0)
		die("truncate failed");
	mr = expect("beyond the end of the file", addr, SIZE, REMOTE_ALL,
		    odp_result(ERANGE));
	if (staged)
		mr = expect("to the end of the page it ends in", addr, 5 * PAGE,
			    REMOTE_ALL, 0);
	read_all("inside a file that ends early", mr, addr, 4 * PAGE);
	done(mr);
	munmap(addr, SIZE);
}

static void unmapped(void)
{
	unsigned char *addr = new_file("gaps");

	munmap(addr + 8 * PAGE, PAGE);
	done(expect("a range with a gap", addr, SIZE, REMOTE_ALL, EFAULT));
	munmap(addr, SIZE);
	done(expect("nothing mapped at all", addr, SIZE, REMOTE_ALL, EFAULT));
}

static void read_only(void)
{
	unsigned char *addr = new_file("readonly");
	struct ibv_mr *mr;

	if (mprotect(addr, SIZE, PROT_READ))
		die("mprotect failed");
	mr = expect("a read-only mapping to be read", addr, SIZE,
		    IBV_ACCESS_REMOTE_READ, file_result());
	read_all("a read-only mapping", mr, addr, SIZE);
	done(mr);
	done(expect("a read-only mapping to be written", addr, SIZE, REMOTE_ALL,
		    EFAULT));
	munmap(addr, SIZE);
}

/* Of the program's own, to a peer: its addresses are good for its own lkey. */
static void send_all(const char *what, struct ibv_mr *mr, unsigned char *addr,
		     uint32_t length)
{
	enum ibv_wc_status status;

	if (!mr)
		return;
	memset(buffer, 0xee, length);
	ends_connect(&server, &peer);
	status = end_rdma(&server, IBV_WR_RDMA_WRITE, mr, addr, length,
			  (uintptr_t)buffer, buffer_mr->rkey);
	if (status != IBV_WC_SUCCESS || memcmp(buffer, addr, length)) {
		printf("not ok: %s: sent to a peer: %s\n", what,
		       status ? ibv_wc_status_str(status) : "wrong bytes");
		failures++;
	}
}

/*
 * A file that is open for reading only, as others may have it, too. Kernels
 * before 6.2 register no such mapping by themselves.
 */
static void read_only_file(void)
{
	unsigned char *addr = new_file("readable");
	int fd = open(path_of("readable"), O_RDONLY | O_CLOEXEC);
	struct ibv_mr *mr;

	munmap(addr, SIZE);
	addr = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (fd < 0 || addr == MAP_FAILED)
		die("cannot map a file for reading");
	mr = expect("a read-only file to be read", addr, SIZE,
		    IBV_ACCESS_REMOTE_READ, file_result());
	read_all("a read-only file", mr, addr, SIZE);
	done(mr);
	mr = expect("an odd range of it to be sent", addr + 5001, 7777, 0,
		    file_result());
	send_all("a read-only file", mr, addr + 5001, 7777);
	done(mr);
	done(expect("a read-only file to be written", addr, SIZE, REMOTE_ALL,
		    EFAULT));
	munmap(addr, SIZE);
	close(fd);
}

/* No plain registration would take these, whatever else is in the range. */
static void parts_without_permission(void)
{
	unsigned char *addr = new_file("parts");

	if (mmap(addr, 8 * PAGE, PROT_READ,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		die("mapping over the file failed");
	done(expect("read-only memory beside a file, to be written", addr, SIZE,
		    REMOTE_ALL, EFAULT));
	done(expect("the same, to be read", addr, SIZE, IBV_ACCESS_REMOTE_READ,
		    file_result()));
	if (mprotect(addr, SIZE, PROT_NONE))
		die("mprotect failed");
	done(expect("memory and a file with PROT_NONE", addr, SIZE,
		    IBV_ACCESS_REMOTE_READ, EFAULT));
	munmap(addr, SIZE);
}

static void several_mappings(void)
{
	unsigned char *addr = new_file("several"), *other = new_file("other");
	struct ibv_mr *mr;

	/* file, anonymous memory, another file, file: one range */
	if (mmap(addr + 8 * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0) == MAP_FAILED ||
	    mremap(other, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		   addr + 16 * PAGE) == MAP_FAILED)
		die("mapping over the file failed");
	fill_pattern(addr + 8 * PAGE, 8 * PAGE, 0, 9);
	mr = expect("several mappings", addr, SIZE, REMOTE_ALL, file_result());
	read_all("several mappings", mr, addr, SIZE);
	done(mr);
	munmap(addr, SIZE);
	munmap(other + 8 * PAGE, SIZE - 8 * PAGE);
}

/* What is written into a private mapping must never reach the file. */
static void private_mapping(void)
{
	unsigned char *shared = new_file("private"), *addr, *before;
	int fd = open(path_of("private"), O_RDONLY | O_CLOEXEC);
	enum ibv_wc_status status;
	struct ibv_mr *mr;

	addr = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	before = malloc(SIZE);
	if (addr == MAP_FAILED || !before)
		die("no private mapping");
	memcpy(before, shared, SIZE);
	mr = expect("a private mapping", addr, SIZE, REMOTE_ALL, file_result());
	read_all("a private mapping", mr, shared, SIZE);
	if (mr) {
		fill_pattern(buffer, 10000, 0, 99);
		status = end_rdma(&peer, IBV_WR_RDMA_WRITE, buffer_mr, buffer,
				  10000, (uintptr_t)addr + 333, mr->rkey);
		if (status || memcmp(addr + 333, buffer, 10000) ||
		    memcmp(shared, before, SIZE)) {
			printf("not ok: a private mapping written by a peer: "
			       "%s\n",
			       status ? ibv_wc_status_str(status)
				      : "wrong bytes, or the file changed");
			failures++;
		}
	}
	done(mr);
	free(before);
	munmap(addr, SIZE);
	munmap(shared, SIZE);
	close(fd);
}

static void deleted_file(void)
{
	unsigned char *addr = new_file("deleted");
	struct ibv_mr *mr;

	unlink(path_of("deleted"));
	mr = expect("a deleted file", addr, SIZE, REMOTE_ALL, file_result());
	read_all("a deleted file", mr, addr, SIZE);
	done(mr);
	munmap(addr, SIZE);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		die("usage: rdma_edges odp|staged|refused|no-odp FOLDER");
	odp = strcmp(argv[1], "odp") == 0;
	staged = strcmp(argv[1], "staged") == 0;
	if (strcmp(argv[1], "no-odp") == 0)
		on_demand_result = EINVAL;
	else if (!odp && !staged)
		on_demand_result = EOPNOTSUPP;
	folder = argv[2];
	*(void **)&errormsg = dlsym(RTLD_DEFAULT, "daxmr_errormsg");
	if (!errormsg)
		die("not under daxmr");
	buffer = aligned_alloc(PAGE, SIZE);
	if (!buffer)
		die("no memory");
	end_open(&server);
	end_open(&peer);
	buffer_mr = end_register(&peer, buffer, SIZE, REMOTE_ALL);

	whole_parts_and_odd_ranges();
	moved_iova();
	no_bytes();
	beyond_the_end();
	unmapped();
	read_only();
	read_only_file();
	parts_without_permission();
	several_mappings();
	private_mapping();
	deleted_file();
	return failures != 0;
}
