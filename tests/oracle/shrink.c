/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Delta debugging: leave out halves, quarters ... single operations; then make
 * what is left plainer, a field at a time.
 */
#include <string.h>

#include "stream.h"

struct shrinking {
	struct stream *s;
	stream_run_fn *run;
	unsigned runs;
};

/* Keep @try if it still fails. */
static bool keep(struct shrinking *k, const struct stream *try)
{
	k->runs++;
	if (!k->run(try))
		return false;
	*k->s = *try;
	return true;
}

/* Without [at, at + n - 1]? */
static bool without(struct shrinking *k, unsigned at, unsigned n)
{
	struct stream try = *k->s;

	if (at + n > try.n)
		n = try.n - at;
	memmove(&try.op[at], &try.op[at + n],
		(try.n - at - n) * sizeof(try.op[0]));
	try.n -= n;
	return keep(k, &try);
}

static bool leave_out(struct shrinking *k)
{
	bool any = false;

	for (unsigned n = k->s->n / 2; n; n /= 2)
		for (unsigned at = 0; at < k->s->n;)
			if (without(k, at, n))
				any = true;
			else
				at += n;
	return any;
}

static bool plainer(struct shrinking *k, unsigned at, unsigned field)
{
	struct stream try = *k->s;
	uint8_t *byte = (uint8_t *)&try.op[at] + field, was = *byte;

	if (!was)
		return false;
	*byte = 0;
	if (keep(k, &try))
		return true;
	*byte = was / 2;
	return keep(k, &try);
}

static bool simplify(struct shrinking *k)
{
	bool any = false;

	for (unsigned i = 0; i < k->s->n; i++)
		/* but not what it does */
		for (unsigned f = 1; f < sizeof(struct op); f++)
			any |= plainer(k, i, f);
	return any;
}

unsigned stream_shrink(struct stream *s, stream_run_fn *run)
{
	struct shrinking k = { .s = s, .run = run };
	bool any = true;

	for (int round = 0; any && round < 8; round++) {
		any = leave_out(&k);
		any |= simplify(&k);
	}
	return k.runs;
}
