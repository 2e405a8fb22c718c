/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vfio-user behind the client's own IOMMU: a map for each IOVA mapping, all of
 * one file, and an unmap for each that goes, while the function does DMA.
 *
 * Times are printed and not judged.  What is judged: that the file is mapped
 * once and no descriptor is kept, that each IOVA leads where it should, and who
 * waits for whom.
 */

#include "served.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW 8
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOW 8
#endif
#endif
#ifndef SLOW
#define SLOW 1
#endif

#define PAGE	UINT64_C(0x1000)
#define MAPS	(100000u / SLOW)
#define CHANGES (50000u / SLOW)
#define PAGES	8192u /* of the file: each is shown at many IOVAs */
#define KINDS	64u   /* IOVA page i shows some page of kind i % KINDS */
#define AHEAD	64u   /* commands sent before their answers are read */
#define HIGH	UINT64_C(0x4000000000)
#define BOTH	(VU_DMA_F_READ | VU_DMA_F_WRITE)

static uint32_t rnd(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

/* How many ranges of this process' address space show the file. */
static unsigned vmas_count(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "/memfd:guest") != NULL;
	fclose(f);
	return n;
}

/* Resident, in KiB. */
static long rss(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[512];
	long kib = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %ld", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* --------------------------------------------------------- the client's view
 */

struct view {
	struct served *s;
	struct client *c;
	int fd;
	uint32_t *page; /* of the file, shown at each IOVA page */
	uint32_t seed;
};

/* A page of the right kind. */
static uint32_t page_pick(struct view *v, uint32_t slot)
{
	return rnd(&v->seed) % (PAGES / KINDS) * KINDS + slot % KINDS;
}

static void map_send(struct view *v, uint32_t slot)
{
	struct vu_dma_map m;

	v->page[slot] = page_pick(v, slot);
	m = client_map_body(slot * PAGE, PAGE, v->page[slot] * PAGE, BOTH);
	assert_true(
		client_send_fds(v->c, VU_DMA_MAP, 0, &m, sizeof(m), &v->fd, 1));
}

/* All slots, in no order. */
static void maps_make(struct view *v)
{
	uint32_t *order = malloc(MAPS * sizeof(*order));
	uint32_t sent = 0, got = 0;

	assert_non_null(order);
	for (uint32_t i = 0; i < MAPS; i++) {
		uint32_t j = rnd(&v->seed) % (i + 1);

		order[i] = order[j];
		order[j] = i;
	}
	while (got < MAPS) {
		while (sent < MAPS && sent < got + AHEAD)
			map_send(v, order[sent++]);
		got++;
		assert_int_equal(
			client_reply(v->c, (uint16_t)(v->c->id - (sent - got)),
				     VU_DMA_MAP),
			0);
	}
	free(order);
}

static void view_make(struct view *v, struct served *s)
{
	*v = (struct view){ .s = s, .c = served_client(s), .seed = 1 };
	v->fd = memfd_make(PAGES * PAGE);
	v->page = calloc(MAPS, sizeof(*v->page));
	assert_non_null(v->page);
	for (uint64_t i = 0; i < PAGES; i++)
		assert_int_equal(
			pwrite(v->fd, &i, sizeof(i), (off_t)(i * PAGE)),
			sizeof(i));
}

static void view_free(struct view *v)
{
	client_close(v->c);
	close(v->fd);
	free(v->page);
}

/* Open descriptors, when the server is through with all that was sent. */
static unsigned fds_settled(struct view *v)
{
	(void)client_reg(v->c, CONFIG, 0, 4);
	return fds_count();
}

/* ------------------------------------------------- a function that does DMA */

struct worker {
	struct served *s;
	pthread_t thread;
	atomic_uint stop, good, gone, wrong;
};

/* A ring that nobody unmaps, and pages at random that somebody does. */
static void *worker_run(void *arg)
{
	struct worker *w = arg;
	struct viommu_window ring;
	uint64_t val, slot;
	uint32_t seed = 2;

	if (viommu_window_open(&ring, w->s->ep, HIGH, PAGE,
			       VIOMMU_READ | VIOMMU_WRITE))
		return NULL;
	while (!atomic_load(&w->stop)) {
		slot = rnd(&seed) % MAPS;
		if (viommu_dma_load(w->s->ep, slot * PAGE, 8, &val))
			atomic_fetch_add(&w->gone, 1);
		else if (val >= PAGES || val % KINDS != slot % KINDS)
			atomic_fetch_add(&w->wrong, 1);
		else
			atomic_fetch_add(&w->good, 1);
		if (viommu_window_load(&ring, 0, 8, &val) || val != PAGES)
			atomic_fetch_add(&w->wrong, 1);
	}
	return NULL;
}

static void changes_make(struct view *v, uint32_t n)
{
	struct vu_dma_unmap u;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t slot = rnd(&v->seed) % MAPS;

		u = client_unmap_body(slot * PAGE, PAGE, 0);
		assert_int_equal(client_call(v->c, VU_DMA_UNMAP, &u, sizeof(u)),
				 0);
		map_send(v, slot);
		assert_int_equal(client_reply(v->c, v->c->id, VU_DMA_MAP), 0);
	}
}

/* What @n changes would take if they did nothing, being refused. */
static double floor_measure(struct view *v, uint32_t n)
{
	struct vu_dma_unmap u = client_unmap_body(HIGH / 2, 0, 0);
	struct vu_dma_map m = client_map_body(HIGH / 2, 0, 0, BOTH);
	double t = seconds();

	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(client_call(v->c, VU_DMA_UNMAP, &u, sizeof(u)),
				 -EINVAL);
		assert_int_equal(client_call_fds(v->c, VU_DMA_MAP, &m,
						 sizeof(m), &v->fd, 1),
				 -EINVAL);
	}
	return seconds() - t;
}

static void every_page_is_right(struct view *v)
{
	uint64_t val;

	for (uint32_t i = 0; i < MAPS; i++) {
		assert_int_equal(viommu_dma_load(v->s->ep, i * PAGE, 8, &val),
				 0);
		assert_int_equal(val, v->page[i]);
	}
	assert_int_not_equal(viommu_dma_load(v->s->ep, MAPS * PAGE, 8, &val),
			     0);
}

static void maps_of_one_file(void **state)
{
	struct worker w = { .s = *state };
	unsigned fds, vmas;
	double t[4], base;
	uint64_t mark = PAGES;
	struct view v;
	long kib[2];
	int ring;

	view_make(&v, *state);
	ring = memfd_make(PAGE);
	assert_int_equal(pwrite(ring, &mark, sizeof(mark), 0), sizeof(mark));
	assert_int_equal(client_map(v.c, HIGH, PAGE, ring, 0, BOTH), 0);
	fds = fds_settled(&v);
	vmas = vmas_count();
	kib[0] = rss();
	t[0] = seconds();
	maps_make(&v);
	t[1] = seconds();
	kib[1] = rss();
	assert_int_equal(served_stats(w.s).maps, MAPS + 1);
	assert_int_equal(vmas_count(), vmas + 1);
	assert_int_equal(fds_settled(&v), fds);

	assert_int_equal(pthread_create(&w.thread, NULL, worker_run, &w), 0);
	while (!atomic_load(&w.good))
		sched_yield();
	t[2] = seconds();
	changes_make(&v, CHANGES);
	t[3] = seconds();
	base = floor_measure(&v, CHANGES / 10) * 10;
	atomic_store(&w.stop, 1);
	pthread_join(w.thread, NULL);
	assert_int_equal(atomic_load(&w.wrong), 0);
	every_page_is_right(&v);
	assert_int_equal(served_stats(w.s).maps, MAPS + 1);
	assert_int_equal(vmas_count(), vmas + 1);
	assert_int_equal(fds_settled(&v), fds);
	print_message("%u maps: %.1f us each, %ld bytes each; %u changes "
		      "(unmap, map): %.0f a second, where messages alone are "
		      "%.0f, beside %u loads, %u of them refused\n",
		      MAPS, (t[1] - t[0]) * 1e6 / MAPS,
		      (kib[1] - kib[0]) * 1024 / MAPS, CHANGES,
		      CHANGES / (t[3] - t[2]), CHANGES / base,
		      atomic_load(&w.good) + atomic_load(&w.gone),
		      atomic_load(&w.gone));

	t[0] = seconds();
	assert_int_equal(client_unmap(v.c, 0, 0, VU_UNMAP_F_ALL), 0);
	print_message("all of them unmapped in %.3f s\n", seconds() - t[0]);
	assert_int_equal(served_stats(w.s).maps, 0);
	assert_int_equal(vmas_count(), 0);
	close(ring);
	view_free(&v);
}

/* ------------------------------------------------------------------ limits */

/* As many as are taken and not one more; the server answers all the time. */
static void map_limit(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd = memfd_make(PAGE);
	uint64_t sent = 0, got = 0;

	while (got < VU_MAX_MAPS) {
		for (; sent < VU_MAX_MAPS && sent < got + AHEAD; sent++) {
			/* both ways into the tree's middle; holes, mostly */
			uint64_t at = VU_MAX_MAPS * PAGE;
			struct vu_dma_map m = client_map_body(
				sent & 1 ? at + sent * PAGE : at - sent * PAGE,
				PAGE, 0, BOTH);

			assert_true(client_send_fds(c, VU_DMA_MAP, 0, &m,
						    sizeof(m), &fd,
						    sent % 64 ? 0 : 1));
		}
		got++;
		assert_int_equal(client_reply(c,
					      (uint16_t)(c->id - (sent - got)),
					      VU_DMA_MAP),
				 0);
	}
	assert_int_equal(client_map(c, HIGH, PAGE, fd, 0, BOTH), -ENOSPC);
	assert_int_equal(served_stats(s).maps, VU_MAX_MAPS);
	assert_int_equal(client_unmap(c, VU_MAX_MAPS * PAGE, PAGE, 0), 0);
	assert_int_equal(client_map(c, HIGH, PAGE, fd, 0, BOTH), 0);
	close(fd);
	client_close(c);
	/* and they go fast: the next client does not wait long */
	c = served_client(s);
	assert_int_equal(served_stats(s).maps, 0);
	client_close(c);
}

/* As many as the client says itself: QEMU refuses a greater offer. */
static void as_many_maps_are_offered_as_the_client_does(void **state)
{
	static const struct {
		const char *says, *is_told;
	} cases[] = {
		{ "65535", "\"max_dma_maps\":65535," },
		{ "100", "\"max_dma_maps\":65535," },
		{ "100000", "\"max_dma_maps\":100000," },
		{ "99999999999", "\"max_dma_maps\":262144," },
	};
	struct served *s = *state;

	for (unsigned i = 0; i < 4; i++) {
		struct client *c = client_connect(s->path);
		char json[300];

		snprintf(json, sizeof(json),
			 "{\"capabilities\":{\"max_dma_maps\":%s}}%150s",
			 cases[i].says, "");
		assert_int_equal(client_version(c, 0, 1, json), 0);
		assert_non_null(strstr((char *)c->body + 4, cases[i].is_told));
		client_close(c);
	}
}

/* Each time the file has grown it is mapped once more: not for ever. */
static void file_that_grows_and_grows(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd = memfd_make(PAGE), other = memfd_make(PAGE), rc = 0;
	uint64_t n, max = 256; /* beside the first */

	for (n = 0; n < 2 * max && !rc; n++) {
		assert_int_equal(ftruncate(fd, (off_t)((n + 1) * PAGE)), 0);
		rc = client_map(c, n * PAGE, PAGE, fd, n * PAGE, BOTH);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(n, max + 2);
	assert_in_range(vmas_count(), 1, max + 1);
	/* what was mapped is; other files are as welcome as before */
	assert_int_equal(client_map(c, HIGH, PAGE, other, 0, BOTH), 0);
	assert_int_equal(ftruncate(other, 2 * PAGE), 0);
	assert_int_equal(client_map(c, HIGH + PAGE, PAGE, other, PAGE, BOTH),
			 -ENOSPC);
	bus_master_on(c);
	assert_int_equal(dt_run(c, DT_WRITE, 0, max * PAGE, 1), 0);
	/* when all of it has gone it begins anew */
	assert_int_equal(client_unmap(c, 0, 0, VU_UNMAP_F_ALL), 0);
	assert_int_equal(client_map(c, 0, PAGE, fd, max * PAGE, BOTH), 0);
	assert_int_equal(ftruncate(fd, (off_t)((max + 3) * PAGE)), 0);
	assert_int_equal(client_map(c, PAGE, PAGE, fd, (max + 2) * PAGE, BOTH),
			 0);
	close(other);
	close(fd);
	client_close(c);
}

/* Places of files that went are taken by others. */
static void files_come_and_go(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd[300];

	for (uint64_t i = 0; i < 300; i++) {
		fd[i] = memfd_make(PAGE);
		/* two that stay, at either end of what comes and goes */
		if (i > 4)
			assert_int_equal(
				client_unmap(c, (i - 3) * PAGE, PAGE, 0), 0);
		assert_int_equal(client_map(c, i * PAGE, PAGE, fd[i], 0, BOTH),
				 0);
	}
	assert_int_equal(vmas_count(), served_stats(s).maps);
	assert_int_equal(client_map(c, 0, PAGE, fd[0], 0, BOTH), 0);
	assert_int_equal(client_map(c, 0, PAGE, fd[1], 0, BOTH), -EEXIST);
	for (uint64_t i = 2; i < 297; i++)
		assert_int_equal(client_map(c, i * PAGE, PAGE, fd[i], 0, BOTH),
				 i < 253 ? 0 : -ENOSPC);
	for (unsigned i = 0; i < 300; i++)
		close(fd[i]);
	client_close(c);
}

/* -------------------------------------------------------------- who waits */

static uint16_t unmap_send(struct client *c, uint64_t page)
{
	struct vu_dma_unmap u = client_unmap_body(page * PAGE, PAGE, 0);

	assert_true(client_send(c, VU_DMA_UNMAP, 0, &u, sizeof(u)));
	return c->id;
}

/* For the holder of what goes, and for nobody else: neither for neighbours nor
 * for those who use the same page of the file elsewhere. */
static void unmap_waits_for_what_it_overlaps(void **state)
{
	const uint64_t n = 4096, first = 1000, last = 1003;
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd = memfd_make(8 * PAGE);
	uint16_t id[2];

	bus_master_on(c);
	for (uint64_t i = 0; i < n; i++)
		assert_int_equal(
			client_map(c, i * PAGE, PAGE, fd, i % 8 * PAGE, BOTH),
			0);
	client_set_reg(c, 0, DT_DELAY, 4, 60000000);
	dt_start(c, DT_HOLD, first * PAGE + PAGE / 2, (last - first) * PAGE, 0);
	for (uint64_t i = 0; i < n; i++)
		if (i < first || i > last)
			assert_int_equal(client_unmap(c, i * PAGE, PAGE, 0), 0);
	assert_int_equal(client_reg(c, 0, DT_HELD, 4), 1);
	assert_int_equal(served_stats(s).maps, last - first + 1);

	id[0] = unmap_send(c, last);
	id[1] = unmap_send(c, first);
	/* other replies come, and these do not */
	for (int i = 0; i < 100; i++)
		assert_int_equal(client_reg(c, 0, DT_HELD, 4), 1);
	assert_false(client_poll(c, 0));
	assert_true(client_send(c, VU_RESET, 0, NULL, 0));
	for (int i = 0, unmaps = 0; i < 3; i++) {
		assert_true(client_recv(c));
		assert_false(c->hdr.flags & VU_F_ERROR);
		if (c->hdr.command == VU_DMA_UNMAP)
			assert_int_equal(c->hdr.id, id[unmaps++]);
		else
			assert_int_equal(c->hdr.command, VU_RESET);
	}
	assert_int_equal(client_unmap(c, (first + 1) * PAGE, PAGE, 0), 0);
	close(fd);
	client_close(c);
}

/* One page shown twice, both held: each unmap waits for one of them. */
static void unmap_waits_as_long_as_it_is_held(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd = memfd_make(PAGE);
	struct viommu_dma d[2];
	struct iovec iov[2];
	uint16_t id;

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(client_map(c, i * PAGE, PAGE, fd, 0, BOTH), 0);
		d[i] = (struct viommu_dma){ .ep = s->ep,
					    .iova = i * PAGE,
					    .len = PAGE,
					    .prot = VIOMMU_WRITE,
					    .iov = &iov[i],
					    .max_iov = 1 };
		assert_int_equal(viommu_dma_map(&d[i]), 0);
	}
	id = unmap_send(c, 1);
	assert_int_not_equal(client_reg(c, CONFIG, 0, 4), 0);
	assert_false(client_poll(c, 0));
	viommu_dma_unmap(&d[1], 0);
	assert_int_equal(client_reply(c, id, VU_DMA_UNMAP), 0);
	id = unmap_send(c, 0);
	assert_int_not_equal(client_reg(c, CONFIG, 0, 4), 0);
	assert_false(client_poll(c, 0));
	viommu_dma_unmap(&d[0], 0);
	assert_int_equal(client_reply(c, id, VU_DMA_UNMAP), 0);
	close(fd);
	client_close(c);
}

#define TEST(fn) \
	cmocka_unit_test_setup_teardown(fn, served_setup, served_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(maps_of_one_file),
		TEST(map_limit),
		TEST(as_many_maps_are_offered_as_the_client_does),
		TEST(file_that_grows_and_grows),
		TEST(files_come_and_go),
		TEST(unmap_waits_for_what_it_overlaps),
		TEST(unmap_waits_as_long_as_it_is_held),
	};

	return cmocka_run_group_tests_name("vfio_user_scale", tests, NULL,
					   NULL);
}
