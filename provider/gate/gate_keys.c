/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table is read without a lock, by posts and receives. So an entry stays in
 * its chain for ever; one that is not promised any more has no context, and is
 * taken again for another key of that chain.
 */
#include <errno.h>
#include <stdlib.h>

#include "gate_context.h"
#include "gate_keys.h"
#include "gate_mark.h"

#define CHAINS 256

struct entry {
	struct ibv_context *_Atomic context; /* NULL: free */
	_Atomic uint32_t promised;
	_Atomic uint32_t actual; /* 0: none for now */
	struct entry *_Atomic next;
};

static struct entry *_Atomic chains[CHAINS];

/* mlx5 has an index in the upper 24 bits and few values below. */
static struct entry *_Atomic *chain_of(uint32_t lkey)
{
	return &chains[(lkey ^ lkey >> 8 ^ lkey >> 16) % CHAINS];
}

static struct entry *find(const struct ibv_context *context, uint32_t promised)
{
	struct entry *entry = *chain_of(promised);

	while (entry &&
	       (entry->context != context || entry->promised != promised))
		entry = entry->next;
	return entry;
}

uint32_t gate_key_actual(const struct ibv_context *context, uint32_t lkey)
{
	const struct entry *entry = find(context, lkey);

	return entry ? entry->actual : lkey;
}

static struct entry *add(struct ibv_context *context, uint32_t promised,
			 uint32_t actual)
{
	struct entry *_Atomic *chain = chain_of(promised);
	struct entry *entry = *chain;

	while (entry && entry->context)
		entry = entry->next;
	if (entry) {
		entry->actual = actual;
		entry->promised = promised;
		entry->context = context;
		return entry;
	}
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return NULL;
	entry->actual = actual;
	entry->promised = promised;
	entry->context = context;
	entry->next = *chain;
	*chain = entry;
	return entry;
}

int gate_key_promise(struct ibv_context *context, uint32_t promised,
		     uint32_t actual)
{
	struct gate_context *found;
	struct gate_locked locked;
	struct entry *entry;
	int r = 0;

	gate_lock(&locked);
	found = gate_context_find_locked(context);
	if (!found)
		r = -EINVAL;
	else if (actual != promised)
		r = gate_translate_locked(found);
	entry = r ? NULL : find(context, promised);
	if (entry)
		entry->actual = actual;
	else if (!r && !add(context, promised, actual))
		r = -ENOMEM;
	gate_unlock(&locked);
	return r;
}

/* Sends are of a provider, receives of a context. */
void gate_keys_look_again_locked(const struct ibv_context *context)
{
	struct gate_context *found = gate_context_find_locked(context);
	bool is_any, is_here = false;
	const struct entry *entry;

	if (!found)
		return;
	is_any = gate_windows_are_bindable_locked(found->post_send);
	for (size_t i = 0; i < CHAINS; i++)
		for (entry = chains[i]; entry; entry = entry->next)
			if (entry->context &&
			    entry->actual != entry->promised) {
				is_any |= gate_context_is_of_locked(
					entry->context, found->post_send);
				is_here |= entry->context == context;
			}
	if (!is_here)
		gate_untranslate_locked(found, !is_any);
}

void gate_key_forget(struct ibv_context *context, uint32_t promised)
{
	struct gate_locked locked;
	struct entry *entry;

	gate_lock(&locked);
	entry = find(context, promised);
	if (entry) {
		entry->context = NULL;
		gate_keys_look_again_locked(context);
	}
	gate_unlock(&locked);
}

void gate_keys_forget_locked(const struct ibv_context *context)
{
	struct entry *entry;

	for (size_t i = 0; i < CHAINS; i++)
		for (entry = chains[i]; entry; entry = entry->next)
			if (entry->context == context)
				entry->context = NULL;
	gate_keys_look_again_locked(context);
}

bool gate_key_is_taken(struct ibv_context *context, uint32_t lkey)
{
	return gate_key_actual(context, lkey) != lkey;
}
