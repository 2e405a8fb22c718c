/* SPDX-License-Identifier: BSD-2-Clause */
#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PATH = 8192,
};

static struct choice path[PATH];
static unsigned length, at;
static bool known; /* what follows was seen */

static struct choice orders[PATH]; /* to follow */
static unsigned norders;
static bool following;

/* ---- states ------------------------------------------------------------- */

struct state {
	uint64_t key; /* 0: none */
	unsigned budget;
};

static struct state *states;
static unsigned long nstates, room;

static struct state *state_slot(uint64_t key)
{
	unsigned long i = key & (room - 1);

	while (states[i].key && states[i].key != key)
		i = (i + 1) & (room - 1);
	return &states[i];
}

static void states_grow(void)
{
	struct state *old = states;
	unsigned long n = room;

	room = room ? room * 2 : 1 << 14;
	states = calloc(room, sizeof(*states));
	if (!states)
		abort();
	for (unsigned long i = 0; i < n; i++)
		if (old[i].key)
			*state_slot(old[i].key) = old[i];
	free(old);
}

void explore_state(uint64_t key, unsigned budget)
{
	struct state *s;

	/* the way to the first new choice was seen, of course */
	if (following || known || at < length)
		return;
	key = key ? key : 1;
	if (nstates * 2 >= room)
		states_grow();
	s = state_slot(key);
	if (s->key && s->budget >= budget) {
		known = true;
		return;
	}
	nstates += !s->key;
	s->key = key;
	s->budget = budget;
}

unsigned long explore_states(void)
{
	return nstates;
}

/* ---- paths -------------------------------------------------------------- */

void explore_reset(void)
{
	free(states);
	states = NULL;
	nstates = room = 0;
	length = 0;
	following = false;
}

void explore_begin(void)
{
	at = 0;
	known = false;
}

bool explore_next(void)
{
	while (length && path[length - 1].c + 1 >= path[length - 1].n)
		length--;
	if (!length)
		return false;
	path[length - 1].c++;
	return true;
}

static int follow(const struct choice *c, const signed char *values)
{
	for (unsigned i = 0; i < norders; i++)
		if (orders[i].thread == c->thread && orders[i].op == c->op &&
		    orders[i].buffer == c->buffer)
			return orders[i].value;
	return values[0];
}

int explore_choose(struct choice c, const signed char *values)
{
	if (following)
		return follow(&c, values);
	if (at == length) {
		if (known)
			return values[0];
		if (length == PATH)
			abort();
		c.c = 0;
		path[length++] = c;
	}
	/* the same prefix must lead to the same choice */
	if (path[at].n != c.n || path[at].thread != c.thread ||
	    path[at].op != c.op) {
		fprintf(stderr, "the code under test is not deterministic\n");
		exit(3);
	}
	path[at].value = values[path[at].c];
	return path[at++].value;
}

/* ---- as text ------------------------------------------------------------ */

void explore_print(char *buf, unsigned long size)
{
	unsigned long n = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < at && n + 1 < size; i++) {
		const struct choice *c = &path[i];

		if (!c->c)
			continue;
		n += (unsigned long)snprintf(buf + n, size - n, "%s%d.%u.%d=%d",
					     n ? "," : "", c->thread, c->op,
					     c->buffer, c->value);
	}
	if (!buf[0])
		snprintf(buf, size, "default");
}

bool explore_follow(const char *s)
{
	explore_reset();
	following = true;
	norders = 0;
	if (!strcmp(s, "default"))
		return true;
	for (;; s++) {
		struct choice *o = &orders[norders++];
		int value, used;

		if (norders == PATH ||
		    sscanf(s, "%d.%u.%d=%d%n", &o->thread, &o->op, &o->buffer,
			   &value, &used) != 4)
			return false;
		o->value = (signed char)value;
		s += used;
		if (*s != ',')
			return !*s;
	}
}
