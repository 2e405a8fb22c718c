/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random streams against the oracle, in every kind of world.  A stream that
 * fails is made as short as it can be and printed as calls.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "cells.h"

enum {
	LENGTH = 150,
	WORLDS = LAYOUTS * 3 * 3 * 2, /* granules, policies, apertures */
	SEEDS = 60,		      /* in each */
};

static void explain(struct stream *s, uint64_t seed)
{
	unsigned runs = stream_shrink(s, stream_run);

	fprintf(stderr, "seed %llu, after %u shorter runs:\n",
		(unsigned long long)seed, runs);
	stream_print(stderr, s);
	fprintf(stderr, "%s\n", stream_run(s));
}

static void run(uint64_t seed, unsigned world)
{
	static struct stream s;

	stream_random(&s, seed, LENGTH);
	s.setup = (struct setup){ .layout = (uint8_t)(world % LAYOUTS),
				  .granule = (uint8_t)(world / LAYOUTS % 3),
				  .policy = (uint8_t)(world / LAYOUTS / 3 % 3),
				  .aperture = world / LAYOUTS / 9 ? 3 : 0 };
	/* every other world is watched: the others' writers go another way */
	s.setup.aperture |= seed % 2 ? SETUP_RECORDERS : 0;
	if (!stream_run(&s))
		return;
	explain(&s, seed);
	fail();
}

static void library_and_oracle_agree(void **state)
{
	const char *seeds = getenv("ORACLE_SEEDS");
	unsigned n = seeds ? (unsigned)atoi(seeds) : SEEDS;

	(void)state;
	stream_seen = (struct stream_seen){ 0 };
	for (unsigned world = 0; world < WORLDS; world++)
		for (unsigned i = 0; i < n; i++)
			run(world * UINT64_C(1000003) + i, world);
	print_message("# seeds %u x 1000003 + 0 to %u\n", WORLDS - 1, n - 1);
}

/* Or the above says less than it seems to. */
static void streams_get_somewhere(void **state)
{
	const struct stream_seen *n = &stream_seen;

	(void)state;
	print_message("# mapped %lu, taken %lu, accesses %lu, refused %lu, "
		      "held %lu, asked to let go %lu, fences %lu, that waited "
		      "%lu, questions %lu\n",
		      n->mapped, n->taken, n->accesses, n->refused, n->held,
		      n->asked, n->fences, n->waited, n->questions);
	assert_true(n->mapped > 5000);
	assert_true(n->taken > 1000);
	assert_true(n->accesses > 2000);
	assert_true(n->refused > 2000);
	assert_true(n->held > 500);
	assert_true(n->asked > 50);
	assert_true(n->fences > 5000);
	assert_true(n->waited > 100);
	assert_true(n->questions > 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(library_and_oracle_agree),
		cmocka_unit_test(streams_get_somewhere),
	};

	return cmocka_run_group_tests_name("oracle", tests, NULL, NULL);
}
