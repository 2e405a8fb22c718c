/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What notifiers are told of their endpoint's memory: regions that come and go,
 * and its dirty log.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "notifier.h"

enum {
	BITS = WORLD_RAM / PAGE,
};

static unsigned char more[4 * PAGE];

static int ram_add(struct rig *r, uint64_t gpa, void *host, uint64_t len)
{
	const struct viommu_region g = { .size = sizeof(g),
					 .gpa = gpa,
					 .len = len,
					 .host = host,
					 .prot = RW,
					 .fd = -1 };

	return viommu_memory_add(viommu_memory_of(r->w.vi), &g);
}

static int ram_remove(struct rig *r, uint64_t gpa, uint64_t len)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_memory_remove(viommu_memory_of(r->w.vi), gpa, len, &f);
	fence_run(&f);
	return rc;
}

static void memories(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const char *what = shadow_compare_memory(
			&r->s[i], viommu_memory_of(r->w.vi));

		if (what)
			fail_msg("shadow %c: %s", 'a' + i, what);
	}
}

/* ---- looking ---------------------------------------------------------- */

static void regions_are_found_in_order(void **state)
{
	struct viommu_region g = { .size = sizeof(g) };
	struct rig *r = rig_make();
	struct viommu_memory *mem = viommu_memory_of(r->w.vi);

	(void)state;
	assert_int_equal(ram_add(r, UINT64_MAX - 0xfff, more + 1, 0x1000), 0);
	assert_int_equal(ram_add(r, 0x20000000, more, 0x2345), 0);
	assert_int_equal(viommu_memory_next(mem, 0, &g), 0);
	assert_int_equal(g.gpa, 0);
	assert_int_equal(g.len, WORLD_RAM);
	assert_ptr_equal(g.host, r->w.ram);
	assert_int_equal(g.prot, RW);
	assert_int_equal(g.fd, -1);
	/* its last byte is one of it, the next is not */
	assert_int_equal(viommu_memory_next(mem, WORLD_RAM - 1, &g), 0);
	assert_int_equal(g.gpa, 0);
	assert_int_equal(viommu_memory_next(mem, WORLD_RAM, &g), 0);
	assert_int_equal(g.gpa, 0x20000000);
	assert_int_equal(g.len, 0x2345);
	assert_ptr_equal(g.host, more);
	assert_int_equal(viommu_memory_next(mem, 0x20002345, &g), 0);
	assert_int_equal(g.gpa, UINT64_MAX - 0xfff);
	assert_int_equal(viommu_memory_next(mem, UINT64_MAX, &g), 0);
	assert_ptr_equal(g.host, more + 1);
	assert_int_equal(ram_remove(r, UINT64_MAX - 0xfff, 0x1000), 0);
	assert_int_equal(viommu_memory_next(mem, 0x20002345, &g), -ENOENT);
	rig_free(r);
}

static void an_older_caller_gets_what_it_knows(void **state)
{
	struct {
		struct viommu_region g;
		uint64_t later;
	} later = { .g = { .size = sizeof(later) }, .later = 1 };
	struct rig *r = rig_make();
	struct viommu_memory *mem = viommu_memory_of(r->w.vi);

	(void)state;
	assert_int_equal(viommu_memory_next(mem, 0, &later.g), -EINVAL);
	rig_free(r);
}

static void a_file_is_where_it_is_mapped(void **state)
{
	struct viommu_region g = { .size = sizeof(g),
				   .gpa = 0x20000000,
				   .len = PAGE,
				   .prot = RW,
				   .fd = memfd_create("ram", MFD_CLOEXEC),
				   .fd_offset = PAGE };
	struct rig *r = rig_make();
	struct viommu_memory *mem = viommu_memory_of(r->w.vi);

	(void)state;
	assert_int_equal(ftruncate(g.fd, 2 * PAGE), 0);
	assert_int_equal(pwrite(g.fd, "x", 1, PAGE), 1);
	rig_add(r, 1);
	assert_int_equal(viommu_memory_add(mem, &g), 0);
	close(g.fd);
	assert_heard(r, "a ram+ 20000000-20000fff\n");
	memories(r, 1);
	assert_int_equal(r->s[0].region[1].fd, -1);
	assert_int_equal(*(char *)r->s[0].region[1].host, 'x');
	assert_int_equal(viommu_memory_next(mem, 0x20000000, &g), 0);
	assert_int_equal(g.fd, -1);
	assert_int_equal(*(char *)g.host, 'x');
	rig_free(r);
}

/* ---- coming and going ------------------------------------------------- */

static void regions_are_told_like_mappings(void **state)
{
	struct rig *r = rig_make();

	(void)state;
	rig_add(r, 2);
	assert_int_equal(ram_add(r, 0x20000000, more, 0x1234), 0);
	assert_int_equal(ram_add(r, 0x30000000, more, 0x1000), 0);
	assert_heard(r, "a ram+ 20000000-20001233\n"
			"b ram+ 20000000-20001233\n"
			"a ram+ 30000000-30000fff\n"
			"b ram+ 30000000-30000fff\n");
	memories(r, 2);
	assert_int_equal(ram_remove(r, 0x10000000, 0x20001000), 0);
	memories(r, 2);
	assert_non_null(strstr(heard(r), "b ram- "));
	assert_int_equal(ram_remove(r, 0x10000000, 0x20001000), -ENOENT);
	assert_int_equal(ram_remove(r, 0x1000, 0x1000), -ERANGE);
	assert_int_equal(ram_add(r, 0x1000, more, 0x1000), -EEXIST);
	memories(r, 2);
	rig_free(r);
}

static void a_region_that_fails_is_not_told(void **state)
{
	struct rig *r = rig_make();

	(void)state;
	rig_add(r, 1);
	assert_int_equal(ram_add(r, 0x1000, more, 0x1000), -EEXIST);
	assert_int_equal(ram_add(r, 0x20000000, more, 0), -EINVAL);
	assert_heard(r, "");
	memories(r, 1);
	rig_free(r);
}

static void a_region_that_is_refused_is_undone(void **state)
{
	struct rig *r = rig_make();
	char c;

	(void)state;
	rig_add(r, 3);
	for (unsigned i = 0; i < 3; i++) {
		refuse(r, i, SHADOW_ANY(SHADOW_RAM_ADD), 0);
		assert_int_equal(ram_add(r, 0x20000000, more, 0x1000), -ENOSPC);
		memories(r, 3);
		assert_int_equal(viommu_memory_read(viommu_memory_of(r->w.vi),
						    0x20000000, &c, 1),
				 -EFAULT);
	}
	assert_string_equal(strstr(heard(r), "c ram+"),
			    "c ram+ 20000000-20000fff ENOSPC\n"
			    "b ram- 20000000-20000fff -\n"
			    "a ram- 20000000-20000fff -\n");
	assert_int_equal(ram_add(r, 0x20000000, more, 0x1000), 0);
	memories(r, 3);
	rig_free(r);
}

static void another_memory_is_not_told(void **state)
{
	struct rig *r = rig_make();
	struct viommu_region g = { .size = sizeof(g),
				   .len = PAGE,
				   .host = more,
				   .prot = RW,
				   .fd = -1 };
	struct viommu_endpoint_config c = { .size = sizeof(c), .id = 2 };
	struct viommu_endpoint *ep;
	struct viommu_fence f;

	(void)state;
	assert_int_equal(viommu_memory_create(r->w.vi, &c.memory), 0);
	assert_int_equal(viommu_endpoint_create(r->w.vi, &c, &ep), 0);
	rig_add(r, 1);
	assert_int_equal(shadow_add(&r->s[1], ep, c.memory), 0);
	assert_int_equal(viommu_memory_add(c.memory, &g), 0);
	assert_heard(r, "b ram+ 0-fff\n");
	memories(r, 1);
	assert_null(shadow_compare_memory(&r->s[1], c.memory));
	assert_int_equal(ram_add(r, 0x20000000, more, 0x1000), 0);
	assert_heard(r, "a ram+ 20000000-20000fff\n");
	memories(r, 1);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_start(c.memory, 0, &f), 0);
	viommu_memory_dirty_stop(c.memory, &f);
	assert_heard(r, "b start " ALL "\n"
			"b stop " ALL "\n");
	shadow_remove(&r->s[1], &f);
	r->s[1].notifier = NULL;
	viommu_endpoint_destroy(ep, &f);
	viommu_memory_destroy(c.memory, &f);
	fence_run(&f);
	rig_free(r);
}

/* The regions that an endpoint has are replayed by nobody: from within a call
 * they can be looked up. */
static void look_up(struct shadow *s, const struct shadow_event *e)
{
	struct viommu_memory *mem = s->arg;
	struct viommu_region g = { .size = sizeof(g) };

	(void)e;
	assert_int_equal(viommu_memory_next(mem, 0, &g), 0);
	viommu_memory_dirty_mark(mem, PAGE, 1);
}

static void a_call_may_look_and_mark(void **state)
{
	struct rig *r = rig_make();
	struct viommu_memory *mem = viommu_memory_of(r->w.vi);
	uint64_t bits[1];
	struct viommu_fence f;

	(void)state;
	r->s[0].during = look_up;
	r->s[0].arg = mem;
	rig_add(r, 1);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_start(mem, 0, &f), 0);
	fence_run(&f);
	assert_int_equal(viommu_memory_dirty_fetch(mem, 0, WORLD_RAM, bits), 1);
	assert_int_equal(bits[0], 2);
	assert_int_equal(map_rw(&r->w, 0, 0xfff, 0), 0);
	assert_int_equal(unmap(&r->w, 0, 0xfff), PAGE);
	assert_int_equal(ram_add(r, 0x20000000, more, 0x1000), 0);
	assert_int_equal(ram_remove(r, 0x20000000, 0x1000), 0);
	r->s[0].during = NULL;
	rig_free(r);
}

/* ---- the dirty log ---------------------------------------------------- */

static int log_start(struct rig *r, uint64_t page_size)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_memory_dirty_start(viommu_memory_of(r->w.vi), page_size,
				       &f);
	fence_run(&f);
	return rc;
}

static void log_stop(struct rig *r)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_memory_dirty_stop(viommu_memory_of(r->w.vi), &f);
	fence_run(&f);
}

static int64_t fetch(struct rig *r, uint64_t gpa, uint64_t len, uint64_t *bits)
{
	return viommu_memory_dirty_fetch(viommu_memory_of(r->w.vi), gpa, len,
					 bits);
}

static void the_log_is_told(void **state)
{
	struct rig *r = rig_make();
	uint64_t bits[1];

	(void)state;
	rig_add(r, 2);
	assert_int_equal(fetch(r, 0, PAGE, bits), -ENOENT);
	log_stop(r);
	assert_int_equal(log_start(r, 1), -EINVAL);
	assert_heard(r, "");
	assert_int_equal(log_start(r, 0), 0);
	assert_heard(r, "a start " ALL "\n"
			"b start " ALL "\n");
	assert_int_equal(log_start(r, 0), -EBUSY);
	assert_heard(r, "");
	assert_int_equal(fetch(r, 0x1000, 0x3000, bits), 0);
	assert_heard(r, "a sync 1000-3fff\n"
			"b sync 1000-3fff\n");
	log_stop(r);
	assert_heard(r, "a stop " ALL "\n"
			"b stop " ALL "\n");
	rig_free(r);
}

static void who_comes_when_it_is_on_is_told(void **state)
{
	struct rig *r = rig_make();

	(void)state;
	assert_int_equal(map_rw(&r->w, 0, 0xfff, 0), 0);
	assert_int_equal(log_start(r, 0), 0);
	rig_add(r, 1);
	assert_heard(r, "a map 0-fff 0 3 x1\n"
			"a start " ALL "\n");
	log_stop(r);
	assert_heard(r, "a stop " ALL "\n");
	rig_add(r, 0);
	assert_int_equal(shadow_add(&r->s[1], r->w.ep, NULL), 0);
	assert_heard(r, "b map 0-fff 0 3 x1\n");
	rig_free(r);
}

static void mark_at_sync(struct shadow *s, const struct shadow_event *e)
{
	if (e->what == SHADOW_DIRTY && e->value == VIOMMU_DIRTY_SYNC)
		viommu_memory_dirty_mark(s->arg, e->start + PAGE, PAGE);
}

/* What is marked when it is about to be fetched is fetched. */
static void what_sync_marks_is_fetched(void **state)
{
	struct rig *r = rig_make();
	uint64_t bits[1];

	(void)state;
	r->s[0].during = mark_at_sync;
	r->s[0].arg = viommu_memory_of(r->w.vi);
	rig_add(r, 1);
	assert_int_equal(log_start(r, 0), 0);
	assert_int_equal(fetch(r, 0x2000, 0x4000, bits), 1);
	assert_int_equal(bits[0], 2);
	r->s[0].during = NULL;
	assert_int_equal(fetch(r, 0x2000, 0x4000, bits), 0);
	log_stop(r);
	rig_free(r);
}

static void marks_are_clipped_to_memory(void **state)
{
	struct rig *r = rig_make();
	struct viommu_memory *mem = viommu_memory_of(r->w.vi);
	uint64_t bits[1];

	(void)state;
	viommu_memory_dirty_mark(mem, 0, PAGE); /* no log */
	assert_int_equal(log_start(r, 0), 0);
	assert_int_equal(fetch(r, 0, WORLD_RAM, bits), 0);
	viommu_memory_dirty_mark(mem, 0x1fff, 2);
	viommu_memory_dirty_mark(mem, 0x5000, 0);
	viommu_memory_dirty_mark(mem, WORLD_RAM - 1, UINT64_MAX);
	viommu_memory_dirty_mark(mem, 0x40000000, PAGE);
	assert_int_equal(fetch(r, 0, WORLD_RAM, bits), 3);
	assert_int_equal(bits[0], 0x8006);
	assert_int_equal(ram_add(r, 0x20000000, more, 2 * PAGE), 0);
	viommu_memory_dirty_mark(mem, 0, UINT64_MAX);
	assert_int_equal(fetch(r, 0, WORLD_RAM, bits), BITS);
	assert_int_equal(fetch(r, 0x20000000, 4 * PAGE, bits), 2);
	assert_int_equal(bits[0], 3);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regions_are_found_in_order),
		cmocka_unit_test(an_older_caller_gets_what_it_knows),
		cmocka_unit_test(a_file_is_where_it_is_mapped),
		cmocka_unit_test(regions_are_told_like_mappings),
		cmocka_unit_test(a_region_that_fails_is_not_told),
		cmocka_unit_test(a_region_that_is_refused_is_undone),
		cmocka_unit_test(another_memory_is_not_told),
		cmocka_unit_test(a_call_may_look_and_mark),
		cmocka_unit_test(the_log_is_told),
		cmocka_unit_test(who_comes_when_it_is_on_is_told),
		cmocka_unit_test(what_sync_marks_is_fetched),
		cmocka_unit_test(marks_are_clipped_to_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
