/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../preload/standin.h"
#include "api_daemon.h"
#include "api_stories.h"

/* There has to be something to hold up. */
static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
		     struct ibv_send_wr **bad)
{
	(void)qp;
	(void)wr;
	(void)bad;
	return 0;
}

/* Without hooks nobody else could stop its work. */
static void region__of_which_the_program_is_not_asked(void **state)
{
	static const enum daxmr_on_recall others[] = {
		DAXMR_ON_RECALL_DEFAULT,
		DAXMR_ON_RECALL_YIELD,
		DAXMR_ON_RECALL_SEVER,
	};
	const char *preload = getenv("LD_PRELOAD");
	bool has_hooks = preload && strstr(preload, "libdaxmr-preload");
	struct daemon_file file;
	int r;

	(void)state;
	daemon_open(&file);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		const struct daxmr_options options = {
			.size = sizeof(options),
			.strategy = DAXMR_STRATEGY_PINNED,
			.on_recall = others[i],
		};

		r = daxmr_reg_mr(standin_pd(), file.addr, DAEMON_SIZE,
				 IBV_ACCESS_LOCAL_WRITE, &options,
				 &file.region);
		assert_int_equal(r, has_hooks ? 0 : -EOPNOTSUPP);
		if (has_hooks) {
			assert_int_equal(daxmr_dereg_mr(file.region), 0);
			file.region = NULL;
		} else {
			assert_non_null(strstr(daxmr_errormsg(),
					       "DAXMR_ON_RECALL_ASK"));
		}
	}
	daemon_close(&file);
}

/* Its peers are told new ones by the program. */
static void region__whose_program_is_asked_has_no_key_that_stays(void **state)
{
	struct daxmr_options options = {
		.size = sizeof(options),
		.strategy = DAXMR_STRATEGY_PINNED,
		.on_recall = DAXMR_ON_RECALL_ASK,
		.keys = DAXMR_KEYS_WINDOW,
	};
	struct daemon_file file;

	(void)state;
	daemon_open(&file);
	options.channel = file.channel;
	assert_int_equal(daxmr_reg_mr(standin_pd(), file.addr, DAEMON_SIZE,
				      IBV_ACCESS_LOCAL_WRITE, &options,
				      &file.region),
			 -EINVAL);
	assert_non_null(strstr(daxmr_errormsg(), "daxmr_options.keys"));
	daemon_close(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(region__of_which_the_program_is_not_asked),
		cmocka_unit_test(
			region__whose_program_is_asked_has_no_key_that_stays),
	};

	standin_pd()->context->ops.post_send = post_send;
	api_pinned_stories_for(standin_pd());
	return cmocka_run_group_tests(tests, NULL, NULL) +
	       cmocka_run_group_tests(api_pinned_stories, NULL, NULL);
}
