/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the benchmarks of shadows share. They are programs of a few seconds:
 * what fails ends them, with a sentence and status 2.
 */
#ifndef DAXMR_TESTS_BENCH_STAGE_H
#define DAXMR_TESTS_BENCH_STAGE_H

#include <stddef.h>
#include <stdint.h>

#include "lease.h"

#define PAGE 4096UL

void bench_die(const char *what) __attribute__((noreturn));

/*
 * An engine without write-back, and its keeper, which runs already: started
 * with a program's first lease, here that of another file in the folder.
 */
struct lease_engine *bench_start(const char *keeper_path, const char *folder);
void bench_stop(struct lease_engine *engine);

/* So many bytes of a file, written; gone when it is closed. */
int bench_file(const char *folder, size_t length);

/* The same with a path, of 4096 bytes, which is the caller's to unlink(). */
int bench_named_file(const char *folder, size_t length, char *ret_path);

uint8_t *bench_map(int fd, size_t length);

/* A range with a shadow, and without it again. */
struct lease *bench_stage(struct lease_engine *engine, int fd, uint64_t offset,
			  uint64_t length);
void bench_unstage(struct lease *lease, uint64_t offset, uint64_t length);

#endif
