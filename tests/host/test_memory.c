/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that goes in parts, comes back elsewhere, or is a device, under a
 * shadow: what it takes from the kernel, and what it leaves there.
 */
#include "host.h"

#include <errno.h>
#include <string.h>

static const struct host_options plain = { .kind = KERNEL_TYPE1,
					   .policy = VIOMMU_SPACE_SPLIT };

static unsigned maps(const struct host *h)
{
	return h->k.calls[KERNEL_MAP];
}

static unsigned unmaps(const struct host *h)
{
	return h->k.calls[KERNEL_UNMAP];
}

/* Give up any bytes; the fence is committed. */
static void give_up(struct host *h, uint64_t gpa, uint64_t len,
		    struct viommu_fence *f)
{
	viommu_fence_init(f);
	assert_int_equal(
		viommu_memory_give_up(viommu_memory_of(h->vi), gpa, len, f), 0);
	viommu_fence_commit(f, NULL, NULL);
}

/* ---- parts ------------------------------------------------------------ */

static void of_a_part_the_rest_is_put_back(void **state)
{
	struct viommu_shadow_stats st;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 20, 16, 0, RW), 0);
	host_give_up(&h, 4, 4);
	st = host_stats(&h);
	assert_int_equal(h.k.n, 2);
	assert_int_equal(unmaps(&h), 1);
	assert_int_equal(maps(&h), 3);
	assert_int_equal(st.mappings, 1);
	assert_int_equal(st.cuts, 2);
	assert_int_equal(st.lost, 0);
	host_is_equal(&h, 0);
	/* at the edges of what is left */
	host_give_up(&h, 0, 1);
	host_give_up(&h, 15, 1);
	assert_int_equal(h.k.n, 2);
	assert_int_equal(maps(&h), 5);
	host_is_equal(&h, 0);
	/* over the hole: all but a page of each */
	host_give_up(&h, 2, 12);
	assert_int_equal(h.k.n, 2);
	assert_int_equal(h.k.pinned, 2 * PAGE);
	host_is_equal(&h, 0);
	host_end(&h);
}

static void it_goes_wherever_it_is_mapped(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	/* two within it in a row, then one of which a part leads there, one
	 * more within, one that leads elsewhere, another part, and all of it */
	assert_int_equal(host_map(&h, 0, 0, 2, 4, RW), 0);
	assert_int_equal(host_map(&h, 0, 3, 1, 7, VIOMMU_READ), 0);
	assert_int_equal(host_map(&h, 0, 4, 6, 6, RW), 0);
	assert_int_equal(host_map(&h, 0, 10, 2, 5, RW), 0);
	assert_int_equal(host_map(&h, 0, 12, 4, 8, RW), 0);
	assert_int_equal(host_map(&h, 0, 20, 4, 2, VIOMMU_WRITE), 0);
	assert_int_equal(host_map(&h, 0, 30, 4, 4, RW), 0);
	host_give_up(&h, 4, 4);
	assert_int_equal(h.k.n, 3);
	assert_int_equal(unmaps(&h), 5);
	assert_int_equal(maps(&h), 9);
	host_is_equal(&h, 0);
	host_end(&h);
}

static void a_mapping_may_lead_to_several_parts(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 3 * REGION_STRIDE, 0, RW), 0);
	assert_int_equal(h.k.n, 3);
	/* the end of one, the beginning of the next */
	host_give_up(&h, 12, REGION_STRIDE);
	assert_int_equal(h.k.n, 3);
	assert_int_equal(h.k.pinned, (3 * REGION_PAGES - 16) * PAGE);
	host_is_equal(&h, 0);
	/* out of each */
	for (uint64_t r = 0; r < 3; r++)
		host_give_up(&h, r * REGION_STRIDE + 5, 9);
	host_is_equal(&h, 0);
	/* anew it is the same */
	assert_int_equal(host_attach(&h, 1), 0);
	assert_int_equal(h.k.n, 0);
	assert_int_equal(host_attach(&h, 0), 0);
	host_is_equal(&h, 0);
	assert_int_equal(host_stats(&h).lost, 0);
	host_end(&h);
}

static void whole_pieces_go_alone(void **state)
{
	struct host_options pieces = plain;
	unsigned before;
	struct host h;

	(void)state;
	pieces.piece_size = 4 * PAGE;
	host_begin(&h, &pieces);
	assert_int_equal(host_map(&h, 0, 0, 16, 0, RW), 0);
	before = maps(&h);
	host_give_up(&h, 4, 8);
	assert_int_equal(h.k.n, 2);
	assert_int_equal(maps(&h), before);
	assert_int_equal(unmaps(&h), 1);
	assert_int_equal(host_stats(&h).cuts, 0);
	host_is_equal(&h, 0);
	host_end(&h);
}

/* A host's page that goes in part has no place in the host. */
static void a_part_of_a_page_takes_all_of_it(void **state)
{
	struct viommu_fence f;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 16, 0, RW), 0);
	give_up(&h, 4 * PAGE + 0x800, PAGE, &f);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(h.lost, 2);
	assert_int_equal(h.err, ERANGE);
	assert_null(kernel_find(&h.k, 4 * PAGE));
	assert_null(kernel_find(&h.k, 5 * PAGE));
	assert_int_equal(h.k.n, 2);
	assert_int_equal(h.k.pinned, 14 * PAGE);
	assert_int_equal(host_compare(&h, 0).stale, 0);
	/* the same bytes by the other edge of a page */
	give_up(&h, 8 * PAGE, 0x10, &f);
	assert_int_equal(h.lost, 3);
	assert_int_equal(h.k.pinned, 13 * PAGE);
	give_up(&h, 11 * PAGE - 0x10, 0x10, &f);
	assert_int_equal(h.lost, 4);
	assert_int_equal(h.k.pinned, 12 * PAGE);
	assert_int_equal(h.k.broken, 0);
	host_end(&h);
}

/* ---- what goes wrong -------------------------------------------------- */

static void a_rest_that_is_refused_is_lost_and_told(void **state)
{
	struct difference d;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 16, 0, RW), 0);
	/* both sides; then one */
	kernel_fail(&h.k, KERNEL_MAP, 0, 1, ENOMEM);
	host_give_up(&h, 4, 4);
	assert_int_equal(h.lost, 1);
	assert_int_equal(h.err, ENOMEM);
	assert_int_equal(h.k.n, 1);
	d = host_compare(&h, 0);
	assert_int_equal(d.stale, 0);
	assert_int_equal(d.missing, 4);
	kernel_fail(&h.k, KERNEL_MAP, 0, 2, EFAULT);
	host_give_up(&h, 10, 2);
	assert_int_equal(h.lost, 3);
	assert_int_equal(host_stats(&h).lost, 3);
	assert_int_equal(h.k.n, 0);
	/* it is whole again when it is mapped anew */
	assert_int_equal(host_unmap(&h, 0, 0, 16), 16 * PAGE);
	assert_int_equal(host_map(&h, 0, 0, 16, 0, RW), 0);
	assert_int_equal(h.k.n, 3);
	host_is_equal(&h, 0);
	host_end(&h);
}

static void no_entry_left_loses_one_side(void **state)
{
	struct host_options few = plain;
	struct host h;

	(void)state;
	few.max_entries = 2;
	host_begin(&h, &few);
	assert_int_equal(host_map(&h, 0, 0, 4, REGION_STRIDE, RW), 0);
	assert_int_equal(host_map(&h, 0, 16, 16, 0, RW), 0);
	host_give_up(&h, 4, 4);
	assert_int_equal(h.lost, 1);
	assert_int_equal(h.err, ENOSPC);
	assert_int_equal(h.k.n, 2);
	assert_int_equal(host_compare(&h, 0).missing, 8);
	assert_int_equal(host_compare(&h, 0).stale, 0);
	host_end(&h);
}

static void a_part_that_is_stuck_holds_the_fence(void **state)
{
	struct viommu_fence f, other;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 16, 0, RW), 0);
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 2, EBUSY);
	give_up(&h, 4 * PAGE, 4 * PAGE, &f);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(h.stuck, 1);
	/* the rest is under it */
	assert_int_equal(h.lost, 2);
	assert_non_null(kernel_find(&h.k, 5 * PAGE));
	/* who gives up what it leads to as well waits, too */
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 2, EBUSY);
	give_up(&h, 0, PAGE, &other);
	assert_false(viommu_fence_done(&other));
	assert_int_equal(host_retry(&h), 0);
	assert_true(viommu_fence_done(&f));
	assert_true(viommu_fence_done(&other));
	assert_int_equal(h.k.n, 0);
	assert_int_equal(host_compare(&h, 0).stale, 0);
	host_end(&h);
}

static void memory_that_comes_back_pushes_what_is_stuck(void **state)
{
	struct viommu_fence f;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 4, 4, RW), 0);
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 2, EBUSY);
	give_up(&h, 4 * PAGE, 4 * PAGE, &f);
	assert_false(viommu_fence_done(&f));
	/* it would hide the new place */
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 4, EBUSY);
	assert_int_equal(host_ram_put(&h, 4, 4, 1), -EBUSY);
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 0, 0);
	assert_int_equal(host_ram_put(&h, 4, 4, 1), 0);
	assert_int_equal(host_stats(&h).stuck, 0);
	host_is_equal(&h, 0);
	assert_int_equal(host_retry(&h), 0);
	assert_true(viommu_fence_done(&f));
	host_end(&h);
}

/* ---- elsewhere -------------------------------------------------------- */

static void what_comes_back_elsewhere_leads_there(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 2 * REGION_STRIDE, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 80, 3, 3, VIOMMU_READ), 0);
	host_give_up(&h, 4, 4);
	assert_int_equal(host_ram_put(&h, 4, 4, 1), 0);
	/* 3 of the first region, the second; 2 of the other mapping */
	assert_int_equal(h.k.n, 6);
	assert_ptr_equal(kernel_find(&h.k, 5 * PAGE)->host, host_at(&h, 4, 1));
	assert_ptr_equal(kernel_find(&h.k, 81 * PAGE)->host, host_at(&h, 4, 1));
	assert_ptr_equal(kernel_find(&h.k, 80 * PAGE)->host, host_at(&h, 3, 0));
	host_is_equal(&h, 0);
	/* a cut across both places */
	assert_int_equal(host_unmap(&h, 0, 3, 3), 3 * PAGE);
	host_is_equal(&h, 0);
	assert_int_equal(host_stats(&h).lost, 0);
	host_end(&h);
}

static void a_refusal_to_come_back_leaves_the_rest(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 16, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 20, 16, 0, RW), 0);
	host_give_up(&h, 4, 4);
	kernel_fail(&h.k, KERNEL_MAP, 1, 1, ENOMEM);
	assert_int_equal(host_ram_put(&h, 4, 4, 1), -ENOMEM);
	assert_int_equal(h.k.n, 4);
	host_is_equal(&h, 0);
	assert_int_equal(host_ram_put(&h, 4, 4, 0), 0);
	assert_int_equal(h.k.n, 6);
	host_is_equal(&h, 0);
	host_end(&h);
}

/* ---- what was written ------------------------------------------------- */

static void log_on(struct host *h)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(
		viommu_memory_dirty_start(viommu_memory_of(h->vi), 0, &f), 0);
	fence_run(&f);
}

/* The dirty pages of region 0, ... */
static uint64_t fetch_all(struct host *h)
{
	uint64_t bits = 0;

	assert_true(viommu_memory_dirty_fetch(viommu_memory_of(h->vi), 0,
					      64 * PAGE, &bits) >= 0);
	return bits;
}

/* ... of what is left of it without pages 4 to 7. */
static uint64_t fetch(struct host *h)
{
	return fetch_all(h) & ~UINT64_C(0xf0);
}

static void bits_of_the_rest_are_collected(void **state)
{
	static const uint64_t where[] = { 1, 5, 9, 15 };
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 16, 0, RW), 0);
	log_on(&h);
	for (int i = 0; i < 4; i++)
		assert_non_null(kernel_write(&h.k, where[i] * PAGE));
	host_give_up(&h, 4, 4);
	assert_int_equal(fetch(&h), 1 << 1 | 1 << 9 | 1 << 15);
	assert_int_equal(fetch(&h), 0);
	/* what was put back is logged, too */
	assert_non_null(kernel_write(&h.k, 12 * PAGE));
	assert_int_equal(fetch(&h), 1 << 12);
	host_end(&h);
}

static void without_bits_the_rest_counts_as_written(void **state)
{
	struct host h;

	(void)state;
	host_make(&h, &plain);
	h.k.migration = false;
	assert_int_equal(host_ram_add(&h, 0), 0);
	assert_int_equal(host_attach(&h, 0), 0);
	assert_int_equal(host_add(&h, &plain), 0);
	assert_int_equal(host_map(&h, 0, 0, 10, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 10, 6, 10, VIOMMU_READ), 0);
	log_on(&h);
	host_give_up(&h, 4, 4);
	assert_int_equal(host_unmap(&h, 0, 0, 16), 16 * PAGE);
	assert_int_equal(fetch(&h), 0x30f);
	assert_int_equal(fetch(&h), 0);
	host_end(&h);
}

/* ---- devices ---------------------------------------------------------- */

static void a_device_has_no_entry(void **state)
{
	struct host h;

	(void)state;
	host_make(&h, &plain);
	/* one behind RAM, and one between */
	assert_int_equal(host_ram_put(&h, 0, REGION_PAGES, 0), 0);
	assert_int_equal(host_device_put(&h, REGION_PAGES, 8), 0);
	assert_int_equal(host_attach(&h, 0), 0);
	assert_int_equal(host_map(&h, 0, 0, 64, 0, RW), 0);
	assert_int_equal(host_add(&h, &plain), 0);
	assert_int_equal(h.k.n, 1);
	host_is_equal(&h, 0);
	assert_int_equal(host_device_put(&h, REGION_PAGES + 8, 8), 0);
	assert_int_equal(host_ram_put(&h, REGION_STRIDE, 4, 0), 0);
	assert_int_equal(maps(&h), 2);
	assert_int_equal(h.k.n, 2);
	/* a mapping that leads to nothing else is none to the host */
	assert_int_equal(host_map(&h, 0, 64, 12, REGION_PAGES + 2, RW), 0);
	assert_int_equal(h.k.n, 2);
	host_is_equal(&h, 0);
	/* its going is nothing either */
	host_give_up(&h, REGION_PAGES + 4, 8);
	assert_int_equal(unmaps(&h), 0);
	host_is_equal(&h, 0);
	host_end(&h);
}

static void ram_becomes_a_device_and_ram_again(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 16, 0, RW), 0);
	host_give_up(&h, 4, 4);
	assert_int_equal(host_device_put(&h, 4, 4), 0);
	assert_int_equal(h.k.n, 2);
	host_is_equal(&h, 0);
	/* a cut beside it puts back no more */
	assert_int_equal(host_unmap(&h, 0, 2, 1), PAGE);
	host_is_equal(&h, 0);
	host_give_up(&h, 4, 4);
	assert_int_equal(host_ram_put(&h, 4, 4, 1), 0);
	assert_int_equal(h.k.n, 4);
	host_is_equal(&h, 0);
	host_end(&h);
}

/* ---- moves ------------------------------------------------------------ */

struct moved {
	unsigned n;
	int rc;
	struct host *h;
};

static void moved(void *arg, int rc)
{
	struct moved *m = arg;

	m->n++;
	m->rc = rc;
}

static int refuse_to_copy(void *arg, const struct viommu_region *from,
			  const struct viommu_region *to)
{
	(void)arg;
	(void)from;
	(void)to;
	return -EIO;
}

/* Pages 4 to 7, from one bank to the other. */
static struct viommu_move move_of(struct host *h, struct moved *out)
{
	*out = (struct moved){ .h = h };
	return (struct viommu_move){ .size = sizeof(struct viommu_move),
				     .to = { .size = sizeof(
						     struct viommu_region),
					     .gpa = 4 * PAGE,
					     .len = 4 * PAGE,
					     .host = host_at(h, 4, 1),
					     .prot = RW,
					     .fd = -1 },
				     .moved = moved,
				     .arg = out };
}

static void move(struct host *h, const struct viommu_move *m,
		 struct viommu_fence *f)
{
	viommu_fence_init(f);
	assert_int_equal(viommu_memory_move(viommu_memory_of(h->vi), m, f), 0);
	viommu_fence_commit(f, NULL, NULL);
}

static void what_moves_is_found_in_the_new_place(void **state)
{
	struct viommu_fence f;
	struct viommu_move m;
	struct moved out;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	m = move_of(&h, &out);
	assert_int_equal(host_map(&h, 0, 0, 16, 0, RW), 0);
	log_on(&h);
	*kernel_write(&h.k, 3 * PAGE) = 'o';
	*kernel_write(&h.k, 5 * PAGE) = 'n';
	move(&h, &m, &f);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(out.n, 1);
	assert_int_equal(out.rc, 0);
	assert_int_equal(h.k.n, 3);
	assert_ptr_equal(kernel_find(&h.k, 5 * PAGE)->host, host_at(&h, 4, 1));
	assert_int_equal(*host_at(&h, 5, 1), 'n');
	host_is_equal(&h, 0);
	/* what the device wrote before is no less written */
	assert_non_null(kernel_write(&h.k, 6 * PAGE));
	assert_int_equal(fetch_all(&h), 1 << 3 | 1 << 5 | 1 << 6);
	assert_int_equal(host_stats(&h).lost, 0);
	host_end(&h);
}

/* The device must not find the old place while it is copied. */
static int map_meanwhile(void *arg, const struct viommu_region *from,
			 const struct viommu_region *to)
{
	struct moved *m = arg;
	struct host *h = m->h;

	assert_int_equal(m->n, 0);
	assert_int_equal(h->k.pinned, 4 * PAGE);
	/* a map, a cut beside it, a switch to and fro */
	assert_int_equal(host_map(h, 0, 20, 16, 0, RW), 0);
	assert_int_equal(h->k.pinned, 16 * PAGE);
	assert_null(kernel_find(&h->k, 24 * PAGE));
	assert_int_equal(host_unmap(h, 0, 1, 1), PAGE);
	assert_int_equal(host_attach(h, 1), 0);
	assert_int_equal(host_attach(h, 0), 0);
	assert_int_equal(h->k.pinned, 15 * PAGE);
	assert_null(kernel_find(&h->k, 4 * PAGE));
	memcpy(to->host, from->host, from->len);
	return 0;
}

static void what_is_mapped_during_a_move_waits_for_its_end(void **state)
{
	struct viommu_fence f;
	struct viommu_move m;
	struct moved out;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	m = move_of(&h, &out);
	m.copy = map_meanwhile;
	assert_int_equal(host_map(&h, 0, 0, 8, 0, RW), 0);
	move(&h, &m, &f);
	assert_int_equal(out.n, 1);
	assert_int_equal(out.rc, 0);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(h.k.pinned, 23 * PAGE);
	assert_ptr_equal(kernel_find(&h.k, 24 * PAGE)->host, host_at(&h, 4, 1));
	host_is_equal(&h, 0);
	assert_int_equal(host_stats(&h).refused, 0);
	host_end(&h);
}

static void what_does_not_move_is_back(void **state)
{
	struct viommu_fence f;
	struct viommu_move m;
	struct moved out;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	m = move_of(&h, &out);
	m.copy = refuse_to_copy;
	assert_int_equal(host_map(&h, 0, 0, 16, 0, RW), 0);
	move(&h, &m, &f);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(out.rc, -EIO);
	assert_int_equal(h.k.pinned, 16 * PAGE);
	host_is_equal(&h, 0);
	/* the host has no room for the new place, then for neither */
	m.copy = NULL;
	kernel_fail(&h.k, KERNEL_MAP, 2, 1, ENOMEM);
	assert_int_equal(host_unmap(&h, 0, 0, 16), 16 * PAGE);
	assert_int_equal(host_map(&h, 0, 0, 1, 3, RW), 0);
	assert_int_equal(host_map(&h, 0, 1, 1, 4, RW), 0);
	move(&h, &m, &f);
	assert_int_equal(out.n, 2);
	assert_int_equal(out.rc, -ENOMEM);
	assert_int_equal(h.k.n, 2);
	host_is_equal(&h, 0);
	assert_int_equal(host_stats(&h).gone, 0);
	kernel_fail(&h.k, KERNEL_MAP, 0, 2, ENOMEM);
	move(&h, &m, &f);
	assert_int_equal(out.rc, -ENOMEM);
	assert_int_equal(host_stats(&h).gone, 1);
	assert_int_equal(h.k.n, 0);
	assert_int_equal(h.lost, 1);
	host_end(&h);
}

/* What is stuck reaches the old place: nothing is copied before it is out. */
static void a_move_waits_for_what_is_stuck(void **state)
{
	struct viommu_fence f;
	struct viommu_move m;
	struct moved out;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	m = move_of(&h, &out);
	assert_int_equal(host_map(&h, 0, 0, 4, 4, RW), 0);
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 2, EBUSY);
	move(&h, &m, &f);
	assert_int_equal(out.n, 0);
	*kernel_write(&h.k, PAGE) = 'l';
	assert_int_equal(host_retry(&h), 0);
	assert_int_equal(out.n, 1);
	assert_int_equal(out.rc, 0);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(*host_at(&h, 5, 1), 'l');
	host_is_equal(&h, 0);
	host_end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_a_part_the_rest_is_put_back),
		cmocka_unit_test(it_goes_wherever_it_is_mapped),
		cmocka_unit_test(a_mapping_may_lead_to_several_parts),
		cmocka_unit_test(whole_pieces_go_alone),
		cmocka_unit_test(a_part_of_a_page_takes_all_of_it),
		cmocka_unit_test(a_rest_that_is_refused_is_lost_and_told),
		cmocka_unit_test(no_entry_left_loses_one_side),
		cmocka_unit_test(a_part_that_is_stuck_holds_the_fence),
		cmocka_unit_test(memory_that_comes_back_pushes_what_is_stuck),
		cmocka_unit_test(what_comes_back_elsewhere_leads_there),
		cmocka_unit_test(a_refusal_to_come_back_leaves_the_rest),
		cmocka_unit_test(bits_of_the_rest_are_collected),
		cmocka_unit_test(without_bits_the_rest_counts_as_written),
		cmocka_unit_test(a_device_has_no_entry),
		cmocka_unit_test(ram_becomes_a_device_and_ram_again),
		cmocka_unit_test(what_moves_is_found_in_the_new_place),
		cmocka_unit_test(
			what_is_mapped_during_a_move_waits_for_its_end),
		cmocka_unit_test(what_does_not_move_is_back),
		cmocka_unit_test(a_move_waits_for_what_is_stuck),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
