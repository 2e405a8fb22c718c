/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What if it fails, once it was there?  A seccomp filter that was installed
 * later would do that.  By then other threads have published pins by plain
 * stores, and nothing but this call makes them order those before their loads:
 * a signal to each thread is not ours to send, and a tour of all processors by
 * sched_setaffinity(2) is no promise of the kernel's and as easily forbidden.
 * Going on would be a fence that is done too early (L3), which is memory that a
 * device may still write to after it has been handed to somebody else.  So the
 * process ends, and says why.  Who wants to forbid the call does so before the
 * instance is made, which then does without.
 */
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
	static const char why[] =
		"libviommu: membarrier(2) fails, which worked before: the "
		"fences of this process cannot be kept\n";

	if (!syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
		return;
	/* nothing to be done if nobody hears */
	if (write(STDERR_FILENO, why, sizeof(why) - 1) < 0)
		abort();
	abort();
}
