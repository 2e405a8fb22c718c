/* SPDX-License-Identifier: BSD-2-Clause */
/* The recorder's lines are a format: include/viommu/host/record.h. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "world.h"

#include <viommu/host/record.h>

struct lines {
	char text[4096];
};

static void line(void *arg, const char *s)
{
	struct lines *l = arg;

	assert_true(strlen(l->text) + strlen(s) + 2 < sizeof(l->text));
	strcat(l->text, s);
	strcat(l->text, "\n");
}

static void says(struct lines *l, const char *want)
{
	assert_string_equal(l->text, want);
	l->text[0] = 0;
}

static void begin(struct world *w, struct lines *l, struct viommu_record **r)
{
	struct viommu_record_config c = { .size = sizeof(c),
					  .line = line,
					  .arg = l };

	world_make(w, NULL, ~UINT64_C(0xfff));
	c.vi = w->vi;
	l->text[0] = 0;
	assert_int_equal(map_prot(w, 0x7000, 0x8fff, 0x2000, VIOMMU_READ), 0);
	assert_int_equal(viommu_record_add(w->ep, &c, r), 0);
	says(l, "map 7000-8fff 2000 r\n");
}

static void end(struct world *w, struct lines *l, struct viommu_record *r)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_record_remove(r, &f);
	fence_run(&f);
	says(l, "unmap 0-ffffffffffffffff\n");
	assert_int_equal(map_rw(w, 0x70000, 0x70fff, 0), 0);
	says(l, "");
	world_free(w);
}

static void each_event_is_a_line(void **state)
{
	struct viommu_mapping m = { 0x10000, 0x11fff, 0x5000, VIOMMU_READ, 0 };
	struct viommu_record *r;
	struct viommu_fence f;
	struct lines l;
	struct world w;

	(void)state;
	begin(&w, &l, &r);
	assert_int_equal(map_prot(&w, 0x10000, 0x11fff, 0x4000, 31), 0);
	says(&l, "map 10000-11fff 4000 rwxpm\n");
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_remap(w.space, &m, &f), 0);
	fence_run(&f);
	says(&l, "remap 10000-11fff 5000 r\n");
	assert_int_equal(unmap(&w, 0x10000, 0x1ffff), 0x2000);
	says(&l, "unmap 10000-1ffff\n");
	end(&w, &l, r);
}

static void a_cut_is_asked_for(void **state)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .policy = VIOMMU_SPACE_SPLIT,
					  .page_sizes = ~UINT64_C(0xfff) };
	struct viommu_space *split;
	struct viommu_record *r;
	struct viommu_mapping m = { .last = 0x3fff, .prot = VIOMMU_WRITE };
	struct viommu_fence f;
	struct lines l;
	struct world w;

	(void)state;
	begin(&w, &l, &r);
	assert_int_equal(viommu_space_create(w.vi, &sc, &split), 0);
	assert_int_equal(viommu_space_map(split, &m), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w.ep, split, &f), 0);
	fence_run(&f);
	says(&l, "unmap 0-ffffffffffffffff\nmap 0-3fff 0 w\n");
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(split, 0x1000, 0x1fff, &f), 0x1000);
	fence_run(&f);
	says(&l, "cut 1000-1fff\nunmap 1000-1fff\n");
	viommu_fence_init(&f);
	viommu_space_destroy(split, &f);
	fence_run(&f);
	says(&l, "unmap 0-ffffffffffffffff\n");
	end(&w, &l, r);
}

static int device_read(void *arg, uint64_t offset, void *buf, size_t len)
{
	(void)arg;
	(void)offset;
	memset(buf, 0, len);
	return 0;
}

static void a_device_and_a_part_of_it_are_told(void **state)
{
	static const struct viommu_device_ops ops = { .size = sizeof(ops),
						      .read = device_read };
	struct viommu_region region = { .size = sizeof(region),
					.gpa = 0x100000,
					.len = 0x4000,
					.prot = VIOMMU_READ,
					.fd = -1,
					.device = &ops };
	struct viommu_memory *mem;
	struct viommu_record *r;
	struct viommu_fence f;
	struct lines l;
	struct world w;

	(void)state;
	begin(&w, &l, &r);
	mem = viommu_memory_of(w.vi);
	assert_int_equal(viommu_memory_add(mem, &region), 0);
	says(&l, "ram_add 100000-103fff rm\n");
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_give_up(mem, 0x101000, 0x1000, &f), 0);
	fence_run(&f);
	says(&l, "ram_remove 101000-101fff\n");
	end(&w, &l, r);
}

static void memory_is_told(void **state)
{
	static char page[4096];
	struct viommu_region region = { .size = sizeof(region),
					.gpa = 0x100000,
					.len = sizeof(page),
					.host = page,
					.prot = VIOMMU_READ,
					.fd = -1 };
	struct viommu_memory *mem;
	struct viommu_record *r;
	struct viommu_fence f;
	uint64_t bits;
	struct lines l;
	struct world w;

	(void)state;
	begin(&w, &l, &r);
	mem = viommu_memory_of(w.vi);
	assert_int_equal(viommu_memory_add(mem, &region), 0);
	says(&l, "ram_add 100000-100fff r\n");
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_start(mem, 0, &f), 0);
	fence_run(&f);
	says(&l, "dirty start 0-ffffffffffffffff\n");
	assert_int_equal(viommu_memory_dirty_fetch(mem, 0, 0x2000, &bits), 0);
	says(&l, "dirty sync 0-1fff\n");
	viommu_fence_init(&f);
	viommu_memory_dirty_stop(mem, &f);
	fence_run(&f);
	says(&l, "dirty stop 0-ffffffffffffffff\n");
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem, region.gpa, region.len, &f),
			 0);
	fence_run(&f);
	says(&l, "ram_remove 100000-100fff\n");
	end(&w, &l, r);
}

static void the_end_is_told(void **state)
{
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = 2,
					     .pasid = VIOMMU_NO_PASID };
	struct viommu_record *r, *second;
	struct viommu_record_config c = { .size = sizeof(c), .line = line };
	struct viommu_endpoint *ep;
	struct viommu_fence f;
	struct lines l, l2 = { "" };
	struct world w;

	(void)state;
	begin(&w, &l, &r);
	c.vi = w.vi;
	c.arg = &l2;
	assert_int_equal(viommu_endpoint_create(w.vi, &ec, &ep), 0);
	assert_int_equal(viommu_record_add(ep, &c, &second), 0);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep, &f);
	fence_run(&f);
	assert_non_null(strstr(l2.text, "gone destroyed\n"));
	l2.text[0] = 0;
	viommu_fence_init(&f);
	viommu_record_remove(second, &f);
	viommu_record_remove(NULL, &f);
	fence_run(&f);
	says(&l2, "");
	end(&w, &l, r);
}

static void lines_go_to_a_file(void **state)
{
	struct viommu_record_config c = { .size = sizeof(c) };
	struct viommu_record *r;
	struct viommu_fence f;
	char text[256] = "";
	struct world w;

	(void)state;
	world_make(&w, NULL, ~UINT64_C(0xfff));
	c.vi = w.vi;
	c.file = fmemopen(text, sizeof(text), "w");
	assert_non_null(c.file);
	assert_int_equal(viommu_record_add(w.ep, &c, &r), 0);
	assert_int_equal(map_rw(&w, 0x1000, 0x1fff, 0), 0);
	viommu_fence_init(&f);
	viommu_record_remove(r, &f);
	fence_run(&f);
	fclose(c.file);
	assert_string_equal(text,
			    "map 1000-1fff 0 rw\nunmap 0-ffffffffffffffff\n");
	world_free(&w);
}

static void *some_alloc(void *arg, size_t size, size_t align)
{
	unsigned *left = arg;

	if (!*left)
		return NULL;
	--*left;
	return aligned_alloc(align, (size + align - 1) / align * align);
}

static void plain_free(void *arg, void *p)
{
	(void)arg;
	free(p);
}

static void what_is_wrong_is_refused(void **state)
{
	unsigned left = UINT_MAX;
	struct viommu_env env = { .size = sizeof(env),
				  .arg = &left,
				  .alloc = some_alloc,
				  .free = plain_free };
	struct viommu_config vc = { .size = sizeof(vc), .env = &env };
	struct viommu_record_config c = { .size = sizeof(c) };
	struct viommu_record *r;
	struct world w;

	(void)state;
	world_make(&w, &vc, ~UINT64_C(0xfff));
	assert_int_equal(viommu_record_add(w.ep, &c, &r), -EINVAL);
	c.vi = w.vi;
	c.size = 1;
	assert_int_equal(viommu_record_add(w.ep, &c, &r), -EINVAL);
	c.size = sizeof(c);
	/* the recorder, the notifier */
	for (unsigned i = 0; i < 2; i++) {
		left = i;
		assert_int_equal(viommu_record_add(w.ep, &c, &r), -ENOMEM);
	}
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_event_is_a_line),
		cmocka_unit_test(a_cut_is_asked_for),
		cmocka_unit_test(memory_is_told),
		cmocka_unit_test(a_device_and_a_part_of_it_are_told),
		cmocka_unit_test(the_end_is_told),
		cmocka_unit_test(lines_go_to_a_file),
		cmocka_unit_test(what_is_wrong_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
