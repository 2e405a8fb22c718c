/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What is held for clients.
 *
 * A client's mapping of a page is backed by a DMA map that overlaps it, all the
 * time from before the page's descriptor goes out until the client says that it
 * has let go, or its process has ended.  When some of a reference goes, the
 * parts that stay get references of their own first; the old one is let go of
 * when the client has answered for the parts that go, and so is done what waits
 * for it.
 *
 * What goes is found by looking, also within what the library says: that may
 * be wider, and a map is asked once, though more of it may have gone since.  A
 * part stays if the memory has there what the map has, pointer for pointer, and
 * a new map of it can be had.  (Where the same pages were given up and added
 * again they are in use again, and the new map is what holds them.)  A part
 * that goes while we look makes the new map fail, or asks it.
 *
 * Without memory for the parts, more goes than has to.
 */

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <viommu/memory.h>

#include "serve/share_impl.h"

#define TRIES 3 /* to map what is there, while that changes */

/* ------------------------------------------------------------------ tree */

/* Of one that does not overlap another, there is an order. */
static int compare(const void *a, const void *b)
{
	const struct viommu_dma *x = a, *y = b;

	if (x->iova + (x->len - 1) < y->iova)
		return -1;
	return x->iova > y->iova + (y->len - 1);
}

static uint64_t last_of(const struct vs_share_ref *r)
{
	return r->d.iova + (r->d.len - 1);
}

struct vs_share_ref *vs_share_ref_find(const struct vs_share_view *v,
				       uint64_t gpa, uint64_t last)
{
	struct viommu_dma key = { .iova = gpa, .len = last - gpa + 1 };
	void *node = tfind(&key, &v->live, compare);

	/* the map is what a reference begins with */
	return node ? *(struct vs_share_ref **)node : NULL;
}

static int live_add(struct vs_share_ref *r)
{
	if (!tsearch(r, &r->view->live, compare))
		return -ENOMEM;
	r->live = true;
	return 0;
}

static void live_remove(struct vs_share_ref *r)
{
	if (r->live)
		tdelete(r, &r->view->live, compare);
	r->live = false;
}

/* -------------------------------------------------------- one reference */

/* Any thread. */
static void revoke(struct viommu_dma *d)
{
	struct vs_share_ref *r = d->arg;
	struct viommu_share *s = r->view->c->s;

	pthread_mutex_lock(&s->lock);
	r->taken = d->taken;
	r->taken_last = d->taken_last;
	r->next_asked = NULL;
	r->prev_asked = s->asked_last;
	if (s->asked)
		s->asked_last->next_asked = r;
	else
		s->asked = r;
	s->asked_last = r;
	r->listed = true;
	pthread_mutex_unlock(&s->lock);
	viommu_loop_post(s->cfg.loop, &s->work);
}

static void unlist_locked(struct viommu_share *s, struct vs_share_ref *r)
{
	if (!r->listed)
		return;
	if (r->next_asked)
		r->next_asked->prev_asked = r->prev_asked;
	else
		s->asked_last = r->prev_asked;
	if (r->prev_asked)
		r->prev_asked->next_asked = r->next_asked;
	else
		s->asked = r->next_asked;
	r->listed = false;
}

static int map_try(struct vs_share_view *v, const struct viommu_dma *want,
		   uint32_t pieces, struct vs_share_ref **out)
{
	struct vs_share_ref *r;
	int rc;

	r = calloc(1, sizeof(*r) + pieces * sizeof(r->iov[0]));
	if (!r)
		return -ENOMEM;
	r->view = v;
	r->d.ep = v->ep;
	r->d.iova = want->iova;
	r->d.len = r->bytes = want->len;
	r->d.prot = want->prot;
	r->d.max_iov = pieces;
	r->d.iov = r->iov;
	r->d.revoke = revoke;
	r->d.arg = r;
	rc = viommu_dma_map(&r->d);
	if (rc) {
		free(r);
		return rc;
	}
	*out = r;
	return 0;
}

/* Held, but not live. */
static int map(struct vs_share_view *v, const struct viommu_dma *want,
	       struct vs_share_ref **out)
{
	struct vs_share_client *c = v->c;
	struct vs_share_ref *r;
	int rc;

	/* most are in one piece */
	rc = map_try(v, want, 1, &r);
	if (rc == -E2BIG)
		rc = map_try(v, want, VS_SHARE_PIECES, &r);
	if (rc)
		return rc;
	r->next = c->refs;
	if (c->refs)
		c->refs->prev = r;
	c->refs = r;
	c->nrefs++;
	c->bytes += r->bytes;
	vs_share_add(c->s, VS_SHARE_MAPS, 1);
	vs_share_add(c->s, VS_SHARE_BYTES, r->bytes);
	*out = r;
	return 0;
}

int vs_share_ref_get(struct vs_share_view *v, const struct vs_share_msg *m,
		     struct vs_share_ref **out)
{
	const struct viommu_dma want = { .iova = m->gpa,
					 .len = m->len,
					 .prot = m->prot };
	int rc = map(v, &want, out);

	if (!rc && live_add(*out)) {
		vs_share_ref_put(*out);
		rc = -ENOMEM;
	}
	return rc;
}

static void bytes_set(struct vs_share_ref *r, uint64_t bytes)
{
	r->view->c->bytes -= r->bytes - bytes;
	vs_share_add(r->view->c->s, VS_SHARE_BYTES, bytes - r->bytes);
	r->bytes = bytes;
}

void vs_share_ref_put(struct vs_share_ref *r)
{
	struct vs_share_client *c = r->view->c;
	struct viommu_share *s = c->s;

	live_remove(r);
	if (r->next)
		r->next->prev = r->prev;
	if (r->prev)
		r->prev->next = r->next;
	else
		c->refs = r->next;
	c->nrefs--;
	/* who waits for the fence finds it counted */
	bytes_set(r, 0);
	vs_share_add(s, VS_SHARE_MAPS, (uint64_t)-1);
	viommu_dma_unmap(&r->d, 0);
	/* nobody revokes it from here on */
	pthread_mutex_lock(&s->lock);
	unlist_locked(s, r);
	pthread_mutex_unlock(&s->lock);
	free(r);
}

void vs_share_written(const struct vs_share_view *v, uint64_t gpa,
		      uint64_t last)
{
	viommu_memory_dirty_mark(v->owner->memory, gpa, last - gpa + 1);
}

/* --------------------------------------------------------- invalidations */

static struct vs_share_inv **bucket(struct vs_share_client *c, uint64_t id)
{
	return &c->invs[id % VS_SHARE_BUCKETS];
}

static void inv_queue(struct vs_share_client *c, struct vs_share_inv *inv)
{
	struct vs_share_inv **at = bucket(c, ++c->last_id);

	inv->out.msg.id = c->last_id;
	inv->out.fd = -1;
	inv->out.sent = &inv->sent;
	inv->sent = false;
	inv->next = *at;
	*at = inv;
	c->ninvs++;
	vs_share_add(c->s, VS_SHARE_LEFT, 1);
	vs_share_add(c->s,
		     inv->out.msg.kind == VS_SHARE_INVALIDATE_ALL
			     ? VS_SHARE_INVALIDATIONS_ALL
			     : VS_SHARE_INVALIDATIONS,
		     1);
	vs_share_queue(c, &inv->out);
}

/* [gpa, last] of @r, which is not live any more, goes. */
static void inv_range(struct vs_share_ref *r, struct vs_share_inv *inv,
		      uint64_t gpa, uint64_t last)
{
	memset(&inv->out.msg, 0, sizeof(inv->out.msg));
	inv->out.msg.kind = VS_SHARE_INVALIDATE;
	inv->out.msg.owner = r->view->owner->id;
	inv->out.msg.gpa = gpa;
	inv->out.msg.len = last - gpa + 1;
	inv->inner = inv == &r->inv;
	inv->refs = r;
	r->all = NULL;
	r->told++;
	inv_queue(r->view->c, inv);
}

static void goes_whole(struct vs_share_ref *r)
{
	live_remove(r);
	inv_range(r, &r->inv, r->d.iova, last_of(r));
}

void vs_share_take_all(struct vs_share_client *c)
{
	struct vs_share_inv *inv = NULL;

	for (struct vs_share_ref *r = c->refs; r; r = r->next) {
		if (!r->live)
			continue;
		live_remove(r);
		r->told++;
		r->all = inv ? inv->refs : NULL;
		/* it is not put before the others */
		if (!inv)
			inv = &r->inv;
		inv->refs = r;
	}
	if (!inv)
		return;
	memset(&inv->out.msg, 0, sizeof(inv->out.msg));
	inv->out.msg.kind = VS_SHARE_INVALIDATE_ALL;
	inv->inner = true;
	inv_queue(c, inv);
}

static void inv_unlink(struct vs_share_client *c, struct vs_share_inv **at)
{
	*at = (*at)->next;
	c->ninvs--;
	vs_share_add(c->s, VS_SHARE_LEFT, (uint64_t)-1);
}

/* The client has let go of what @r has there. */
static void answered(struct vs_share_ref *r, const struct vs_share_msg *m)
{
	uint64_t gpa = r->d.iova, last = last_of(r);

	if (m->kind == VS_SHARE_INVALIDATE) {
		gpa = m->gpa;
		last = m->gpa + (m->len - 1);
	}
	if (r->d.prot & VIOMMU_WRITE)
		vs_share_written(r->view, gpa, last);
	if (!--r->told)
		vs_share_ref_put(r);
}

bool vs_share_answered(struct vs_share_client *c, uint64_t id)
{
	struct vs_share_inv **at = bucket(c, id), *inv;
	struct vs_share_ref *r, *next;
	struct vs_share_msg msg;
	bool inner;

	while (*at && (*at)->out.msg.id != id)
		at = &(*at)->next;
	inv = *at;
	if (!inv || !inv->sent)
		return false;
	inv_unlink(c, at);
	/* it may live in one of these */
	msg = inv->out.msg;
	inner = inv->inner;
	r = inv->refs;
	if (!inner)
		free(inv);
	for (; r; r = next) {
		next = msg.kind == VS_SHARE_INVALIDATE_ALL ? r->all : NULL;
		answered(r, &msg);
	}
	return true;
}

void vs_share_forget(struct vs_share_client *c)
{
	for (unsigned i = 0; i < VS_SHARE_BUCKETS; i++) {
		while (c->invs[i]) {
			struct vs_share_inv *inv = c->invs[i];

			inv_unlink(c, &c->invs[i]);
			if (!inv->inner)
				free(inv);
		}
	}
}

/* ---------------------------------------------------------- some of one */

/* What becomes of a reference of which some goes. */
struct plan {
	struct vs_share_ref *r;
	struct vs_share_ref *stays; /* linked by all */
	struct vs_share_inv *go;    /* linked by next; not the inner one */
	uint64_t inner, inner_last; /* that goes by the inner one */
	bool inner_used;
	uint64_t bytes;		/* that go */
	uint64_t gpa, gpa_last; /* the run that goes now */
	bool open;		/* there is one */
	uint64_t cut, cut_last; /* what has to go */
	bool told;		/* the client knows that */
};

/* What of @r's map is at @gpa, and how much from there on. */
static char *host_at(const struct vs_share_ref *r, uint64_t gpa, uint64_t *len)
{
	uint64_t off = gpa - r->d.iova;
	uint32_t i = 0;

	while (off >= r->d.iov[i].iov_len)
		off -= r->d.iov[i++].iov_len;
	*len = r->d.iov[i].iov_len - off;
	return (char *)r->d.iov[i].iov_base + off;
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * Whether the memory has at @gpa what @r has, and for how long that is so or
 * not, up to @last.
 */
static bool same_at(const struct vs_share_ref *r, uint64_t gpa, uint64_t last,
		    uint64_t *len)
{
	struct viommu_region reg = { .size = sizeof(reg) };
	const char *host = host_at(r, gpa, len);

	*len = min(*len, last - gpa + 1);
	if (viommu_memory_next(r->view->owner->memory, gpa, &reg))
		return false;
	if (reg.gpa > gpa) {
		*len = min(*len, reg.gpa - gpa);
		return false;
	}
	*len = min(*len, reg.len - (gpa - reg.gpa));
	return reg.host && (char *)reg.host + (gpa - reg.gpa) == host;
}

/* As same_at(), in whole pages; one that is not the same in all of it goes. */
static bool run_at(const struct vs_share_ref *r, uint64_t gpa, uint64_t last,
		   uint64_t *len)
{
	const uint64_t page = r->view->c->s->page_size;
	uint64_t at = gpa, n, part;
	bool same = same_at(r, gpa, last, &n);

	do {
		if (n > last - at) {
			*len = last - gpa + 1;
			return same;
		}
		at += n;
	} while (same_at(r, at, last, &n) == same);
	part = (at - gpa) % page;
	*len = at - gpa - part;
	if (!part || (same && *len))
		return same;
	*len += page;
	return false;
}

static bool same_host(const struct vs_share_ref *n,
		      const struct vs_share_ref *r)
{
	uint64_t at = n->d.iova, last = last_of(n), a, b;

	for (;;) {
		if (host_at(n, at, &a) != host_at(r, at, &b))
			return false;
		a = min(a, b);
		if (a > last - at)
			return true;
		at += a;
	}
}

/* Nothing more goes where this run ends. */
static int run_close(struct plan *p)
{
	struct vs_share_inv *inv;

	if (!p->open)
		return 0;
	p->open = false;
	p->bytes += p->gpa_last - p->gpa + 1;
	if (!p->inner_used) {
		p->inner_used = true;
		p->inner = p->gpa;
		p->inner_last = p->gpa_last;
		return 0;
	}
	inv = calloc(1, sizeof(*inv));
	if (!inv)
		return -ENOMEM;
	inv->out.msg.gpa = p->gpa;
	inv->out.msg.len = p->gpa_last - p->gpa + 1;
	inv->next = p->go;
	p->go = inv;
	return 0;
}

static void run_goes(struct plan *p, uint64_t gpa, uint64_t len)
{
	if (!p->open)
		p->gpa = gpa;
	p->open = true;
	p->gpa_last = gpa + (len - 1);
}

/* [gpa, gpa + len - 1] is as it was: hold it anew.  1: it is so no more. */
static int run_stays(struct plan *p, uint64_t gpa, uint64_t len)
{
	const struct viommu_dma want = { .iova = gpa,
					 .len = len,
					 .prot = p->r->d.prot };
	struct vs_share_ref *n;
	int rc;

	rc = map(p->r->view, &want, &n);
	if (rc)
		return rc == -ENOMEM ? rc : 1;
	n->all = p->stays;
	p->stays = n;
	if (same_host(n, p->r))
		return run_close(p);
	p->stays = n->all;
	vs_share_ref_put(n);
	return 1;
}

/* From @gpa, up to @last, as far as it is all one. */
static int run(struct plan *p, uint64_t gpa, uint64_t last, uint64_t *len)
{
	for (int i = 0; i < TRIES; i++) {
		int rc;

		if (!run_at(p->r, gpa, last, len))
			break;
		rc = run_stays(p, gpa, *len);
		if (rc <= 0)
			return rc;
	}
	run_goes(p, gpa, *len);
	return 0;
}

/* Where what is at @at ends: the part that has to go is a run of its own. */
static uint64_t run_end(const struct plan *p, uint64_t at)
{
	uint64_t last = last_of(p->r);

	if (at < p->cut)
		return min(p->cut - 1, last);
	return at <= p->cut_last ? min(p->cut_last, last) : last;
}

static int plan_make(struct plan *p)
{
	uint64_t at = p->r->d.iova, last = last_of(p->r), end, len;
	int rc;

	for (;; at += len) {
		end = run_end(p, at);
		if (p->told && at >= p->cut && at <= p->cut_last) {
			len = end - at + 1;
			rc = run_close(p);
		} else {
			rc = run(p, at, end, &len);
		}
		if (rc)
			return rc;
		if (len > last - at)
			return run_close(p);
	}
}

static void plan_undo(struct plan *p)
{
	while (p->stays) {
		struct vs_share_ref *n = p->stays;

		p->stays = n->all;
		vs_share_ref_put(n);
	}
	while (p->go) {
		struct vs_share_inv *inv = p->go;

		p->go = inv->next;
		free(inv);
	}
}

static void plan_do(struct plan *p)
{
	struct vs_share_ref *r = p->r;

	live_remove(r);
	while (p->stays) {
		struct vs_share_ref *n = p->stays;

		p->stays = n->all;
		n->all = NULL;
		if (live_add(n))
			goes_whole(n);
	}
	bytes_set(r, p->bytes);
	if (p->inner_used)
		inv_range(r, &r->inv, p->inner, p->inner_last);
	while (p->go) {
		struct vs_share_inv *inv = p->go;
		uint64_t gpa = inv->out.msg.gpa, len = inv->out.msg.len;

		p->go = inv->next;
		inv_range(r, inv, gpa, gpa + (len - 1));
	}
	if (!r->told)
		vs_share_ref_put(r);
}

int vs_share_ref_cut(struct vs_share_ref *r, uint64_t gpa, uint64_t last)
{
	struct plan p = { .r = r, .cut = gpa, .cut_last = last, .told = true };

	if (gpa <= r->d.iova && last >= last_of(r)) {
		vs_share_ref_put(r);
		return 0;
	}
	if (plan_make(&p)) {
		plan_undo(&p);
		return -ENOMEM;
	}
	plan_do(&p);
	return 0;
}

/* ------------------------------------------------------------- the asked */

static void goes(struct vs_share_ref *r, uint64_t gpa, uint64_t last)
{
	const uint64_t page = r->view->c->s->page_size;
	struct plan p = { .r = r };

	p.cut = gpa & ~(page - 1);
	p.cut_last = last | (page - 1);
	if (!plan_make(&p)) {
		plan_do(&p);
		return;
	}
	plan_undo(&p);
	goes_whole(r);
}

static struct vs_share_ref *asked_take(struct viommu_share *s, uint64_t *gpa,
				       uint64_t *last)
{
	struct vs_share_ref *r;

	pthread_mutex_lock(&s->lock);
	r = s->asked;
	if (r) {
		unlist_locked(s, r);
		*gpa = r->taken;
		*last = r->taken_last;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

void vs_share_tell(struct viommu_share *s)
{
	struct vs_share_ref *r;
	uint64_t gpa, last;

	while ((r = asked_take(s, &gpa, &last))) {
		struct vs_share_client *c = r->view->c;

		/* going already, or nobody is there to be told */
		if (!r->live || c->fd < 0)
			continue;
		if (c->targeted)
			goes(r, gpa, last);
		else
			vs_share_take_all(c);
		vs_share_watch(c);
	}
}
