/* SPDX-License-Identifier: BSD-2-Clause */

/* Guests' memory in emulators' processes: who is told what when pages are given
 * up, and when they may be recycled. */

#include "share.h"

/* ----------------------------------------------------------- who is told */

static void the_users_of_those_pages_are_told_and_nobody_else(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;

	for (int i = 0; i < 3; i++)
		child_connect(&w->child[i], 0);
	child_map(&w->child[0], A, 0, 10);
	child_map(&w->child[1], A, 20, 10);
	child_map(&w->child[2], B, 0, 10);
	give_up(w, 0, 4, 2, &f);
	child_told(&w->child[0], A, 4, 2);
	fence_ends(&f);
	assert_int_equal(stats(w).invalidations, 1);
	/* across two users, each is told its part */
	give_up(w, 0, 8, 14, &f);
	child_told(&w->child[1], A, 20, 2);
	child_told(&w->child[0], A, 8, 2);
	fence_ends(&f);
	assert_int_equal(stats(w).invalidations, 3);
	assert_int_equal(stats(w).invalidations_all, 0);
	/* pages that nobody has */
	give_up(w, 0, 100, 10, &f);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(stats(w).bytes, GPA(6 + 8 + 10));
}

static void what_is_left_stays_where_it_is(void **state)
{
	struct world *w = *state;
	struct child *k = &w->child[0];
	struct viommu_fence f;
	uint64_t slot;

	child_connect(k, 0);
	slot = child_map(k, A, 0, 10);
	give_up(w, 0, 4, 2, &f);
	child_told(k, A, 4, 2);
	fence_ends(&f);
	for (unsigned p = 0; p < 10; p++)
		if (p != 4 && p != 5)
			assert_int_equal(child_peek(k, slot, GPA(p) + 9),
					 content(A, p));
	/* it is the guest's memory, not a copy */
	w->ram[0][GPA(6)] = 0xa5;
	assert_int_equal(child_peek(k, slot, GPA(6)), 0xa5);
	child_ask(k, (struct order){ DO_POKE, { slot, GPA(3) + 1, 0x5a }, 0 });
	assert_int_equal(w->ram[0][GPA(3) + 1], 0x5a);
	/* and goes in its turn */
	give_up(w, 0, 0, 10, &f);
	child_told_both(k, 0, 4, 6, 4);
	fence_ends(&f);
	assert_int_equal(stats(w).maps, 0);
}

static void a_page_is_not_recycled_before_the_answer(void **state)
{
	struct world *w = *state;
	struct vs_share_msg m;
	struct viommu_fence f;
	int fd = raw_connect(w);

	raw_hello(fd, VS_SHARE_TARGETED);
	raw_map(fd, A, 0, 4);
	give_up(w, 0, 1, 1, &f);
	assert_true(raw_recv(fd, &m, NULL));
	assert_int_equal(m.kind, VS_SHARE_INVALIDATE);
	assert_int_equal(m.owner, A);
	assert_int_equal(m.gpa, GPA(1));
	assert_int_equal(m.len, PAGE);
	/* the server has heard something else since */
	raw_send(fd, &(struct vs_share_msg){ .kind = VS_SHARE_UNMAP,
					     .id = 5,
					     .owner = A,
					     .gpa = GPA(1),
					     .len = PAGE });
	raw_done(fd, 5, 0);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(stats(w).invalidations_left, 1);
	raw_send(fd, &(struct vs_share_msg){ .kind = VS_SHARE_INVALIDATED,
					     .id = m.id });
	fence_ends(&f);
	raw_unmap_all(fd, A);
	close(fd);
}

static void each_give_up_waits_for_its_own_maps(void **state)
{
	struct world *w = *state;
	struct vs_share_msg m[2];
	struct viommu_fence f[2];
	int fd = raw_connect(w);

	raw_hello(fd, VS_SHARE_TARGETED);
	raw_map(fd, A, 0, 50);
	raw_map(fd, A, 50, 50);
	for (int i = 0; i < 2; i++) {
		give_up(w, 0, i ? 50 : 10, 1, &f[i]);
		assert_true(raw_recv(fd, &m[i], NULL));
		assert_int_equal(m[i].gpa, GPA(i ? 50 : 10));
		assert_int_equal(m[i].len, PAGE);
	}
	raw_send(fd, &(struct vs_share_msg){ .kind = VS_SHARE_INVALIDATED,
					     .id = m[1].id });
	fence_ends(&f[1]);
	assert_false(viommu_fence_done(&f[0]));
	raw_send(fd, &(struct vs_share_msg){ .kind = VS_SHARE_INVALIDATED,
					     .id = m[0].id });
	fence_ends(&f[0]);
	raw_unmap_all(fd, A);
	close(fd);
}

/* The server is not there to look in between. */
static void pages_that_go_at_once_are_told_one_by_one(void **state)
{
	struct world *w = *state;
	struct viommu_fence f[2];
	struct vs_share_msg m[2];
	uint64_t seen = 0;
	int fd = raw_connect(w);

	raw_hello(fd, VS_SHARE_TARGETED);
	raw_map(fd, A, 0, 100);
	world_stop(w);
	give_up(w, 0, 10, 2, &f[0]);
	give_up(w, 0, 50, 3, &f[1]);
	world_start(w);
	for (int i = 0; i < 2; i++) {
		assert_true(raw_recv(fd, &m[i], NULL));
		seen += m[i].gpa * 16 + m[i].len;
	}
	assert_int_equal(seen, GPA(10) * 16 + GPA(2) + GPA(50) * 16 + GPA(3));
	for (int i = 0; i < 2; i++) {
		assert_false(viommu_fence_done(&f[1]));
		raw_send(fd,
			 &(struct vs_share_msg){ .kind = VS_SHARE_INVALIDATED,
						 .id = m[i].id });
	}
	fence_ends(&f[0]);
	fence_ends(&f[1]);
	assert_int_equal(stats(w).bytes, GPA(95));
	raw_unmap_all(fd, A);
	close(fd);
}

/* One fence, and what the library says goes is all between the two. */
static void pages_between_those_that_go_stay(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;
	struct vs_share_msg m;
	int fd = raw_connect(w);

	raw_hello(fd, VS_SHARE_TARGETED);
	raw_map(fd, A, 0, 100);
	viommu_fence_init(&f);
	for (unsigned p = 10; p <= 50; p += 40)
		assert_int_equal(
			viommu_memory_give_up(w->memory[0], GPA(p), PAGE, &f),
			0);
	viommu_fence_commit(&f, NULL, NULL);
	for (int i = 0; i < 2; i++) {
		assert_true(raw_recv(fd, &m, NULL));
		assert_int_equal(m.len, PAGE);
		assert_true(m.gpa == GPA(10) || m.gpa == GPA(50));
		assert_false(viommu_fence_done(&f));
		raw_send(fd,
			 &(struct vs_share_msg){ .kind = VS_SHARE_INVALIDATED,
						 .id = m.id });
	}
	fence_ends(&f);
	assert_int_equal(stats(w).bytes, GPA(98));
	raw_unmap_all(fd, A);
	close(fd);
}

static void pages_that_are_back_are_told_if_they_are_others(void **state)
{
	struct world *w = *state;
	struct viommu_fence f[3];
	struct vs_share_msg m;
	int fd = raw_connect(w);

	raw_hello(fd, VS_SHARE_TARGETED);
	raw_map(fd, A, 0, 100);
	world_stop(w);
	/* told of the first; the others are only found */
	give_up(w, 0, 10, 1, &f[0]);
	give_up(w, 0, 20, 1, &f[1]);
	put_back(w, 0, 20, 1);
	give_up(w, 0, 30, 1, &f[2]);
	assert_int_equal(
		viommu_memory_add(w->memory[0],
				  &(struct viommu_region){
					  .size = sizeof(struct viommu_region),
					  .gpa = GPA(30),
					  .len = PAGE,
					  .prot = RW,
					  .host = w->ram[1],
					  .fd = -1 }),
		0);
	world_start(w);
	for (int i = 0; i < 2; i++) {
		assert_true(raw_recv(fd, &m, NULL));
		assert_int_equal(m.len, PAGE);
		assert_true(m.gpa == GPA(10) || m.gpa == GPA(30));
		assert_false(viommu_fence_done(&f[2]));
		raw_send(fd,
			 &(struct vs_share_msg){ .kind = VS_SHARE_INVALIDATED,
						 .id = m.id });
	}
	for (int i = 0; i < 3; i++)
		fence_ends(&f[i]);
	assert_int_equal(stats(w).bytes, GPA(98));
	raw_unmap_all(fd, A);
	close(fd);
}

static void a_range_that_is_no_pages_takes_the_pages(void **state)
{
	struct world *w = *state;
	struct vs_share_msg m;
	struct viommu_fence f;
	int fd = raw_connect(w);

	raw_hello(fd, VS_SHARE_TARGETED);
	raw_map(fd, A, 0, 4);
	viommu_fence_init(&f);
	assert_int_equal(
		viommu_memory_give_up(w->memory[0], GPA(1) + 100, PAGE, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_true(raw_recv(fd, &m, NULL));
	assert_int_equal(m.gpa, GPA(1));
	assert_int_equal(m.len, GPA(2));
	raw_send(fd, &(struct vs_share_msg){ .kind = VS_SHARE_INVALIDATED,
					     .id = m.id });
	fence_ends(&f);
	raw_unmap_all(fd, A);
	close(fd);
}

static void a_client_that_knows_no_better_lets_go_of_everything(void **state)
{
	struct world *w = *state;
	struct child *k = &w->child[0];
	struct viommu_fence f;
	struct order o;

	child_connect(k, VIOMMU_SHARE_ALL_ONLY);
	child_map(k, A, 0, 10);
	child_map(k, A, 20, 10);
	child_map(k, B, 0, 10);
	child_connect(&w->child[1], 0);
	child_map(&w->child[1], A, 40, 10);
	give_up(w, 0, 100, 1, &f);
	assert_true(viommu_fence_done(&f));
	give_up(w, 0, 3, 1, &f);
	o = child_ask(k, (struct order){ DO_DISPATCH, { 0 }, 0 });
	assert_int_equal(o.rc, 0);
	assert_true(o.arg[3]);
	fence_ends(&f);
	assert_int_equal(stats(w).invalidations, 0);
	assert_int_equal(stats(w).invalidations_all, 1);
	UNTIL(stats(w).maps == 1);
	/* it may begin anew */
	child_map(k, A, 4, 10);
}

static void memory_that_moves_is_told_and_found_again(void **state)
{
	struct world *w = *state;
	struct child *k = &w->child[0];
	struct viommu_move move = {
		.size = sizeof(move),
		.to = { .size = sizeof(move.to),
			.gpa = GPA(5),
			.len = GPA(2),
			.prot = RW,
			.fd = -1 },
	};
	struct viommu_fence f;
	uint64_t slot;
	struct order o;

	child_connect(k, 0);
	child_connect(&w->child[1], 0);
	child_map(k, A, 0, 10);
	move.to.host = w->ram[1] + GPA(200);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_move(w->memory[0], &move, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	UNTIL(stats(w).invalidations == 1);
	o = child_ask(&w->child[1],
		      (struct order){ DO_MAP, { A, 6, 1, RW }, 0 });
	assert_int_equal(o.rc, -EBUSY);
	child_told(k, A, 5, 2);
	fence_ends(&f);
	slot = child_map(k, A, 5, 2);
	assert_int_equal(child_peek(k, slot, PAGE), content(A, 6));
	child_ask(k, (struct order){ DO_POKE, { slot, 7, 0x77 }, 0 });
	assert_int_equal(w->ram[1][GPA(200) + 7], 0x77);
}

/* ----------------------------------------------------- those who do not */

struct promise {
	struct viommu_fence f;
	atomic_uint failed, done;
};

static void promise_failed(struct viommu_fence *f, void *arg)
{
	(void)f;
	atomic_fetch_add(&((struct promise *)arg)->failed, 1);
}

static void promise_done(struct viommu_fence *f, void *arg)
{
	(void)f;
	atomic_fetch_add(&((struct promise *)arg)->done, 1);
}

static void promise_give_up(struct world *w, struct promise *p, uint64_t page)
{
	memset(p, 0, sizeof(*p));
	viommu_fence_init(&p->f);
	viommu_fence_set_failed(&p->f, promise_failed);
	assert_int_equal(
		viommu_memory_give_up(w->memory[0], GPA(page), PAGE, &p->f), 0);
	viommu_fence_commit(&p->f, promise_done, p);
}

static int setup_impatient(void **state)
{
	*state = world_make_with(NULL, 50000000);
	return 0;
}

static void one_that_does_not_answer_is_given_up(void **state)
{
	struct world *w = *state;
	struct child *k = &w->child[0];
	struct promise p;

	child_connect(k, 0);
	child_map(k, A, 0, 10);
	child_connect(&w->child[1], 0);
	child_map(&w->child[1], A, 20, 10);
	promise_give_up(w, &p, 4);
	UNTIL(atomic_load(&p.failed) == 1);
	UNTIL(atomic_load(&w->went) == 1);
	assert_string_equal(w->why[0], "the client did not answer in time");
	assert_int_equal(stats(w).given_up, 1);
	assert_int_equal(stats(w).lingering, 1);
	assert_int_equal(stats(w).clients, 1);
	assert_int_equal(stats(w).maps, 2 + 1 + 1);
	/* it has the page mapped, and nothing else says that it has not */
	assert_int_equal(atomic_load(&p.done), 0);
	assert_int_equal(child_peek(k, 0, GPA(4)), content(A, 4));
	child_end(k, SIGKILL);
	UNTIL(atomic_load(&p.done) == 1);
	assert_int_equal(stats(w).lingering, 0);
	/* the other one is none the worse for it */
	assert_int_equal(child_peek(&w->child[1], 0, 0), content(A, 20));
	assert_int_equal(atomic_load(&p.failed), 1);
}

static void one_that_was_given_up_says_that_it_holds_nothing(void **state)
{
	struct world *w = *state;
	struct child *k = &w->child[0];
	struct promise p;

	child_connect(k, 0);
	child_map(k, A, 0, 10);
	promise_give_up(w, &p, 4);
	UNTIL(atomic_load(&w->went) == 1);
	child_ask(k, (struct order){ DO_CLOSE, { 0 }, 0 });
	/* another process's word does not count */
	child_connect(&w->child[1], VIOMMU_SHARE_NOTHING_HELD);
	/* nor its own silence */
	child_connect(k, 0);
	assert_int_equal(stats(w).lingering, 1);
	assert_int_equal(atomic_load(&p.done), 0);
	child_ask(k, (struct order){ DO_CLOSE, { 0 }, 0 });
	child_connect(k, VIOMMU_SHARE_NOTHING_HELD);
	UNTIL(atomic_load(&p.done) == 1);
	assert_int_equal(stats(w).lingering, 0);
	child_map(k, A, 20, 10);
}

static void the_embedder_may_wait_on(void **state)
{
	struct world *w = *state;
	struct child *k = &w->child[0];
	struct promise p;

	atomic_store(&w->wait_on, true);
	child_connect(k, 0);
	child_map(k, A, 0, 10);
	promise_give_up(w, &p, 4);
	UNTIL(atomic_load(&w->expired) >= 2);
	assert_int_equal(stats(w).clients, 1);
	child_told(k, A, 4, 1);
	UNTIL(atomic_load(&p.done) == 1);
	assert_int_equal(atomic_load(&p.failed), 0);
	assert_int_equal(stats(w).given_up, 0);
}

static void the_references_of_one_that_dies_go(void **state)
{
	struct world *w = *state;
	struct child *k = &w->child[0];
	struct viommu_fence f, g;

	child_connect(k, 0);
	child_map(k, A, 0, 10);
	child_map(k, B, 0, 10);
	give_up(w, 0, 4, 1, &f);
	UNTIL(stats(w).invalidations == 1);
	assert_false(viommu_fence_done(&f));
	child_end(k, SIGKILL);
	fence_ends(&f);
	UNTIL(stats(w).maps == 0);
	assert_int_equal(stats(w).bytes, 0);
	UNTIL(stats(w).clients + stats(w).lingering == 0);
	assert_int_equal(stats(w).exited, 1);
	assert_int_equal(stats(w).invalidations_left, 0);
	give_up(w, 0, 5, 1, &g);
	assert_true(viommu_fence_done(&g));
}

static void one_without_connection_holds_until_it_ends(void **state)
{
	struct world *w = *state;
	struct child *k = &w->child[0];
	struct viommu_fence f;
	struct order o;

	child_connect(k, 0);
	child_map(k, A, 0, 10);
	give_up(w, 0, 4, 1, &f);
	UNTIL(stats(w).invalidations == 1);
	o = child_ask(k, (struct order){ DO_DEAFEN, { 0 }, 0 });
	assert_int_equal(o.rc, 0);
	UNTIL(atomic_load(&w->went) == 1);
	assert_int_equal(stats(w).lingering, 1);
	assert_int_equal(stats(w).clients, 0);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(child_peek(k, 0, GPA(5)), content(A, 5));
	assert_false(viommu_fence_done(&f));
	child_end(k, 0);
	fence_ends(&f);
	UNTIL(stats(w).lingering == 0);
}

/* ------------------------------------------------- all of it, all at once */

enum {
	BUSY_PAGES = 8,
	TURNS = 400,
	TELLS = 20,
	OWNERS = 2,
	CLIENTS = 3,
};

struct busy {
	struct world *w;
	unsigned i;
	uint32_t flags;
	atomic_uint *owners; /* that are at it */
	atomic_uint *tells;  /* how often somebody was told */
	struct viommu_share_client *c;
	/* a map a page, or all in one; NULL: gone */
	uint8_t *at[OWNERS][BUSY_PAGES];
	uint64_t touched;
	int rc;
};

static const uint64_t busy_ids[OWNERS] = { A, B };

static void busy_forget(struct busy *b, unsigned o, unsigned page, unsigned n)
{
	for (unsigned p = page; p < page + n && p < BUSY_PAGES; p++)
		b->at[o][p] = NULL;
}

static int busy_before(void *arg, const struct viommu_share_gone *gone)
{
	struct busy *b = arg;
	unsigned o = gone->range.owner == B;

	atomic_fetch_add(b->tells, 1);
	if (gone->all) {
		busy_forget(b, 0, 0, BUSY_PAGES);
		busy_forget(b, 1, 0, BUSY_PAGES);
	} else {
		busy_forget(b, o, (unsigned)(gone->range.gpa / PAGE),
			    (unsigned)(gone->range.len / PAGE));
	}
	return VIOMMU_SHARE_NOW;
}

/* What is mapped is the guest's, whole. */
static void busy_touch(struct busy *b)
{
	for (unsigned o = 0; o < OWNERS; o++) {
		for (unsigned p = 0; p < BUSY_PAGES; p++) {
			const uint8_t *at = b->at[o][p];

			if (!at)
				continue;
			b->touched++;
			if (at[0] != content((unsigned)busy_ids[o], p) ||
			    at[PAGE - 1] != at[0])
				b->rc = -EBADMSG;
		}
	}
}

static int busy_map(struct busy *b, unsigned o, unsigned page, unsigned n)
{
	const struct viommu_share_range r = { busy_ids[o], GPA(page), GPA(n) };
	void *at;
	int rc = viommu_share_map(b->c, &r, VIOMMU_READ, &at);

	for (unsigned p = 0; !rc && p < n; p++)
		b->at[o][page + p] = (uint8_t *)at + GPA(p);
	return rc == -EEXIST || rc == -EFAULT ? 0 : rc;
}

static int busy_unmap(struct busy *b, unsigned o, unsigned page, unsigned n)
{
	const struct viommu_share_range r = { busy_ids[o], GPA(page), GPA(n) };

	busy_forget(b, o, page, n);
	return viommu_share_unmap(b->c, &r, false);
}

static void *busy_client(void *arg)
{
	struct busy *b = arg;
	const struct viommu_share_client_config cfg = {
		.size = sizeof(cfg),
		.path = b->w->path,
		.before = busy_before,
		.arg = b,
		.flags = b->flags,
	};
	unsigned seed = b->i + 1;

	b->rc = viommu_share_connect(&cfg, &b->c);
	while (!b->rc && atomic_load(b->owners)) {
		unsigned o = (unsigned)rand_r(&seed) % OWNERS;
		unsigned p = (unsigned)rand_r(&seed) % BUSY_PAGES;
		unsigned n = 1 + (unsigned)rand_r(&seed) % (BUSY_PAGES - p);

		if (rand_r(&seed) % 3)
			b->rc = busy_map(b, o, p, n);
		else
			b->rc = busy_unmap(b, o, p, n);
		busy_touch(b);
		if (!b->rc)
			b->rc = viommu_share_dispatch(b->c);
		busy_touch(b);
	}
	viommu_share_close(b->c);
	return NULL;
}

/* What is given up is spoilt the moment it may be. */
static void *busy_owner(void *arg)
{
	struct busy *b = arg;
	struct world *w = b->w;
	uint64_t until = now_ms() + WAIT_MS;
	unsigned seed = 100 + b->i;

	/* not before the clients have begun, however slow they are */
	for (unsigned i = 0;
	     !b->rc &&
	     (i < TURNS || (atomic_load(b->tells) < TELLS && now_ms() < until));
	     i++) {
		unsigned p = (unsigned)rand_r(&seed) % BUSY_PAGES;
		uint8_t *page = w->ram[b->i] + GPA(p);
		struct viommu_region r = { .size = sizeof(r),
					   .gpa = GPA(p),
					   .len = PAGE,
					   .prot = RW,
					   .host = page,
					   .fd = -1 };
		struct viommu_fence f;

		viommu_fence_init(&f);
		b->rc = viommu_memory_give_up(w->memory[b->i], GPA(p), PAGE,
					      &f);
		viommu_fence_commit(&f, NULL, NULL);
		if (!b->rc)
			b->rc = viommu_fence_wait(&f,
						  (int64_t)WAIT_MS * 1000000);
		memset(page, 0, PAGE);
		sched_yield();
		memset(page, content((unsigned)busy_ids[b->i], p), PAGE);
		if (!b->rc)
			b->rc = viommu_memory_add(w->memory[b->i], &r);
	}
	atomic_fetch_sub(b->owners, 1);
	return NULL;
}

static void no_page_is_recycled_under_a_client(void **state)
{
	struct world *w = *state;
	struct busy b[OWNERS + CLIENTS];
	pthread_t thread[OWNERS + CLIENTS];
	atomic_uint owners = OWNERS, tells = 0;
	uint64_t touched = 0;

	memset(b, 0, sizeof(b));
	for (unsigned i = OWNERS + CLIENTS; i--;) {
		b[i].w = w;
		b[i].i = i;
		b[i].owners = &owners;
		b[i].tells = &tells;
		b[i].flags = i == OWNERS ? VIOMMU_SHARE_ALL_ONLY : 0;
		pthread_create(&thread[i], NULL,
			       i < OWNERS ? busy_owner : busy_client, &b[i]);
	}
	for (unsigned i = 0; i < OWNERS + CLIENTS; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(b[i].rc, 0);
		touched += b[i].touched;
	}
	assert_true(touched && atomic_load(&tells) >= TELLS);
	UNTIL(stats(w).maps == 0);
	assert_int_equal(stats(w).protocol_errors, 0);
	assert_int_equal(stats(w).lingering, 0);
}

/* ------------------------------------------------------- come, and gone */

static void what_a_client_unmaps_is_nobodys(void **state)
{
	struct world *w = *state;
	struct child *k = &w->child[0];
	struct viommu_fence f;
	struct order o;

	child_connect(k, 0);
	child_map(k, A, 0, 10);
	o = child_ask(k, (struct order){ DO_UNMAP, { A, 3, 2, 1 }, 0 });
	assert_int_equal(o.rc, 0);
	assert_int_equal(stats(w).bytes, GPA(8));
	give_up(w, 0, 3, 2, &f);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(stats(w).invalidations, 0);
	assert_int_equal(child_peek(k, 0, GPA(2)), content(A, 2));
	assert_int_equal(child_peek(k, 0, GPA(5)), content(A, 5));
	give_up(w, 0, 2, 4, &f);
	child_told_both(k, 2, 1, 5, 1);
	fence_ends(&f);
	/* over holes, and twice */
	for (int i = 0; i < 2; i++) {
		o = child_ask(k, (struct order){ DO_UNMAP, { A, 0, 64 }, 0 });
		assert_int_equal(o.rc, 0);
		assert_int_equal(stats(w).maps, 0);
	}
}

static void pieces_of_a_map_lie_side_by_side(void **state)
{
	struct world *w = *state;
	struct child *k = &w->child[0];
	uint64_t slot;
	struct order o;

	child_connect(k, 0);
	atomic_store(&w->page_parts, 3);
	slot = child_map(k, A, 0, 96);
	for (unsigned p = 0; p < 96; p++)
		assert_int_equal(child_peek(k, slot, GPA(p) + PAGE - 1),
				 content(A, p));
	o = child_ask(k, (struct order){ DO_MAP, { B, 0, 97, RW }, 0 });
	assert_int_equal(o.rc, -E2BIG);
	assert_int_equal(stats(w).maps, 1);
	/* in host memory, too */
	atomic_store(&w->page_parts, 0);
	for (unsigned p = 0; p < 8; p += 2) {
		struct viommu_fence f;
		struct viommu_region r = { .size = sizeof(r),
					   .gpa = GPA(p),
					   .len = PAGE,
					   .prot = RW,
					   .host = w->ram[0] + GPA(100 + p),
					   .fd = -1 };

		give_up(w, 1, p, 1, &f);
		fence_ends(&f);
		assert_int_equal(viommu_memory_add(w->memory[1], &r), 0);
	}
	slot = child_map(k, B, 0, 8);
	for (unsigned p = 0; p < 8; p++)
		assert_int_equal(child_peek(k, slot, GPA(p)),
				 p % 2 ? content(B, p) : content(A, 100 + p));
}

static void thousands_of_maps(void **state)
{
	struct world *w = *state;
	struct emulator e = { 0 };
	struct viommu_fence f;

	assert_int_equal(emulator_connect(&e, w->path, 0), 0);
	for (unsigned p = 0; p < PAGES; p++) {
		const struct viommu_share_range r = { A, GPA(p), PAGE };
		void *at;

		assert_int_equal(viommu_share_map(e.c, &r, RW, &at), 0);
	}
	assert_int_equal(stats(w).maps, PAGES);
	give_up(w, 0, 1000, 500, &f);
	while (e.told < 500) {
		e.heard = e.told;
		assert_int_equal(emulator_dispatch(&e), 0);
	}
	fence_ends(&f);
	assert_int_equal(stats(w).invalidations, 500);
	assert_int_equal(stats(w).maps, PAGES - 500);
	/* while it asks for something else */
	give_up(w, 0, 0, 1000, &f);
	UNTIL(stats(w).invalidations == 1500);
	while (e.told < 1500) {
		const struct viommu_share_range r = { B, 0, PAGE };
		void *at;

		assert_int_equal(viommu_share_map(e.c, &r, RW, &at), 0);
		assert_int_equal(viommu_share_unmap(e.c, &r, false), 0);
	}
	fence_ends(&f);
	viommu_share_close(e.c);
	UNTIL(stats(w).clients == 0);
	assert_int_equal(stats(w).maps, 0);
}

static void clients_come_again(void **state)
{
	struct world *w = *state;
	unsigned n = 0, fds;

	child_connect(&w->child[1], 0);
	child_map(&w->child[1], B, 0, 1);
	fds = fds_open();
	for (int i = 0; i < 40; i++) {
		child_connect(&w->child[0], 0);
		child_map(&w->child[0], A, 0, 10);
		child_ask(&w->child[0], (struct order){ DO_CLOSE, { 0 }, 0 });
		UNTIL(stats(w).clients == 1 && !stats(w).lingering);
		n++;
	}
	assert_int_equal(stats(w).connections, n + 1);
	assert_int_equal(stats(w).maps, 1);
	assert_int_equal(stats(w).exited, 0);
	UNTIL(fds_open() == fds);
	child_connect(&w->child[0], 0);
	/* slots are used again, and so are their endpoints */
	child_map(&w->child[0], A, 0, 10);
	assert_non_null(viommu_endpoint_find(w->vi, 102, VIOMMU_NO_PASID));
	assert_null(viommu_endpoint_find(w->vi, 104, VIOMMU_NO_PASID));
}

static void a_server_ends_when_its_clients_have_let_go(void **state)
{
	struct world *w = *state;
	const struct order wait = { DO_DISPATCH, { 0 }, 0 };

	for (int i = 0; i < 2; i++) {
		child_connect(&w->child[i], i ? VIOMMU_SHARE_ALL_ONLY : 0);
		child_map(&w->child[i], A, 0, 10);
		child_tell(&w->child[i], &wait);
	}
	child_connect(&w->child[2], 0);
	world_stop(w);
	assert_int_equal(viommu_share_destroy(w->share, -1), 0);
	w->share = NULL;
	for (int i = 0; i < 2; i++) {
		const struct order o = child_hear(&w->child[i]);

		assert_int_equal(o.rc, 0);
		assert_true(o.arg[3]);
		assert_int_equal(child_ask(&w->child[i], wait).rc, -ECONNRESET);
	}
	assert_int_equal(atomic_load(&w->went), 3);
}

static void or_when_they_are_gone(void **state)
{
	struct world *w = *state;
	struct order o;

	child_connect(&w->child[0], 0);
	child_map(&w->child[0], A, 0, 10);
	world_stop(w);
	assert_int_equal(viommu_share_destroy(w->share, 0), -ETIMEDOUT);
	assert_int_equal(viommu_share_destroy(w->share, 20000000), -ETIMEDOUT);
	/* nobody else is let in */
	o = child_ask(&w->child[1], (struct order){ DO_CONNECT, { 0 }, 0 });
	assert_int_equal(o.rc, -ENOENT);
	assert_int_equal(stats(w).maps, 1);
	/* nor gets more */
	child_tell(&w->child[0],
		   &(struct order){ DO_MAP, { A, 20, 1, RW }, 0 });
	assert_int_equal(
		viommu_share_destroy(w->share, (int64_t)WAIT_MS * 1000000), 0);
	w->share = NULL;
	o = child_hear(&w->child[0]);
	assert_int_equal(o.rc, -ESHUTDOWN);
}

static void or_have_died(void **state)
{
	struct world *w = *state;

	child_connect(&w->child[0], 0);
	child_map(&w->child[0], A, 0, 10);
	world_stop(w);
	assert_int_equal(viommu_share_destroy(w->share, 1000000), -ETIMEDOUT);
	child_end(&w->child[0], SIGKILL);
	assert_int_equal(viommu_share_destroy(w->share, -1), 0);
	w->share = NULL;
}

/* ------------------------------------------------------------- dirty log */

static int64_t dirty(struct world *w, uint64_t *bits)
{
	*bits = 0;
	return viommu_memory_dirty_fetch(w->memory[0], 0, GPA(64), bits);
}

static void what_clients_write_is_logged(void **state)
{
	struct world *w = *state;
	struct child *k = &w->child[0];
	struct viommu_fence f;
	struct order o;
	uint64_t bits;

	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_start(w->memory[0], 0, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	fence_ends(&f);
	child_connect(k, 0);
	child_map(k, A, 0, 4);
	for (int i = 0; i < 2; i++) { /* it may write at any time */
		assert_int_equal(dirty(w, &bits), 4);
		assert_int_equal(bits, 0xf);
	}
	/* a part, written; another, not */
	o = child_ask(k, (struct order){ DO_UNMAP, { A, 1, 1, true }, 0 });
	assert_int_equal(o.rc, 0);
	o = child_ask(k, (struct order){ DO_UNMAP, { A, 3, 1, false }, 0 });
	assert_int_equal(o.rc, 0);
	dirty(w, &bits);
	assert_int_equal(bits, 0x7);
	dirty(w, &bits);
	assert_int_equal(bits, 0x5);
	/* for reading */
	o = child_ask(k, (struct order){ DO_MAP, { A, 8, 4, VIOMMU_READ }, 0 });
	assert_int_equal(o.rc, 0);
	child_map(&w->child[0], A, 16, 2);
	/* who knows what it did before it died */
	child_end(k, SIGKILL);
	UNTIL(stats(w).maps == 0);
	dirty(w, &bits);
	assert_int_equal(bits, 0x30005);
	dirty(w, &bits);
	assert_int_equal(bits, 0);
	viommu_fence_init(&f);
	viommu_memory_dirty_stop(w->memory[0], &f);
	viommu_fence_commit(&f, NULL, NULL);
	fence_ends(&f);
}

/* What it wrote until it let go is in the place that it has moved to. */
static void what_was_written_before_a_move_is_logged(void **state)
{
	struct world *w = *state;
	struct child *k = &w->child[0];
	struct viommu_move move = {
		.size = sizeof(move),
		.to = { .size = sizeof(move.to),
			.gpa = GPA(1),
			.len = PAGE,
			.prot = RW,
			.host = w->ram[1] + GPA(200),
			.fd = -1 },
	};
	struct viommu_fence f;
	uint64_t bits;

	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_start(w->memory[0], 0, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	fence_ends(&f);
	child_connect(k, 0);
	child_map(k, A, 0, 4);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_move(w->memory[0], &move, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	UNTIL(stats(w).invalidations == 1);
	dirty(w, &bits);
	assert_int_equal(bits, 0xf);
	child_ask(k, (struct order){ DO_POKE, { 0, GPA(1), 0x11 }, 0 });
	child_told(k, A, 1, 1);
	fence_ends(&f);
	assert_int_equal(w->ram[1][GPA(200)], 0x11);
	dirty(w, &bits);
	assert_int_equal(bits, 0xf);
	dirty(w, &bits);
	assert_int_equal(bits, 0xd);
	viommu_fence_init(&f);
	viommu_memory_dirty_stop(w->memory[0], &f);
	viommu_fence_commit(&f, NULL, NULL);
	fence_ends(&f);
}

int main(void)
{
#define T(fn)	 cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define SOON(fn) cmocka_unit_test_setup_teardown(fn, setup_impatient, teardown)
	const struct CMUnitTest tests[] = {
		T(the_users_of_those_pages_are_told_and_nobody_else),
		T(what_is_left_stays_where_it_is),
		T(a_page_is_not_recycled_before_the_answer),
		T(each_give_up_waits_for_its_own_maps),
		T(pages_that_go_at_once_are_told_one_by_one),
		T(pages_between_those_that_go_stay),
		T(pages_that_are_back_are_told_if_they_are_others),
		T(a_range_that_is_no_pages_takes_the_pages),
		T(a_client_that_knows_no_better_lets_go_of_everything),
		T(memory_that_moves_is_told_and_found_again),
		SOON(one_that_does_not_answer_is_given_up),
		SOON(one_that_was_given_up_says_that_it_holds_nothing),
		SOON(the_embedder_may_wait_on),
		T(the_references_of_one_that_dies_go),
		T(one_without_connection_holds_until_it_ends),
		T(no_page_is_recycled_under_a_client),
		T(what_a_client_unmaps_is_nobodys),
		T(pieces_of_a_map_lie_side_by_side),
		T(thousands_of_maps),
		T(clients_come_again),
		T(a_server_ends_when_its_clients_have_let_go),
		T(or_when_they_are_gone),
		T(or_have_died),
		T(what_clients_write_is_logged),
		T(what_was_written_before_a_move_is_logged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
