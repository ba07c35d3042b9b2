/* SPDX-License-Identifier: BSD-2-Clause */
#include "../preload/cannot_trap.h"
#include "../preload/standin.h"
#include "api_stories.h"

int main(void)
{
	int skip = cannot_trap();

	if (skip)
		return skip;
	standin_control()->refuse_files = 14; /* EFAULT */
	api_stories_for(standin_pd());
	return cmocka_run_group_tests(api_stories, NULL, NULL);
}
