/* SPDX-License-Identifier: BSD-2-Clause */
#include "daxmr.h"
#include "log.h"

#define STRING(x)    #x
#define STRING_OF(x) STRING(x)

__attribute__((visibility("default"))) const char *daxmr_version(void)
{
	return STRING_OF(DAXMR_VERSION_MAJOR) "." STRING_OF(
		DAXMR_VERSION_MINOR) "." STRING_OF(DAXMR_VERSION_PATCH);
}

__attribute__((visibility("default"))) const char *daxmr_errormsg(void)
{
	return log_last_sentence();
}
