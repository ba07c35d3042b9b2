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
#include "route.h"

struct config {
	enum strategy strategy; /* DAXMR_STRATEGY: auto, odp, … */
	uint64_t prefetch;  /* DAXMR_PREFETCH: bytes; 0 none, UINT64_MAX all */
	uint64_t stage_max; /* DAXMR_STAGE_MAX: bytes in shadows */
	enum log_level log; /* DAXMR_LOG */
	/* DAXMR_KEEPER: the socket of one outside; NULL: the program's own */
	const char *keeper;
};

/* Half of the memory that is available: stage_limits.h. */
#define CONFIG_STAGE_MAX_AUTO UINT64_MAX

const struct config *config_get(void);

/* 0, or -EINVAL and *ret untouched. */
int config_parse_strategy(const char *text, enum strategy *ret);
int config_parse_prefetch(const char *text, uint64_t *ret);
int config_parse_stage_max(const char *text, uint64_t *ret);
int config_parse_log(const char *text, enum log_level *ret);
/* Whether it could be such a path. */
int config_parse_keeper(const char *text, const char **ret);

/* What each of them takes, for messages: "auto, odp, …". */
#define CONFIG_STRATEGY_VALUES	"auto, passthrough, odp, staged or pinned"
#define CONFIG_PREFETCH_VALUES	"on, off or a size such as 64M"
#define CONFIG_STAGE_MAX_VALUES "auto or a size such as 8G"
#define CONFIG_LOG_VALUES	"off, error, warn, info or debug"
#define CONFIG_KEEPER_VALUES                                                   \
	"the absolute path of a socket on which daxmr-keeper --listen waits"

#endif
