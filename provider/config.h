/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The policies of this process, from DAXMR_* in its environment. Read once, at
 * the first registration; a value that makes no sense is reported in the log
 * and the default stands. `daxmr run` checks them before the program starts.
 */
#ifndef DAXMR_CONFIG_H
#define DAXMR_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log.h"
#include "policy.h"
#include "route.h"

struct config {
	enum strategy strategy; /* DAXMR_STRATEGY: auto, odp, … */
	uint64_t prefetch;   /* DAXMR_PREFETCH: bytes; 0 none, UINT64_MAX all */
	uint64_t stage_max;  /* DAXMR_STAGE_MAX: bytes in shadows */
	uint32_t flush_ms;   /* DAXMR_FLUSH_MS; 0: on demand only */
	uint32_t flush_cpu;  /* DAXMR_FLUSH_CPU: percent of one CPU */
	uint32_t quiesce_ms; /* DAXMR_QUIESCE_MS: of pinned regions */
	enum on_recall on_recall;     /* DAXMR_ON_RECALL: of pinned regions */
	enum keys keys;		      /* DAXMR_KEYS: of pinned regions */
	enum on_conflict on_conflict; /* DAXMR_ON_CONFLICT */
	enum on_shrink on_shrink;     /* DAXMR_ON_SHRINK */
	enum uffd uffd;		      /* DAXMR_UFFD */
	enum log_level log;	      /* DAXMR_LOG */
	/* DAXMR_KEEPER: the socket of one outside; NULL: the program's own */
	const char *keeper;
};

/* Half of the memory that is available: stage_limits.h. */
#define CONFIG_STAGE_MAX_AUTO UINT64_MAX

const struct config *config_get(void);

/* One of them, as `daxmr run` and the environment name it. */
struct config_policy {
	const char *option;
	const char *variable;
	/* 0, or -EINVAL and *ret untouched. */
	int (*read)(const char *text, struct config *ret);
	const char *values;  /* what it takes */
	const char *instead; /* "auto it is", where the value makes no sense */
};

#define CONFIG_POLICIES 13
extern const struct config_policy config_policies[CONFIG_POLICIES];

/* 0, or -EINVAL and *ret untouched. */
int config_parse_strategy(const char *text, enum strategy *ret);
int config_parse_prefetch(const char *text, uint64_t *ret);
int config_parse_stage_max(const char *text, uint64_t *ret);
int config_parse_flush_ms(const char *text, uint32_t *ret);
int config_parse_flush_cpu(const char *text, uint32_t *ret);
int config_parse_quiesce_ms(const char *text, uint32_t *ret);
int config_parse_on_recall(const char *text, enum on_recall *ret);
int config_parse_keys(const char *text, enum keys *ret);
int config_parse_on_conflict(const char *text, enum on_conflict *ret);
int config_parse_on_shrink(const char *text, enum on_shrink *ret);
int config_parse_uffd(const char *text, enum uffd *ret);
int config_parse_log(const char *text, enum log_level *ret);
/* Whether it could be such a path. */
int config_parse_keeper(const char *text, const char **ret);

/* What each of them takes, for messages: "auto, odp, …". */
#define CONFIG_STRATEGY_VALUES	"auto, passthrough, odp, staged or pinned"
#define CONFIG_PREFETCH_VALUES	"on, off or a size such as 64M"
#define CONFIG_STAGE_MAX_VALUES "auto or a size such as 8G"
#define CONFIG_FLUSH_MS_VALUES                                                 \
	"a number of milliseconds up to 3600000, 0 for off"
#define CONFIG_FLUSH_CPU_VALUES	  "a number from 1 to 100"
#define CONFIG_QUIESCE_MS_VALUES  "a number of milliseconds from 1 to 30000"
#define CONFIG_ON_RECALL_VALUES	  "yield or sever"
#define CONFIG_KEYS_VALUES	  "change or window"
#define CONFIG_ON_CONFLICT_VALUES "ours, theirs or error"
#define CONFIG_ON_SHRINK_VALUES	  "extend, discard or error"
#define CONFIG_UFFD_VALUES	  "full or user"
#define CONFIG_LOG_VALUES	  "off, error, warn, info or debug"
#define CONFIG_KEEPER_VALUES                                                   \
	"the absolute path of a socket on which daxmr-keeper --listen waits"

#endif
