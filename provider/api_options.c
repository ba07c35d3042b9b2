/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What daxmr_reg_mr() is told, in the words of route.h and policy.h.
 *
 * A program that was built with a newer header has a longer structure: what is
 * behind our end has to be 0. An older one's is shorter: the rest counts as 0.
 */
#include <errno.h>
#include <string.h>

#include "api_region.h"
#include "config.h"
#include "log.h"

#define QUIESCE_MS     1000U
#define QUIESCE_MS_MAX 60000U
#define FLUSH_MS_MAX   3600000U

static int refuse(const char *field, const char *values)
{
	log_sentence(LOG_WARN, "daxmr_options.%s has to be %s", field, values);
	return -EINVAL;
}

static int copy(const struct daxmr_options *given, struct daxmr_options *ret)
{
	const char *bytes = (const char *)given;
	size_t size = given->size;

	memset(ret, 0, sizeof(*ret));
	if (size < sizeof(given->size)) {
		log_sentence(LOG_WARN,
			     "daxmr_options.size is %zu: it has to be "
			     "sizeof(struct daxmr_options), %zu here",
			     size, sizeof(*ret));
		return -EINVAL;
	}
	for (size_t i = sizeof(*ret); i < size; i++) {
		if (!bytes[i])
			continue;
		log_sentence(LOG_WARN,
			     "daxmr_options has an option at byte %zu that "
			     "this libdaxmr (%s), which knows %zu bytes, is "
			     "too old for: install a newer one, or leave it 0",
			     i, daxmr_version(), sizeof(*ret));
		return -EINVAL;
	}
	memcpy(ret, given, size < sizeof(*ret) ? size : sizeof(*ret));
	return 0;
}

static int read_strategy(enum daxmr_strategy given, enum strategy *ret)
{
	static const enum strategy strategies[] = {
		[DAXMR_STRATEGY_AUTO] = STRATEGY_AUTO,
		[DAXMR_STRATEGY_PASSTHROUGH] = STRATEGY_PASSTHROUGH,
		[DAXMR_STRATEGY_ODP] = STRATEGY_ODP,
		[DAXMR_STRATEGY_STAGED] = STRATEGY_STAGED,
		[DAXMR_STRATEGY_PINNED] = STRATEGY_PINNED,
	};

	*ret = config_get()->strategy;
	if ((unsigned int)given >= sizeof(strategies) / sizeof(strategies[0]))
		return refuse("strategy", "one of enum daxmr_strategy");
	if (given != DAXMR_STRATEGY_DEFAULT)
		*ret = strategies[given];
	return 0;
}

/* Both have their values in the same order, ours behind a default. */
_Static_assert(DAXMR_ON_CONFLICT_OURS == ON_CONFLICT_OURS + 1 &&
		       DAXMR_ON_CONFLICT_THEIRS == ON_CONFLICT_THEIRS + 1 &&
		       DAXMR_ON_CONFLICT_ERROR == ON_CONFLICT_ERROR + 1,
	       "on_conflict");
_Static_assert(DAXMR_ON_SHRINK_EXTEND == ON_SHRINK_EXTEND + 1 &&
		       DAXMR_ON_SHRINK_DISCARD == ON_SHRINK_DISCARD + 1 &&
		       DAXMR_ON_SHRINK_ERROR == ON_SHRINK_ERROR + 1,
	       "on_shrink");
_Static_assert(DAXMR_KEYS_CHANGE == KEYS_CHANGE + 1 &&
		       DAXMR_KEYS_WINDOW == KEYS_WINDOW + 1,
	       "keys");

static int read_terms(const struct daxmr_options *given,
		      struct lease_terms *ret)
{
	const struct config *config = config_get();

	*ret = (struct lease_terms){
		.flush_ms = config->flush_ms,
		.flush_cpu = config->flush_cpu,
		.on_conflict = config->on_conflict,
		.on_shrink = config->on_shrink,
	};
	if ((unsigned int)given->on_conflict > DAXMR_ON_CONFLICT_ERROR)
		return refuse("on_conflict", "one of enum daxmr_on_conflict");
	if ((unsigned int)given->on_shrink > DAXMR_ON_SHRINK_ERROR)
		return refuse("on_shrink", "one of enum daxmr_on_shrink");
	if (given->flush_ms > FLUSH_MS_MAX &&
	    given->flush_ms != DAXMR_FLUSH_OFF)
		return refuse("flush_ms", "at most 3600000, DAXMR_FLUSH_OFF, "
					  "or 0 for the default");
	if (given->flush_cpu > 100)
		return refuse("flush_cpu",
			      "from 1 to 100, or 0 for the default");
	if (given->on_conflict)
		ret->on_conflict = (enum on_conflict)(given->on_conflict - 1);
	if (given->on_shrink)
		ret->on_shrink = (enum on_shrink)(given->on_shrink - 1);
	if (given->flush_ms)
		ret->flush_ms = given->flush_ms == DAXMR_FLUSH_OFF
					? 0
					: given->flush_ms;
	if (given->flush_cpu)
		ret->flush_cpu = given->flush_cpu;
	return 0;
}

static int read_recall(const struct daxmr_options *given,
		       struct daxmr_region *region)
{
	static const enum on_recall recalls[] = {
		[DAXMR_ON_RECALL_YIELD] = ON_RECALL_YIELD,
		[DAXMR_ON_RECALL_ASK] = ON_RECALL_ASK,
		[DAXMR_ON_RECALL_SEVER] = ON_RECALL_SEVER,
	};
	uint32_t ms = given->quiesce_ms ? given->quiesce_ms : QUIESCE_MS;

	if ((unsigned int)given->on_recall > DAXMR_ON_RECALL_SEVER)
		return refuse("on_recall", "one of enum daxmr_on_recall");
	if (given->on_recall == DAXMR_ON_RECALL_ASK && !given->channel)
		return refuse("channel", "there where on_recall is "
					 "DAXMR_ON_RECALL_ASK: who is to be "
					 "asked reads its events");
	if (given->quiesce_ms > QUIESCE_MS_MAX)
		return refuse("quiesce_ms",
			      "at most 60000, or 0 for the default");
	region->is_asked = given->on_recall == DAXMR_ON_RECALL_ASK;
	region->consent_ns = ms * 1000000LL;
	region->options.quiesce_ms = given->quiesce_ms
					     ? given->quiesce_ms
					     : config_get()->quiesce_ms;
	if ((unsigned int)given->keys > DAXMR_KEYS_WINDOW)
		return refuse("keys", "one of enum daxmr_keys");
	if (given->keys == DAXMR_KEYS_WINDOW && region->is_asked &&
	    region->options.strategy == STRATEGY_PINNED)
		return refuse("keys", "another than DAXMR_KEYS_WINDOW where "
				      "on_recall is DAXMR_ON_RECALL_ASK: the "
				      "program tells its peers the new ones");
	region->options.keys =
		region->is_asked ? KEYS_CHANGE : config_get()->keys;
	if (given->keys)
		region->options.keys = (enum keys)(given->keys - 1);
	region->options.on_recall = given->on_recall ? recalls[given->on_recall]
						     : config_get()->on_recall;
	return 0;
}

static bool has_terms(const struct daxmr_options *given)
{
	return given->on_conflict || given->on_shrink || given->flush_ms ||
	       given->flush_cpu;
}

static void read_sizes(const struct daxmr_options *given,
		       struct region_options *ret)
{
	ret->prefetch = config_get()->prefetch;
	ret->stage_max = config_get()->stage_max;
	if (given->prefetch == DAXMR_PREFETCH_OFF)
		ret->prefetch = 0;
	else if (given->prefetch == DAXMR_PREFETCH_ON)
		ret->prefetch = UINT64_MAX;
	else if (given->prefetch)
		ret->prefetch = given->prefetch;
	if (given->stage_max)
		ret->stage_max = given->stage_max;
}

int api_options_read(const struct daxmr_options *given,
		     struct daxmr_region *region,
		     struct daxmr_channel **ret_channel, void **ret_data)
{
	struct daxmr_options options = {0};
	int r = given ? copy(given, &options) : 0;

	if (!r && options.name && strlen(options.name) > DAXMR_NAME_MAX)
		r = refuse("name", "a text of at most 63 bytes");
	if (!r)
		r = read_strategy(options.strategy, &region->options.strategy);
	region->options.is_asked = options.strategy != DAXMR_STRATEGY_DEFAULT;
	if (!r)
		r = read_terms(&options, &region->terms);
	if (!r)
		r = read_recall(&options, region);
	if (!r && options.on_recall == DAXMR_ON_RECALL_SEVER &&
	    region->options.strategy != STRATEGY_PINNED)
		r = refuse("on_recall", "another than DAXMR_ON_RECALL_SEVER "
					"where the strategy is not pinned: "
					"only there peers have to be cut off");
	if (r)
		return r;
	read_sizes(&options, &region->options);
	region->options.terms = has_terms(&options) ? &region->terms : NULL;
	if (options.name)
		strcpy(region->name, options.name);
	*ret_channel = options.channel;
	*ret_data = options.data;
	return 0;
}
