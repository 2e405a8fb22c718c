/* SPDX-License-Identifier: BSD-2-Clause */
#include "sweep.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"

enum {
	RETRIES = 3,
	STARTED = 5, /* allocations that any sequence has */
	STEPS_MAX = 160,
};

/* One run; of what went wrong, where. */
struct run {
	const struct sweep *s;
	void *world;
	unsigned nth; /* 0: none fails */
	enum alloc_mode mode;
	unsigned i;		  /* the step */
	unsigned upto[STEPS_MAX]; /* allocations up to and with each step */
};

#define SAY(run, what, ...)                                              \
	fail_msg("call %u%s, step %u (%s): " what, (run)->nth,           \
		 (run)->mode == ALLOC_ONWARD ? " and all after it" : "", \
		 (run)->i,                                               \
		 (run)->i < (run)->s->steps                              \
			 ? (run)->s->name((run)->world, (run)->i)        \
			 : "end",                                        \
		 __VA_ARGS__)

void view_say(struct view *view, const char *fmt, ...)
{
	size_t room = sizeof(view->text) - view->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(view->text + view->len, room, fmt, ap);
	va_end(ap);
	assert_true(n >= 0 && (size_t)n < room);
	view->len += (size_t)n;
}

static void look(struct run *r, struct view *view)
{
	unsigned asked = alloc_asked();

	view->len = 0;
	r->s->look(r->world, r->i, view);
	if (alloc_asked() != asked)
		SAY(r, "looking made %u allocations", alloc_asked() - asked);
}

static void views_compare(struct run *r, const struct view *a,
			  const struct view *b, const char *what)
{
	size_t i = 0, line = 0;

	if (a->len == b->len && !memcmp(a->text, b->text, a->len))
		return;
	for (; i < a->len && i < b->len && a->text[i] == b->text[i]; i++)
		if (a->text[i] == '\n')
			line = i + 1;
	SAY(r, "%s: \"%.*s\" became \"%.*s\"", what,
	    (int)strcspn(a->text + line, "\n"), a->text + line,
	    (int)strcspn(b->text + line, "\n"), b->text + line);
}

static unsigned descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Is @rc what the failure of @calls leads to? */
static bool explained(const struct run *r, unsigned calls, int rc)
{
	static const int errors[CALLS] = {
		[CALL_ALLOC] = -ENOMEM,		 [CALL_MMAP] = -ENOMEM,
		[CALL_FSTAT] = -EBADF,		 [CALL_GETFL] = -EBADF,
		[CALL_MEMBARRIER] = -EOPNOTSUPP,
	};
	unsigned spared = 1u << CALL_MADVISE | 1u << CALL_GET_SEALS |
			  1u << CALL_MEMBARRIER;

	/* a file is mapped whole, or else the part of it that is needed */
	if (r->mode == ALLOC_ONCE)
		spared |= 1u << CALL_MMAP;
	if (!rc)
		return !(calls & (~spared | r->s->needed));
	for (unsigned i = 0; i < CALLS; i++)
		if ((calls & 1u << i) && errors[i] == rc)
			return true;
	return false;
}

/* Step r->i, which has just failed, would fail again, and has no effect. */
static void step_failed(struct run *r, int rc, const struct view *before)
{
	static struct view after;
	size_t live = 0;

	for (int i = 0;; i++) {
		if (!rc || !explained(r, alloc_failed_calls(), rc))
			SAY(r, "returned %d (%s)", rc, strerror(-rc));
		look(r, &after);
		views_compare(r, before, &after, "failed, and changed");
		/* the first time tables may go to the instance's pool */
		if (i > 1 && alloc_live() != live)
			SAY(r, "%zd blocks more at each failure",
			    (ssize_t)(alloc_live() - live));
		if (r->mode == ALLOC_ONCE || i == RETRIES)
			return;
		live = alloc_live();
		rc = r->s->step(r->world, r->i);
	}
}

static void step_do(struct run *r)
{
	unsigned failed = alloc_failed();
	int rc = r->s->step(r->world, r->i);

	if (!r->nth)
		r->upto[r->i] = alloc_asked();
	if (rc)
		SAY(r, "returned %d (%s)", rc, strerror(-rc));
	if (alloc_failed() != failed)
		SAY(r, "%s", "it makes more calls when it is tried again");
}

/* Do step r->i, of which calls may fail: false if it does so for good. */
static bool step_do_failing(struct run *r)
{
	static struct view before;
	unsigned failed = alloc_failed();
	int rc;

	look(r, &before);
	(void)alloc_failed_calls();
	rc = r->s->step(r->world, r->i);
	if (alloc_failed() == failed && r->mode == ALLOC_ONCE)
		SAY(r, "it made fewer calls than before: %d", rc);
	if (!rc && explained(r, alloc_failed_calls(), 0))
		return true;
	step_failed(r, rc, &before);
	if (r->mode == ALLOC_ONWARD)
		return false;
	step_do(r);
	return true;
}

/* Whether a call that is to fail is one of step r->i. */
static bool step_is_to_fail(const struct run *r)
{
	if (!r->nth || r->nth > r->upto[r->i])
		return false;
	return r->mode == ALLOC_ONWARD || !r->i || r->nth > r->upto[r->i - 1];
}

/* The number of allocations; *@end: how it came out, if it did. */
static unsigned run(struct run *r, struct view *end)
{
	unsigned asked, fds = descriptors();
	size_t live = alloc_live();

	alloc_fail(r->nth, r->mode);
	for (r->i = 0; r->i < r->s->steps; r->i++)
		if (!step_is_to_fail(r))
			step_do(r);
		else if (!step_do_failing(r))
			break;
	if (r->i == r->s->steps)
		look(r, end);
	asked = alloc_asked();
	r->s->teardown(r->world);
	if (alloc_asked() != asked)
		SAY(r, "teardown made %u calls", alloc_asked() - asked);
	alloc_fail(0, ALLOC_ONCE);
	if (alloc_live() != live)
		SAY(r, "%zd blocks leaked", (ssize_t)(alloc_live() - live));
	if (descriptors() != fds)
		SAY(r, "%d descriptors leaked", (int)(descriptors() - fds));
	return asked;
}

void sweep(const struct sweep *s, void *world)
{
	static struct view expected, end;
	struct run r = { .s = s, .world = world };
	unsigned n;

	assert_true(s->steps <= STEPS_MAX);
	n = run(&r, &expected);
	assert_true(n >= STARTED);
	do {
		r.nth++;
		r.mode = ALLOC_ONWARD;
		run(&r, &end);
		r.mode = ALLOC_ONCE;
		run(&r, &end);
		views_compare(&r, &expected, &end, "came out differently");
	} while (r.nth <= n);
	alloc_fail(0, ALLOC_ONCE);
	print_message("%u calls that can fail\n", n);
}
