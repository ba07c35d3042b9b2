/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Static probes (USDT) for bpftrace, perf, systemtap, gdb: where one is there
 * is an instruction that does nothing, and a note in the file that says where
 * it is, what it is called, and where its arguments are. Who looks puts a
 * breakpoint there. daxmr(7) has the list.
 *
 * The note's format is that of systemtap's sys/sdt.h ("stapsdt", version 3:
 * location, base, semaphore, then provider, name and arguments as text), which
 * all of these read; GNU binutils show it with readelf -n. It is made here, so
 * that each build has the probes and nothing has to be there for it. The base
 * is for who has moved sections after the notes were made.
 *
 * Not on the way of data.
 */
#ifndef DAXMR_PROBE_H
#define DAXMR_PROBE_H

#include <stdint.h>

struct lease;
struct recall_report;

#if defined(__x86_64__) || defined(__aarch64__)
/* clang-format off */
#define PROBE(name, a, b, c, d)                                                \
	__asm__ volatile(                                                      \
		"990:	nop\n"                                                 \
		"	.pushsection .note.stapsdt,\"?\",\"note\"\n"           \
		"	.balign 4\n"                                           \
		"	.4byte 992f-991f, 994f-993f, 3\n"                      \
		"991:	.asciz \"stapsdt\"\n"                                  \
		"992:	.balign 4\n"                                           \
		"993:	.8byte 990b\n"                                         \
		"	.8byte _.stapsdt.base\n"                               \
		"	.8byte 0\n"                                            \
		"	.asciz \"daxmr\"\n"                                    \
		"	.asciz \"" #name "\"\n"                                \
		"	.asciz \"8@%0 8@%1 8@%2 8@%3\"\n"                      \
		"994:	.balign 4\n"                                           \
		"	.popsection\n"                                         \
		"	.ifndef _.stapsdt.base\n"                              \
		"	.pushsection .stapsdt.base,\"aG\",\"progbits\","       \
				    ".stapsdt.base,comdat\n"                   \
		"	.weak _.stapsdt.base\n"                                \
		"	.hidden _.stapsdt.base\n"                              \
		"_.stapsdt.base: .space 1\n"                                   \
		"	.size _.stapsdt.base, 1\n"                             \
		"	.popsection\n"                                         \
		"	.endif\n"                                              \
		:: "nor"((uint64_t)(a)), "nor"((uint64_t)(b)),                 \
		   "nor"((uint64_t)(c)), "nor"((uint64_t)(d)))
/* clang-format on */
#else
#define PROBE(name, a, b, c, d) ((void)(a), (void)(b), (void)(c), (void)(d))
#endif

/* probe_lease.c: those of a lease, by the engine's thread. */
void probe_lease_changed(const struct lease *lease,
			 const struct recall_report *report);

#endif
