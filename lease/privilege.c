/* SPDX-License-Identifier: BSD-2-Clause */
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "privilege.h"

bool privilege_has(unsigned int capability)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3,
						  0};
	struct __user_cap_data_struct data[2] = {{0}};

	return !syscall(SYS_capget, &header, data) &&
	       data[CAP_TO_INDEX(capability)].effective &
		       CAP_TO_MASK(capability);
}
