/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vhost-user: the front-end's memory, slot by slot.
 *
 * A slot is known to the device's memory (what a GPA is in this process) and to
 * the IOTLB (what the front-end calls the same place).  What is removed is gone
 * at once (L2) and acknowledged when its fence is done (L3); so a place may be
 * given anew in the same message.
 *
 * The loop's thread only.
 */

#include <errno.h>
#include <string.h>
#include <viommu/memory.h>

#include "serve/vhost_user_impl.h"

static struct viommu_vhost_region region_of(const struct vh_region *r)
{
	return (struct viommu_vhost_region){
		.gpa = r->gpa,
		.user = r->user,
		.len = r->len,
	};
}

static void slots_count(struct vs_slots *slots, unsigned n)
{
	slots->n = n;
	atomic_store_explicit(&slots->count, n, memory_order_relaxed);
}

/* The file is looked at, the memory is there, then the IOTLB may lead to it. */
static int slot_make(struct viommu_vhost_user *s, const struct vh_region *r,
		     int fd)
{
	const struct viommu_vhost_region user = region_of(r);
	const struct viommu_region region = {
		.size = sizeof(region),
		.gpa = r->gpa,
		.len = r->len,
		.prot = VIOMMU_READ | VIOMMU_WRITE,
		.fd = fd,
		.fd_offset = r->offset,
	};
	struct vs_slot *slot = &s->slots.slot[s->slots.n];
	int rc = vs_files_get(&s->slots.files, fd, &slot->file);

	if (rc)
		return rc;
	rc = viommu_vhost_iotlb_region_add(s->iotlb, &user);
	if (rc)
		goto put;
	rc = viommu_memory_add(s->memory, &region);
	if (rc) {
		struct viommu_fence f;

		/* nothing leads there yet: the fence is empty */
		viommu_fence_init(&f);
		if (!viommu_vhost_iotlb_region_remove(s->iotlb, &user, &f)) {
			viommu_fence_commit(&f, NULL, NULL);
			if (viommu_fence_wait(&f, -1))
				rc = -EINVAL;
		}
		goto put;
	}
	slot->r = *r;
	slots_count(&s->slots, s->slots.n + 1);
	return 0;
put:
	vs_files_put(&s->slots.files, slot->file);
	return rc;
}

int vs_slot_add(struct viommu_vhost_user *s, const struct vh_region *r, int fd)
{
	if (!r->len || r->gpa + (r->len - 1) < r->gpa ||
	    r->user + (r->len - 1) < r->user ||
	    r->offset + (r->len - 1) < r->offset)
		return -EINVAL;
	if (s->slots.n == VS_VH_SLOTS)
		return -ENOSPC;
	return slot_make(s, r, fd);
}

/* One that the table has: cannot fail but if the embedder took it away. */
static void slot_drop(struct viommu_vhost_user *s, unsigned at,
		      struct viommu_fence *f)
{
	struct vs_slot *slot = &s->slots.slot[at];
	const struct viommu_vhost_region user = region_of(&slot->r);
	int rc = viommu_vhost_iotlb_region_remove(s->iotlb, &user, f);

	if (!rc)
		rc = viommu_memory_remove(s->memory, slot->r.gpa, slot->r.len,
					  f);
	if (rc)
		vs_vtrouble(s, "memory that was to be removed is not there");
	vs_files_put(&s->slots.files, slot->file);
	*slot = s->slots.slot[s->slots.n - 1];
	slots_count(&s->slots, s->slots.n - 1);
}

/* By what the protocol names a slot; its file does not count. */
static int slot_find(const struct vs_slots *slots, const struct vh_region *r)
{
	for (unsigned i = 0; i < slots->n; i++) {
		const struct vh_region *have = &slots->slot[i].r;

		if (have->gpa == r->gpa && have->user == r->user &&
		    have->len == r->len)
			return (int)i;
	}
	return -ENOENT;
}

int vs_slot_remove(struct viommu_vhost_user *s, const struct vh_region *r,
		   struct viommu_fence *f)
{
	int at = slot_find(&s->slots, r);

	if (at < 0)
		return at;
	/* pages that were written there are known by this slot */
	vs_log_sync(s);
	slot_drop(s, (unsigned)at, f);
	return 0;
}

/* Whether the table still has this slot. */
static bool slot_stays(const struct vs_slot *slot, const struct vh_mem_table *t,
		       const int *fds)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (!memcmp(&slot->r, &t->region[i], sizeof(slot->r)) &&
		    vs_files_same(slot->file, fds[i]))
			return true;
	return false;
}

static bool overlap(uint64_t a, uint64_t b, uint64_t a_len, uint64_t b_len)
{
	return a < b ? b - a < a_len : a - b < b_len;
}

static int table_check(const struct vh_mem_table *t)
{
	for (uint32_t i = 0; i < t->n; i++) {
		const struct vh_region *a = &t->region[i];

		if (!a->len || a->gpa + (a->len - 1) < a->gpa ||
		    a->user + (a->len - 1) < a->user)
			return -EINVAL;
		for (uint32_t j = 0; j < i; j++) {
			const struct vh_region *b = &t->region[j];

			if (overlap(a->gpa, b->gpa, a->len, b->len) ||
			    overlap(a->user, b->user, a->len, b->len))
				return -EEXIST;
		}
	}
	return 0;
}

int vs_slots_set(struct viommu_vhost_user *s, const struct vh_mem_table *t,
		 const int *fds, struct viommu_fence *f)
{
	int rc = table_check(t);

	if (rc)
		return rc;
	vs_log_sync(s);
	for (unsigned i = s->slots.n; i--;)
		if (!slot_stays(&s->slots.slot[i], t, fds))
			slot_drop(s, i, f);
	for (uint32_t i = 0; i < t->n && !rc; i++)
		if (slot_find(&s->slots, &t->region[i]) < 0)
			rc = vs_slot_add(s, &t->region[i], fds[i]);
	return rc;
}

void vs_slots_clear(struct viommu_vhost_user *s, struct viommu_fence *f)
{
	while (s->slots.n)
		slot_drop(s, s->slots.n - 1, f);
}
