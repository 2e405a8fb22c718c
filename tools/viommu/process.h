/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_PROCESS_H
#define TOOLS_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "lines.h"

struct process_config {
	const char *const *argv; /* argv[0] is looked for in PATH */
	const char *cwd;	 /* NULL: ours */
	int pass[2];		 /* become 3 and 4 there; 0: nothing */
	int death;		 /* its signal if we die; 0: SIGTERM */
	lines_fn *out, *err;	 /* lines of its output; NULL: nowhere */
	void (*ended)(void *arg);
	void *arg;
};

/* Another program, in a process group of its own, that ends when we do. */
struct process {
	struct viommu_loop *loop;
	pid_t pid; /* 0: none runs */
	int pidfd;
	int status; /* as waitpid(2) has it, once ended */
	struct lines out, err;
	void (*ended)(void *arg);
	void *arg;
};

/* Start it.  0 or -errno; -ENOENT: there is no such program. */
int process_start(struct process *p, const struct process_config *cfg,
		  struct viommu_loop *loop);

/* End it and all that it started, if it still runs; tell what it wrote. */
void process_stop(struct process *p);

/* Start it and wait until it ended.  Its exit status, 128 + signal, or
 * -errno; -EINTR: we were asked to stop. */
int process_run(const struct process_config *cfg);

#endif
