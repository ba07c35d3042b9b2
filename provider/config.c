/* SPDX-License-Identifier: BSD-2-Clause */
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config.h"
#include "keeper_connect.h"

#define FLUSH_MS_MAX   3600000
#define QUIESCE_MS_MAX 30000

int config_parse_strategy(const char *text, enum strategy *ret)
{
	int i;

	for (i = 0; i < STRATEGIES; i++) {
		/* refused is an outcome, not a wish */
		if (i != STRATEGY_REFUSED &&
		    strcmp(text, strategy_name((enum strategy)i)) == 0) {
			*ret = (enum strategy)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* "64M": 0, or -EINVAL and *ret untouched. */
static int parse_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	unsigned long long number;
	const char *unit;
	int shift = 0;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	if (*end) {
		unit = strchr(units, toupper((unsigned char)*end));
		if (!unit || (end[1] && strcasecmp(end + 1, "iB")))
			return -EINVAL;
		shift = 10 * (int)(unit - units + 1);
	}
	if (number > UINT64_MAX >> shift)
		return -EINVAL;
	*ret = (uint64_t)number << shift;
	return 0;
}

int config_parse_prefetch(const char *text, uint64_t *ret)
{
	if (strcmp(text, "on") == 0) {
		*ret = UINT64_MAX;
		return 0;
	}
	if (strcmp(text, "off") == 0) {
		*ret = 0;
		return 0;
	}
	return parse_size(text, ret);
}

int config_parse_stage_max(const char *text, uint64_t *ret)
{
	if (strcmp(text, "auto") == 0) {
		*ret = CONFIG_STAGE_MAX_AUTO;
		return 0;
	}
	return parse_size(text, ret);
}

static int parse_number(const char *text, uint32_t min, uint32_t max,
			uint32_t *ret)
{
	unsigned long number;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno || *end || number < min || number > max)
		return -EINVAL;
	*ret = (uint32_t)number;
	return 0;
}

int config_parse_flush_ms(const char *text, uint32_t *ret)
{
	return parse_number(text, 0, FLUSH_MS_MAX, ret);
}

int config_parse_flush_cpu(const char *text, uint32_t *ret)
{
	return parse_number(text, 1, 100, ret);
}

/* Which of them it is, NULL at their end; -EINVAL: none. */
static int parse_choice(const char *text, const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(text, names[i]) == 0)
			return i;
	return -EINVAL;
}

int config_parse_quiesce_ms(const char *text, uint32_t *ret)
{
	return parse_number(text, 1, QUIESCE_MS_MAX, ret);
}

int config_parse_on_recall(const char *text, enum on_recall *ret)
{
	static const char *const names[] = {
		[ON_RECALL_YIELD] = "yield",
		[ON_RECALL_SEVER] = "sever",
		NULL,
	};
	int r = parse_choice(text, names);

	if (r < 0)
		return r;
	*ret = (enum on_recall)r;
	return 0;
}

int config_parse_keys(const char *text, enum keys *ret)
{
	static const char *const names[] = {
		[KEYS_CHANGE] = "change",
		[KEYS_WINDOW] = "window",
		NULL,
	};
	int r = parse_choice(text, names);

	if (r < 0)
		return r;
	*ret = (enum keys)r;
	return 0;
}

int config_parse_on_conflict(const char *text, enum on_conflict *ret)
{
	static const char *const names[] = {
		[ON_CONFLICT_OURS] = "ours",
		[ON_CONFLICT_THEIRS] = "theirs",
		[ON_CONFLICT_ERROR] = "error",
		NULL,
	};
	int r = parse_choice(text, names);

	if (r < 0)
		return r;
	*ret = (enum on_conflict)r;
	return 0;
}

int config_parse_on_shrink(const char *text, enum on_shrink *ret)
{
	static const char *const names[] = {
		[ON_SHRINK_EXTEND] = "extend",
		[ON_SHRINK_DISCARD] = "discard",
		[ON_SHRINK_ERROR] = "error",
		NULL,
	};
	int r = parse_choice(text, names);

	if (r < 0)
		return r;
	*ret = (enum on_shrink)r;
	return 0;
}

int config_parse_uffd(const char *text, enum uffd *ret)
{
	static const char *const names[] = {
		[UFFD_FULL] = "full",
		[UFFD_USER] = "user",
		NULL,
	};
	int r = parse_choice(text, names);

	if (r < 0)
		return r;
	*ret = (enum uffd)r;
	return 0;
}

int config_parse_log(const char *text, enum log_level *ret)
{
	int i;

	for (i = 0; i < LOG_LEVELS; i++) {
		if (strcmp(text, log_level_name((enum log_level)i)) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

int config_parse_keeper(const char *text, const char **ret)
{
	if (text[0] != '/' || strlen(text) > KEEPER_LISTENER_MAX)
		return -EINVAL;
	*ret = text;
	return 0;
}

#define TEXT(number)  #number
#define VALUE(number) TEXT(number)

/* Each into the field of its name. */
#define READER(field)                                                          \
	static int read_##field(const char *text, struct config *ret)          \
	{                                                                      \
		return config_parse_##field(text, &ret->field);                \
	}
READER(log)
READER(strategy)
READER(prefetch)
READER(stage_max)
READER(flush_ms)
READER(flush_cpu)
READER(quiesce_ms)
READER(on_recall)
READER(keys)
READER(on_conflict)
READER(on_shrink)
READER(uffd)
READER(keeper)

/* The level of what the others say comes first. */
const struct config_policy config_policies[CONFIG_POLICIES] = {
	{"log", "DAXMR_LOG", read_log, CONFIG_LOG_VALUES, "warn it is"},
	{"strategy", "DAXMR_STRATEGY", read_strategy, CONFIG_STRATEGY_VALUES,
	 "auto it is"},
	{"prefetch", "DAXMR_PREFETCH", read_prefetch, CONFIG_PREFETCH_VALUES,
	 "on it is"},
	{"stage-max", "DAXMR_STAGE_MAX", read_stage_max,
	 CONFIG_STAGE_MAX_VALUES, "auto it is"},
	{"flush-ms", "DAXMR_FLUSH_MS", read_flush_ms, CONFIG_FLUSH_MS_VALUES,
	 "1000 it is"},
	{"flush-cpu", "DAXMR_FLUSH_CPU", read_flush_cpu,
	 CONFIG_FLUSH_CPU_VALUES, VALUE(FLUSH_CPU) " it is"},
	{"quiesce-ms", "DAXMR_QUIESCE_MS", read_quiesce_ms,
	 CONFIG_QUIESCE_MS_VALUES, "1000 it is"},
	{"on-recall", "DAXMR_ON_RECALL", read_on_recall,
	 CONFIG_ON_RECALL_VALUES, "yield it is"},
	{"keys", "DAXMR_KEYS", read_keys, CONFIG_KEYS_VALUES, "change it is"},
	{"on-conflict", "DAXMR_ON_CONFLICT", read_on_conflict,
	 CONFIG_ON_CONFLICT_VALUES, "ours it is"},
	{"on-shrink", "DAXMR_ON_SHRINK", read_on_shrink,
	 CONFIG_ON_SHRINK_VALUES, "extend it is"},
	{"uffd", "DAXMR_UFFD", read_uffd, CONFIG_UFFD_VALUES, "full it is"},
	{"keeper", "DAXMR_KEEPER", read_keeper, CONFIG_KEEPER_VALUES,
	 "the program starts its own"},
};

static struct config config = {
	.strategy = STRATEGY_AUTO,
	.prefetch = UINT64_MAX,
	.stage_max = CONFIG_STAGE_MAX_AUTO,
	.flush_ms = 1000,
	.flush_cpu = FLUSH_CPU,
	.quiesce_ms = 1000,
	.log = LOG_WARN,
};

static void read_environment(void)
{
	static char keeper[KEEPER_LISTENER_MAX + 1];
	int saved_errno = errno;

	for (size_t i = 0; i < CONFIG_POLICIES; i++) {
		const struct config_policy *policy = &config_policies[i];
		const char *text = secure_getenv(policy->variable);

		if (text && policy->read(text, &config) < 0)
			log_write_at(config.log, LOG_WARN,
				     "%s=%s is not %s; %s", policy->variable,
				     text, policy->values, policy->instead);
	}
	/* The program may change its environment. */
	if (config.keeper)
		config.keeper = strcpy(keeper, config.keeper);
	errno = saved_errno;
}

const struct config *config_get(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, read_environment);
	return &config;
}
