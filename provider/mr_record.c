/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>

#include "mr_record.h"

/* Protects the tree. Held across fork, so that a child can deregister. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *tree;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void lock_tree(void)
{
	pthread_mutex_lock(&lock);
}

static void unlock_tree(void)
{
	pthread_mutex_unlock(&lock);
}

static void hold_across_fork(void)
{
	pthread_atfork(lock_tree, unlock_tree, unlock_tree);
}

static int by_address(const void *a, const void *b)
{
	const struct mr_record *left = a, *right = b;

	if (left->mr == right->mr)
		return 0;
	return (uintptr_t)left->mr < (uintptr_t)right->mr ? -1 : 1;
}

static int add(const struct mr_record *record)
{
	struct mr_record *copy = malloc(sizeof(*copy)), **node;

	if (!copy)
		return -ENOMEM;
	*copy = *record;
	pthread_mutex_lock(&lock);
	node = tsearch(copy, &tree, by_address);
	pthread_mutex_unlock(&lock);
	if (node)
		return 0;
	free(copy);
	return -ENOMEM;
}

/* An MR is its caller's: nobody else puts or takes its record meanwhile. */
int mr_record_put(const struct mr_record *record)
{
	struct mr_record **node;

	pthread_once(&once, hold_across_fork);
	pthread_mutex_lock(&lock);
	node = tfind(record, &tree, by_address);
	if (node)
		**node = *record;
	pthread_mutex_unlock(&lock);
	return node ? 0 : add(record);
}

bool mr_record_get(const struct ibv_mr *mr, struct mr_record *ret)
{
	struct mr_record key = {.mr = mr}, **node;

	pthread_mutex_lock(&lock);
	node = tfind(&key, &tree, by_address);
	if (node)
		*ret = **node;
	pthread_mutex_unlock(&lock);
	return node != NULL;
}

bool mr_record_take(const struct ibv_mr *mr, struct mr_record *ret)
{
	struct mr_record key = {.mr = mr}, **node, *found = NULL;

	pthread_mutex_lock(&lock);
	node = tfind(&key, &tree, by_address);
	if (node) {
		found = *node;
		tdelete(&key, &tree, by_address);
	}
	pthread_mutex_unlock(&lock);
	if (!found)
		return false;
	*ret = *found;
	free(found);
	return true;
}
