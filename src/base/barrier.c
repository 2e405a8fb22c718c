/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/barrier.h"

#include <linux/membarrier.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

bool vi_membarrier_setup(void)
{
	/* registering again is harmless, and needed after fork() */
	return !syscall(SYS_membarrier,
			MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

void vi_membarrier(void)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
		abort(); /* registered: it has no way to fail, and without it
			  * the law would be broken silently */
}
