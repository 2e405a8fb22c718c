/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_MODEL_EXPLORE_H
#define TESTS_MODEL_EXPLORE_H

/*
 * The tree of choices, walked depth first, one path a schedule; and the states
 * that were reached.  Knows nothing of threads.
 */

#include <stdbool.h>
#include <stdint.h>

/* Where a choice is made: it has to mean the same in every process. */
struct choice {
	int thread;	   /* whose operation, or -1 */
	unsigned op;	   /* its how manieth, counting all */
	int buffer;	   /* whose store buffer; or -1: who goes on */
	unsigned char n;   /* alternatives */
	unsigned char c;   /* taken */
	signed char value; /* what it means */
};

/* Forget everything. */
void explore_reset(void);

/* Go to the next path; false: that was the last. */
bool explore_next(void);

/* A new path begins at its root. */
void explore_begin(void);

/* Take one of @n; @values[0] is the default. */
int explore_choose(struct choice at, const signed char *values);

/*
 * Has @state been reached before, with at least @budget preemptions left?  If
 * so what follows is known: choices are defaults from here on.
 */
void explore_state(uint64_t state, unsigned budget);

unsigned long explore_states(void);

/* Of the path so far, all that is not default. */
void explore_print(char *buf, unsigned long size);

/* Follow what explore_print() printed.  False: it is not that. */
bool explore_follow(const char *schedule);

#endif
