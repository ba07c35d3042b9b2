/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine.h"

const struct engine *daxmr_private_engine(unsigned int version)
{
	static const struct engine engine = {
		.reg = region_register,
		.rereg = region_reregister,
		.dereg = region_deregister,
	};

	return version == DAXMR_ENGINE_VERSION ? &engine : NULL;
}
