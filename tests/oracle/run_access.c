/* SPDX-License-Identifier: BSD-2-Clause */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

/* ------------------------------------------------------------- accesses */

/* A refused access is told once, with the first part that failed. */
static void compare_fault(struct run *r, unsigned ep, uint32_t prot,
			  const struct verdict *v)
{
	const struct viommu_fault *f = &r->fault;
	bool cut = v->refused.last - v->refused.start >= FAULT_STEPS;

	if (!v->rc || v->rc == -EINPROGRESS) {
		if (r->nfaults)
			wrong("a fault that is none");
		return;
	}
	if (r->nfaults != 1)
		wrong("%u faults for one access", r->nfaults);
	else if (f->id != ep || f->prot != prot || f->reason != v->reason)
		wrong("fault: reason %u, not %u", f->reason, v->reason);
	else if (f->start != v->refused.start || f->last > v->refused.last ||
		 f->last < f->start || (f->last < v->refused.last && !cut))
		wrong("fault: at %#llx to %#llx, not %#llx to %#llx",
		      (unsigned long long)f->start, (unsigned long long)f->last,
		      (unsigned long long)v->refused.start,
		      (unsigned long long)v->refused.last);
	else if (f->gpa != v->gpa)
		wrong("fault: gpa %#llx, not %#llx", (unsigned long long)f->gpa,
		      (unsigned long long)v->gpa);
}

/* Do @a's bytes lie behind one another in the host's memory, aligned? */
static bool is_word(const struct run *r, unsigned ep, struct access a,
		    uint32_t prot)
{
	struct range rest = { a.iova, a.iova + (a.len - 1) };
	const uint8_t *at = NULL;
	struct look look;

	for (;; rest.start = look.last + 1) {
		model_look(&r->m, ep, rest, prot, &look);
		if (!at && ((look.gpa & (a.len - 1)) || look.rc))
			return false;
		if (look.rc || (at && at != look.bytes))
			return false;
		at = look.bytes + (look.last - rest.start + 1);
		if (look.last == rest.last)
			return true;
	}
}

/* The model's bytes of an access that works: to @buf, or from it. */
static void model_copy(const struct run *r, unsigned ep, struct access a,
		       uint8_t *buf, bool write)
{
	struct range rest = { a.iova, a.iova + (a.len - 1) };
	struct look look;

	for (; a.len; rest.start = look.last + 1) {
		uint64_t n;

		model_look(&r->m, ep, rest, write ? VIOMMU_WRITE : VIOMMU_READ,
			   &look);
		n = look.last - rest.start + 1;
		if (write)
			memcpy(look.bytes, buf, n);
		else
			memcpy(buf, look.bytes, n);
		buf += n;
		if (look.last == rest.last)
			return;
	}
}

static void buf_fill(struct run *r, const struct op *op, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		r->buf[i] =
			(uint8_t)(i * 13 + i / 256 + op->gpa + r->serial * 29);
}

/* A REMOTE space may be asked for more than it granted. */
static bool may_ask(const struct run *r, unsigned ep, const struct verdict *v)
{
	return r->m.in[ep] == SPACE_REMOTE &&
	       v->reason == VIOMMU_FAULT_PERMISSION;
}

static void compare_access(struct run *r, unsigned ep, uint32_t prot,
			   const struct verdict *v, int rc)
{
	struct verdict asks = { .rc = -EINPROGRESS };

	if (rc == -EINPROGRESS && v->rc && may_ask(r, ep, v))
		v = &asks;
	if (rc != v->rc)
		wrong("an access: %d, not %d", rc, v->rc);
	stream_seen.accesses += !rc;
	stream_seen.refused += rc != 0;
	compare_fault(r, ep, prot, v);
}

void do_read(struct run *r, const struct op *op)
{
	struct access a = layout_access(&r->m.l, op);
	unsigned ep = op->who % ENDPOINTS;
	struct verdict v = model_access(&r->m, ep, a, VIOMMU_READ);
	uint8_t *want = malloc(a.len + 1);
	int rc = viommu_dma_read(r->ep[ep], a.iova, r->buf, a.len);

	compare_access(r, ep, VIOMMU_READ, &v, rc);
	if (!want)
		abort();
	if (!v.rc && !rc) {
		model_copy(r, ep, a, want, false);
		if (memcmp(want, r->buf, a.len))
			wrong("viommu_dma_read: other bytes");
	}
	free(want);
}

void do_write(struct run *r, const struct op *op)
{
	struct access a = layout_access(&r->m.l, op);
	unsigned ep = op->who % ENDPOINTS;
	struct verdict v = model_access(&r->m, ep, a, VIOMMU_WRITE);
	int rc;

	buf_fill(r, op, a.len);
	rc = viommu_dma_write(r->ep[ep], a.iova, r->buf, a.len);
	compare_access(r, ep, VIOMMU_WRITE, &v, rc);
	if (!v.rc && !rc)
		model_copy(r, ep, a, r->buf, true);
	memory_compare(r);
}

static int word_call(struct run *r, const struct op *op, struct access a,
		     uint64_t *old, uint64_t val)
{
	struct viommu_endpoint *ep = r->ep[op->who % ENDPOINTS];
	unsigned size = (unsigned)a.len;

	switch (op->what) {
	case OP_LOAD:
		return viommu_dma_load(ep, a.iova, size, old);
	case OP_STORE:
		return viommu_dma_store(ep, a.iova, size, val);
	default:
		return viommu_dma_cas(ep, a.iova, size, old, val);
	}
}

/* The same on the model's bytes. */
static uint64_t word_model(struct run *r, const struct op *op, struct access a,
			   uint64_t old, uint64_t val)
{
	unsigned ep = op->who % ENDPOINTS;
	uint64_t was = 0, mask = a.len == 8 ? UINT64_MAX
					    : (UINT64_C(1) << 8 * a.len) - 1;

	if (op->what != OP_STORE) {
		model_copy(r, ep, a, (uint8_t *)&was, false);
		was = le64toh(was);
	}
	if (op->what == OP_LOAD || (op->what == OP_CAS && was != (old & mask)))
		return was;
	val = htole64(val);
	model_copy(r, ep, a, (uint8_t *)&val, true);
	return was;
}

void do_word(struct run *r, const struct op *op)
{
	static const uint32_t prots[] = { VIOMMU_READ, VIOMMU_WRITE,
					  VIOMMU_READ | VIOMMU_WRITE };
	struct access a = layout_word(&r->m.l, op);
	uint32_t prot = prots[op->what - OP_LOAD];
	unsigned ep = op->who % ENDPOINTS;
	uint64_t old = 0, expect = 0, val;
	struct verdict v;
	int rc;

	val = (op->gpa + UINT64_C(1)) * UINT64_C(0x0123456789abcdef);
	/* now and then what is there, so that it swaps */
	if (op->what == OP_CAS && op->prot % 2 && a.len <= 8 &&
	    !(a.iova & (a.len - 1)) && (a.len & (a.len - 1)) == 0 &&
	    !model_access(&r->m, ep, a, prot).rc) {
		model_copy(r, ep, a, (uint8_t *)&old, false);
		old = le64toh(old);
	}
	expect = old;
	rc = word_call(r, op, a, &old, val);
	if ((a.len & (a.len - 1)) || (a.iova & (a.len - 1))) {
		if (rc != -EINVAL || r->nfaults)
			wrong("a bad size or alignment: %d", rc);
		return;
	}
	v = model_access(&r->m, ep, a, prot);
	if (rc == -EINVAL && !r->nfaults) {
		if (is_word(r, ep, a, prot))
			wrong("an aligned word: -EINVAL");
		return;
	}
	if (!v.rc && !is_word(r, ep, a, prot))
		wrong("no aligned word: %d", rc);
	compare_access(r, ep, prot, &v, rc);
	if (v.rc || rc)
		return;
	expect = word_model(r, op, a, expect, val);
	if (op->what != OP_STORE && old != expect)
		wrong("a word: %#llx, not %#llx", (unsigned long long)old,
		      (unsigned long long)expect);
	memory_compare(r);
}

/* ------------------------------------------------------------------ maps */

/* Does @d point to what the model says, in order?  Its GPAs go to @h. */
static void compare_iov(struct run *r, struct hold *h)
{
	const struct viommu_dma *d = h->d;
	struct range rest = h->iova;
	struct look look;
	unsigned i = 0;
	uint64_t at = 0;

	h->gpa = (struct range){ UINT64_MAX, 0 };
	for (;; rest.start = look.last + 1) {
		const uint8_t *want;
		uint64_t n;

		model_look(&r->m, h->ep, rest, d->prot, &look);
		n = look.last - rest.start + 1;
		if (look.gpa < h->gpa.start)
			h->gpa.start = look.gpa;
		if (look.gpa + (n - 1) > h->gpa.last)
			h->gpa.last = look.gpa + (n - 1);
		want = region_host(r, look.region) +
		       (look.bytes - r->m.region[look.region].bytes);
		while (n) {
			uint64_t some;

			if (i == d->niov ||
			    (uint8_t *)d->iov[i].iov_base + at != want) {
				wrong("viommu_dma_map: piece %u is elsewhere",
				      i);
				return;
			}
			some = d->iov[i].iov_len - at;
			some = some < n ? some : n;
			n -= some;
			want += some;
			at += some;
			if (at == d->iov[i].iov_len) {
				i++;
				at = 0;
			}
		}
		if (look.last == rest.last)
			break;
	}
	if (i != d->niov)
		wrong("viommu_dma_map: more pieces than it needs");
}

/* Asked at most once, and only by a fence that overlaps. */
static void on_revoke(struct viommu_dma *d)
{
	struct hold *h = d->arg;
	unsigned i = (unsigned)(h - h->run->hold);

	if (!h->used || h->d != d)
		wrong("a map is asked that is gone");
	if (h->asked)
		wrong("a map is asked twice");
	if (!(fence_may & UINT64_C(1) << i))
		wrong("a map is asked that is in nobody's way");
	h->asked = true;
	stream_seen.asked++;
	if (h->yields)
		let_go(h->run, i);
}

static struct viommu_dma *dma_make(struct run *r, const struct op *op,
				   struct hold *h, struct access a)
{
	struct viommu_dma *d = calloc(1, sizeof(*d));

	if (!d)
		abort();
	*d = (struct viommu_dma){ .ep = r->ep[h->ep],
				  .iova = a.iova,
				  .len = a.len,
				  .prot = 1 + op->prot % 3,
				  .iov = h->iov,
				  .max_iov = IOVS,
				  .arg = h };
	if (op->fence % 2)
		d->revoke = on_revoke;
	return d;
}

void do_hold(struct run *r, const struct op *op)
{
	struct access a = layout_access(&r->m.l, op);
	unsigned slot = op->who % HOLDS;
	struct hold *h = &r->hold[slot];
	struct verdict v;
	int rc;

	if (h->used || !a.len)
		return;
	*h = (struct hold){ .when = r->serial,
			    .run = r,
			    .ep = op->at / 64 % ENDPOINTS,
			    .yields = op->fence & 2,
			    .iova = { a.iova, a.iova + (a.len - 1) } };
	h->d = dma_make(r, op, h, a);
	if (r->m.in[h->ep] >= 0)
		h->space = r->m.space[r->m.in[h->ep]].birth;
	v = model_access(&r->m, h->ep, a, h->d->prot);
	rc = viommu_dma_map(h->d);
	compare_access(r, h->ep, h->d->prot, &v, rc);
	if (!rc && !v.rc) {
		h->used = true;
		stream_seen.held++;
		compare_iov(r, h);
		return;
	}
	free(h->d);
}

/* Some later access begins the burst anew, or not: who waits for it may be
 * done. */
void bursts_follow(struct run *r)
{
	for (unsigned ep = 0; ep < ENDPOINTS; ep++) {
		struct hold *h = &r->hold[HOLDS + ep];
		unsigned now = 0;

		if (r->m.in[ep] >= 0)
			now = r->m.space[r->m.in[ep]].birth;
		if (!h->used || h->space == now)
			continue;
		h->moved = true;
		for (unsigned i = 0; i < FENCES; i++)
			r->fence[i].must &= ~(UINT64_C(1) << (HOLDS + ep));
	}
}

/* A burst is in the way of all that its endpoint sees. */
void do_enter(struct run *r, const struct op *op)
{
	unsigned ep = op->who % ENDPOINTS;
	struct hold *h = &r->hold[HOLDS + ep];

	if (h->used)
		return;
	compare_rc("viommu_dma_enter", 0, viommu_dma_enter(r->ep[ep]));
	*h = (struct hold){ .used = true,
			    .burst = true,
			    .when = r->serial,
			    .ep = ep,
			    .iova.last = UINT64_MAX,
			    .gpa.last = UINT64_MAX };
	if (r->m.in[ep] >= 0)
		h->space = r->m.space[r->m.in[ep]].birth;
}

void do_exit(struct run *r, const struct op *op)
{
	unsigned ep = op->who % ENDPOINTS;

	if (!r->hold[HOLDS + ep].used)
		return;
	hold_over(r, HOLDS + ep);
	viommu_dma_exit(r->ep[ep]);
}
