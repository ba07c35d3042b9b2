/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "trust_thread.h"

#define STACK_BYTES (256 << 10)

struct work {
	void (*run)(void *);
	void *arg;
};

static __thread bool is_ours __attribute__((tls_model("initial-exec")));

static void *start(void *arg)
{
	const struct work *work = arg;

	is_ours = true;
	work->run(work->arg);
	return NULL;
}

int thread_run(void (*run)(void *), void *arg)
{
	struct work work = {run, arg};
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;
	int cancel, err;

	err = pthread_attr_init(&attr);
	if (err)
		return -err;
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	/* The new thread has the mask of the one that makes it. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, &attr, start, &work);
	if (err == EINVAL) /* too little for the program's thread-local data */
		err = pthread_create(&thread, NULL, start, &work);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (!err)
		pthread_join(thread, NULL);
	pthread_setcancelstate(cancel, NULL);
	return -err;
}

bool thread_is_ours(void)
{
	return is_ours;
}
