/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The numbers that a folder of /proc lists: processes, threads, descriptors.
 * By raw system calls, without opendir(), whose buffer is the program's
 * malloc()'s (heap.h).
 */
#ifndef DAXMR_LEASE_NUMBERS_H
#define DAXMR_LEASE_NUMBERS_H

#define NUMBERS_BUFFER 4096

struct numbers {
	int fd; /* the folder, for what is looked at in it */
	long at;
	long used;
	char room[NUMBERS_BUFFER] __attribute__((aligned(8)));
};

/* The folder below another, or AT_FDCWD. 0; -errno. */
int numbers_open(struct numbers *numbers, int dir, const char *path);
/* 1: *ret is the next; 0: there is none; -errno. Other names are passed by. */
int numbers_next(struct numbers *numbers, int *ret);
void numbers_close(struct numbers *numbers);

#endif
