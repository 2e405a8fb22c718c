/* SPDX-License-Identifier: BSD-2-Clause */

/* A vhost-user back-end as a front-end in good order sees it: features, memory,
 * rings, the IOTLB, and in which order it is answered. */

#include "front.h"

static int setup(void **state)
{
	*state = back_make(0, 0);
	return 0;
}

static int teardown(void **state)
{
	back_free(*state);
	return 0;
}

/* Two pages of the guest's, and both rings: answered before they are asked. */
static struct front *front_up_mapped(struct back *b)
{
	struct front *f = front_up(b, PLATFORM);

	assert_true(front_update(f, RINGS, 6 * GUEST_PAGE));
	assert_true(front_update(f, DATA, 2 * GUEST_PAGE));
	front_asked_drop(f);
	return f;
}

/* ---------------------------------------------------------------- server */

static int server_at(struct viommu_virtio_dev *dev, const char *path)
{
	const struct viommu_vhost_user_config cfg = { .size = sizeof(cfg),
						      .path = path,
						      .dev = dev };
	struct viommu_vhost_user *server;

	return viommu_vhost_user_create(&cfg, &server);
}

static void where_a_server_may_be(void **state)
{
	struct back *b = *state, *other = back_begin(0, 0);
	struct viommu_vhost_user_config cfg = { .size = sizeof(cfg) - 1 };
	struct viommu_vhost_user *server;
	struct viommu_virtio_dev *dev = other->dev;
	char path[200];

	assert_int_equal(viommu_vhost_user_create(&cfg, &server), -EINVAL);
	assert_int_equal(server_at(NULL, "/nowhere/x"), -EINVAL);
	assert_int_equal(server_at(dev, NULL), -EINVAL);
	assert_int_equal(server_at(dev, b->path), -EADDRINUSE);
	/* it has found out by connecting */
	WAIT_UNTIL(atomic_load(&b->went) == 1);
	assert_int_equal(server_at(dev, "/nowhere/x"), -ENOENT);
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = 0;
	assert_int_equal(server_at(dev, path), -ENAMETOOLONG);
	/* it has one */
	snprintf(path, sizeof(path), "%s/another", b->dir);
	assert_int_equal(server_at(dev, path), -EBUSY);
	assert_int_equal(access(path, F_OK), -1);
	back_free(other);
}

/* -------------------------------------------------------------- messages */

static void features_are_negotiated(void **state)
{
	struct back *b = *state;
	struct front *f = front_make(b);
	uint64_t offered = front_get(f, VH_GET_FEATURES);

	assert_true(offered == (PLATFORM | VIRTIO_1 | PROTOCOL | LOG_ALL |
				0x21 | BIT(VIRTIO_RING_F_INDIRECT_DESC) |
				BIT(VIRTIO_RING_F_EVENT_IDX)));
	front_negotiate(f, 0x1);
	assert_true(atomic_load(&b->features) == (VIRTIO_1 | 0x1));
	assert_int_equal(front_get(f, VH_GET_QUEUE_NUM), QUEUES);
	assert_true(front_get(f, VH_GET_MAX_MEM_SLOTS) >= 8);
	assert_false(front_tell_u64(f, VH_SET_FEATURES, VIRTIO_1 | BIT(40)));
	assert_false(front_tell_u64(f, VH_SET_PROTOCOL_FEATURES, BIT(63)));
	assert_true(front_tell(f, VH_RESET_OWNER, NULL, 0));
	/* they say how a ring is laid out: not while one runs */
	assert_true(front_memory(f));
	front_ring(f, 0);
	assert_false(front_tell_u64(f, VH_SET_FEATURES, VIRTIO_1 | PROTOCOL));
	front_run(f, 0, 0, DATA);
	front_free(f);
}

static void configuration_is_read_and_written(void **state)
{
	struct back *b = *state;
	struct front *f = front_make(b);
	const size_t head = offsetof(struct vh_config, data);
	struct vh_config c = { .offset = 4, .len = 100 };

	front_negotiate(f, 0);
	assert_true(front_send(f, VH_GET_CONFIG, 0, &c, head + 100));
	front_answered(f, VH_GET_CONFIG);
	assert_int_equal(f->hdr.len, head + 100);
	assert_memory_equal(f->body + head, &b->config[4], CONFIG - 4);
	/* what a later version has is 0 here */
	for (size_t i = CONFIG - 4; i < 100; i++)
		assert_int_equal(f->body[head + i], 0);
	c.len = 2;
	c.data[0] = c.data[1] = 0x77;
	assert_true(front_tell(f, VH_SET_CONFIG, &c, head + 2));
	assert_int_equal(b->config[4], 0x77);
	assert_int_equal(b->config[6], 7);
	c.offset = CONFIG - 1;
	assert_false(front_tell(f, VH_SET_CONFIG, &c, head + 2));
	/* an answer without a payload is an error */
	c.offset = 250;
	c.len = 7;
	assert_true(front_send(f, VH_GET_CONFIG, 0, &c, head + 7));
	front_answered(f, VH_GET_CONFIG);
	assert_int_equal(f->hdr.len, 0);
	/* and the other way */
	viommu_loop_post(b->loop, &b->change);
	assert_true(front_recv_from(f, f->back));
	assert_int_equal(f->hdr.request, VH_BACKEND_CONFIG_CHANGE_MSG);
	front_free(f);
}

static void only_what_is_asked_for_is_acknowledged(void **state)
{
	struct front *f = front_make(*state);
	const uint64_t protocol = BIT(VH_P_REPLY_ACK);
	const uint64_t features = VIRTIO_1 | PROTOCOL;

	/* not negotiated yet: no answer; then one each */
	assert_true(front_send(f, VH_SET_OWNER, VH_NEED_REPLY, NULL, 0));
	assert_true(front_send(f, VH_SET_PROTOCOL_FEATURES, 0, &protocol,
			       sizeof(protocol)));
	assert_true(
		front_send(f, VH_SET_FEATURES, 0, &features, sizeof(features)));
	assert_true(front_send(f, VH_SET_OWNER, VH_NEED_REPLY, NULL, 0));
	assert_true(front_send(f, VH_GET_QUEUE_NUM, VH_NEED_REPLY, NULL, 0));
	front_answered(f, VH_SET_OWNER);
	front_answered(f, VH_GET_QUEUE_NUM);
	assert_int_equal(front_u64(f), QUEUES);
	front_free(f);
}

/* ----------------------------------------------------------------- rings */

static void without_an_iommu(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, 0);

	for (uint16_t i = 0; i < 3 * LEN; i++)
		front_run(f, i % QUEUES, i % LEN, DATA + i * GUEST_PAGE);
	front_run(f, 1, 0, GPA_HIGH);
	assert_int_equal(back_stats(b).iotlb.misses, 0);
	assert_int_equal(atomic_load(&b->faults), 0);
	assert_true(back_stats(b).kicks > 0);
	front_free(f);
}

static void a_disabled_ring_waits(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, 0);

	assert_true(front_state(f, VH_SET_VRING_ENABLE, 0, 0));
	front_offer(f, 0, 0, DATA);
	front_kick(f, 0);
	front_run(f, 1, 0, DATA + GUEST_PAGE);
	/* that it was heard is seen by the count; and nothing happened */
	WAIT_UNTIL(back_stats(b).kicks == 2);
	assert_int_equal(atomic_load(&b->finished), 1);
	assert_true(front_state(f, VH_SET_VRING_ENABLE, 0, 1));
	front_wait_call(f, 0);
	front_taken(f, 0, 0);
	front_free(f);
}

static void rings_are_stopped_and_go_on(void **state)
{
	struct front *f = front_up(*state, 0);

	for (uint16_t i = 0; i < 5; i++)
		front_run(f, 0, i, DATA);
	front_ring_stop(f, 0);
	front_answered(f, VH_GET_VRING_BASE);
	assert_int_equal(front_base(f, 0), 5);
	/* nobody looks at it now */
	front_offer(f, 0, 7, DATA);
	front_kick(f, 0);
	front_run(f, 1, 0, DATA + GUEST_PAGE);
	assert_int_equal(ring_used_idx(&f->rings[0]), 5);
	/* it goes on where it was; nobody kicks again */
	front_ring_go(f, 0, 5);
	front_wait_call(f, 0);
	front_taken(f, 0, 7);
	front_ring_stop(f, 0);
	front_answered(f, VH_GET_VRING_BASE);
	assert_int_equal(front_base(f, 0), 6);
	front_free(f);
}

/* QEMU gives the call after the kick: a ring that ran in between has told
 * nobody. */
static void eventfds_are_replaced_while_a_ring_runs(void **state)
{
	struct front *f = front_up(*state, 0);
	int old = dup(f->kick[0]);
	const uint64_t one = 1;

	front_run(f, 0, 0, DATA);
	assert_true(front_file(f, VH_SET_VRING_CALL, 0, &f->call[0]));
	assert_true(readable(f->call[0], WAIT_MS));
	front_offer(f, 0, 1, DATA);
	assert_true(front_file(f, VH_SET_VRING_KICK, 0, &f->kick[0]));
	/* there was no kick by the new one */
	front_wait_call(f, 0);
	front_taken(f, 0, 1);
	front_run(f, 0, 2, DATA);
	assert_int_equal(write(old, &one, sizeof(one)), sizeof(one));
	close(old);
	front_free(f);
}

static void a_ring_that_never_ran_tells_its_base(void **state)
{
	struct front *f = front_make(*state);

	front_negotiate(f, 0);
	assert_true(front_state(f, VH_SET_VRING_BASE, 1, 77));
	front_ring_stop(f, 1);
	front_answered(f, VH_GET_VRING_BASE);
	assert_int_equal(front_base(f, 1), 77);
	front_free(f);
}

static void stopping_waits_for_requests(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, 0);
	uint64_t before;

	atomic_store(&b->hold, BIT(0));
	front_offer(f, 0, 3, DATA);
	front_kick(f, 0);
	WAIT_UNTIL(atomic_load(&b->mapped) == 1);
	before = back_stats(b).messages;
	front_ring_stop(f, 0);
	assert_true(front_send(f, VH_GET_QUEUE_NUM, 0, NULL, 0));
	WAIT_UNTIL(back_stats(b).messages == before + 1);
	/* the next one is not taken any more */
	front_offer(f, 0, 4, DATA + GUEST_PAGE);
	front_kick(f, 0);
	front_run(f, 1, 0, DATA + 2 * GUEST_PAGE);
	assert_false(readable(f->fd, 0));
	assert_int_equal(atomic_load(&b->mapped), 1);
	back_let_go(b);
	front_answered(f, VH_GET_VRING_BASE);
	assert_int_equal(front_base(f, 0), 1);
	front_taken(f, 0, 3);
	front_answered(f, VH_GET_QUEUE_NUM);
	assert_int_equal(ring_used_idx(&f->rings[0]), 1);
	front_free(f);
}

static void a_stopping_ring_hears_of_the_iotlb(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, PLATFORM);

	assert_true(front_update(f, RINGS, 6 * GUEST_PAGE));
	front_asked_drop(f);
	front_offer(f, 0, 3, DATA);
	front_kick(f, 0);
	assert_int_equal(front_asked(f), DATA);
	/* the request needs the answer to finish; both are answered */
	front_ring_stop(f, 0);
	assert_true(front_update(f, DATA, GUEST_PAGE));
	front_answered(f, VH_GET_VRING_BASE);
	assert_int_equal(front_base(f, 0), 1);
	front_taken(f, 0, 3);
	front_free(f);
}

/* ----------------------------------------------------------------- IOTLB */

static void what_is_not_known_is_asked_for(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, PLATFORM);
	uint64_t rings = 0, gpa;

	front_offer(f, 0, 3, DATA + GUEST_PAGE);
	front_kick(f, 0);
	/* its rings, some of them twice: to read, then to write */
	while ((gpa = front_asked(f)) != DATA + GUEST_PAGE) {
		assert_true(gpa >= RINGS && gpa < RINGS + 6 * GUEST_PAGE);
		rings++;
		assert_true(front_update(f, gpa, GUEST_PAGE));
	}
	assert_true(rings >= 3);
	assert_int_equal(ring_used_idx(&f->rings[0]), 0);
	assert_true(front_update(f, DATA + GUEST_PAGE, GUEST_PAGE));
	front_wait_call(f, 0);
	front_taken(f, 0, 3);
	assert_true(front_filled(f, DATA + GUEST_PAGE));
	assert_int_equal(atomic_load(&b->faults), 0);
	assert_int_equal(back_stats(b).iotlb.timeouts, 0);
	front_free(f);
}

static void iova_in_a_row_is_not_memory_in_a_row(void **state)
{
	struct front *f = front_up_mapped(*state);
	struct vhost_iotlb_msg m =
		front_iotlb(VHOST_IOTLB_UPDATE, DATA + GUEST_PAGE, GUEST_PAGE);
	struct ring *r = &f->rings[0];
	uint32_t id, len;

	/* the second page is far away from the first */
	m.uaddr = USER_HIGH + 5 * GUEST_PAGE;
	assert_true(front_tell(f, VH_IOTLB_MSG, &m, sizeof(m)));
	ring_buffer(r, 0, DATA, 2 * GUEST_PAGE, VRING_DESC_F_WRITE, 0);
	ring_offer(r, 0);
	front_kick(f, 0);
	front_wait_call(f, 0);
	assert_true(ring_take(r, &id, &len));
	assert_int_equal(len, 2 * GUEST_PAGE);
	assert_true(front_filled(f, DATA));
	assert_true(front_filled(f, GPA_HIGH + 5 * GUEST_PAGE));
	assert_false(front_filled(f, DATA + GUEST_PAGE));
	front_free(f);
}

static void invalidate_waits_for_the_request_that_uses_it(void **state)
{
	struct back *b = *state;
	struct front *f = front_up_mapped(b);
	uint64_t before;

	atomic_store(&b->hold, BIT(0));
	front_offer(f, 0, 0, DATA);
	front_kick(f, 0);
	WAIT_UNTIL(atomic_load(&b->mapped) == 1);
	before = back_stats(b).messages;
	front_iotlb_send(f, VHOST_IOTLB_INVALIDATE, DATA, GUEST_PAGE);
	front_iotlb_send(f, VHOST_IOTLB_INVALIDATE, DATA + 64 * GUEST_PAGE,
			 GUEST_PAGE);
	assert_true(front_send(f, VH_GET_QUEUE_NUM, 0, NULL, 0));
	/* all three are carried out, and the other queue goes on */
	WAIT_UNTIL(back_stats(b).messages == before + 3);
	front_run(f, 1, 0, DATA + GUEST_PAGE);
	assert_int_equal(atomic_load(&b->mapped), 1);
	assert_false(readable(f->fd, 0));
	back_let_go(b);
	front_answered(f, VH_IOTLB_MSG);
	assert_int_equal(front_u64(f), 0);
	front_answered(f, VH_IOTLB_MSG);
	assert_int_equal(front_u64(f), 0);
	front_answered(f, VH_GET_QUEUE_NUM);
	assert_int_equal(back_stats(b).iotlb.waited, 1);
	/* it is gone: the next one asks */
	atomic_store(&b->hold, 0);
	front_wait_call(f, 0);
	front_taken(f, 0, 0);
	front_offer(f, 0, 1, DATA);
	front_kick(f, 0);
	assert_int_equal(front_asked(f), DATA);
	front_free(f);
}

static void invalidate_of_other_pages_waits_for_nobody(void **state)
{
	struct back *b = *state;
	struct front *f = front_up_mapped(b);

	atomic_store(&b->hold, BIT(0));
	front_offer(f, 0, 0, DATA);
	front_kick(f, 0);
	WAIT_UNTIL(atomic_load(&b->mapped) == 1);
	front_iotlb_send(f, VHOST_IOTLB_INVALIDATE, DATA + GUEST_PAGE,
			 GUEST_PAGE);
	front_answered(f, VH_IOTLB_MSG);
	assert_int_equal(front_u64(f), 0);
	assert_int_equal(atomic_load(&b->mapped), 1);
	back_let_go(b);
	front_wait_call(f, 0);
	front_free(f);
}

/* QEMU's mask + 1 overflows. */
static void invalidate_of_size_0_is_for_all(void **state)
{
	struct back *b = *state;
	struct front *f = front_up_mapped(b);
	const struct vhost_iotlb_msg m = { .type = VHOST_IOTLB_INVALIDATE };

	front_run(f, 0, 0, DATA);
	assert_true(front_tell(f, VH_IOTLB_MSG, &m, sizeof(m)));
	assert_int_equal(back_stats(b).iotlb.entries, 0);
	front_free(f);
}

static void a_bad_update_is_refused(void **state)
{
	struct front *f = front_up_mapped(*state);
	struct vhost_iotlb_msg m =
		front_iotlb(VHOST_IOTLB_UPDATE, DATA, GUEST_PAGE);

	m.uaddr = USER + REGION;
	assert_false(front_tell(f, VH_IOTLB_MSG, &m, sizeof(m)));
	m.uaddr = USER;
	m.type = VHOST_IOTLB_MISS;
	assert_false(front_tell(f, VH_IOTLB_MSG, &m, sizeof(m)));
	front_run(f, 0, 0, DATA);
	front_free(f);
}

static void a_ring_that_nobody_maps_fails(void **state)
{
	struct back *b = back_make(0, 20000000);
	struct front *f = front_up(b, PLATFORM);

	(void)state;
	front_offer(f, 0, 0, DATA);
	front_kick(f, 0);
	assert_true(readable(f->err[0], WAIT_MS));
	WAIT_UNTIL(atomic_load(&b->troubles) == 1);
	/* it runs again when all rings have been stopped */
	for (unsigned i = 0; i < QUEUES; i++) {
		front_ring_stop(f, i);
		front_answered(f, VH_GET_VRING_BASE);
	}
	assert_true(front_update(f, RINGS, 6 * GUEST_PAGE));
	assert_true(front_update(f, DATA, GUEST_PAGE));
	for (unsigned i = 0; i < QUEUES; i++)
		front_ring(f, i);
	front_run(f, 0, 0, DATA);
	front_free(f);
	back_free(b);
}

/* While it was stopped nobody told what went. */
static void nothing_is_known_when_a_device_starts_again(void **state)
{
	struct back *b = *state;
	struct front *f = front_up_mapped(b);

	front_run(f, 0, 0, DATA);
	/* while a ring runs it is told, and what is known stays */
	assert_true(front_tell_u64(f, VH_SET_FEATURES, f->features));
	front_run(f, 0, 1, DATA);
	for (unsigned i = 0; i < QUEUES; i++) {
		front_ring_stop(f, i);
		front_answered(f, VH_GET_VRING_BASE);
	}
	assert_int_not_equal(back_stats(b).iotlb.entries, 0);
	assert_true(front_tell_u64(f, VH_SET_FEATURES, f->features));
	assert_int_equal(back_stats(b).iotlb.entries, 0);
	front_ring(f, 0);
	assert_true(front_update(f, RINGS, 6 * GUEST_PAGE));
	front_asked_drop(f);
	front_offer(f, 0, 0, DATA);
	front_kick(f, 0);
	assert_int_equal(front_asked(f), DATA);
	assert_true(front_update(f, DATA, GUEST_PAGE));
	front_wait_call(f, 0);
	front_taken(f, 0, 0);
	front_free(f);
}

/* A request that waited when the device failed goes on when it is answered, or
 * its ring would never be stopped. */
static void what_waits_in_a_device_that_failed_ends(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, PLATFORM);

	assert_true(front_update(f, RINGS, 6 * GUEST_PAGE));
	front_asked_drop(f);
	front_offer(f, 0, 3, DATA);
	front_kick(f, 0);
	assert_int_equal(front_asked(f), DATA);
	f->rings[1].added += 2 * LEN;
	ring_show(&f->rings[1]);
	front_kick(f, 1);
	assert_true(readable(f->err[0], WAIT_MS));
	front_ring_stop(f, 0);
	assert_true(front_update(f, DATA, GUEST_PAGE));
	front_answered(f, VH_GET_VRING_BASE);
	assert_int_equal(front_base(f, 0), 1);
	assert_int_equal(back_stats(b).iotlb.timeouts, 0);
	front_free(f);
}

/* ---------------------------------------------------------------- memory */

static void removed_memory_is_acknowledged_when_unused(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, 0);
	const struct vh_mem_reg reg = { .region = front_high() };
	uint64_t before;

	atomic_store(&b->hold, BIT(0));
	front_offer(f, 0, 0, GPA_HIGH + GUEST_PAGE);
	front_kick(f, 0);
	WAIT_UNTIL(atomic_load(&b->mapped) == 1);
	before = back_stats(b).messages;
	assert_true(front_send(f, VH_REM_MEM_REG, VH_NEED_REPLY, &reg,
			       sizeof(reg)));
	assert_true(front_send(f, VH_GET_QUEUE_NUM, 0, NULL, 0));
	WAIT_UNTIL(back_stats(b).messages == before + 2);
	assert_int_equal(back_stats(b).regions, 1);
	front_run(f, 1, 0, DATA);
	assert_false(readable(f->fd, 0));
	back_let_go(b);
	front_answered(f, VH_REM_MEM_REG);
	assert_int_equal(front_u64(f), 0);
	front_answered(f, VH_GET_QUEUE_NUM);
	assert_int_equal(back_stats(b).waited, 1);
	/* it can be given again */
	assert_true(front_tell_fds(f, VH_ADD_MEM_REG, &reg, sizeof(reg),
				   &f->ram_fd, 1));
	atomic_store(&b->hold, 0);
	front_wait_call(f, 0);
	front_taken(f, 0, 0);
	front_run(f, 0, 1, GPA_HIGH);
	assert_false(front_tell(f, VH_REM_MEM_REG,
				&(struct vh_mem_reg){ .region = { .len = 1 } },
				sizeof(reg)));
	front_free(f);
}

static void a_new_table_leaves_alone_what_stays(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, 0);
	struct vh_region r[] = { front_low(), front_high() };

	atomic_store(&b->hold, BIT(0));
	front_offer(f, 0, 0, DATA);
	front_kick(f, 0);
	WAIT_UNTIL(atomic_load(&b->mapped) == 1);
	/* the high one goes; the low one, in use, is not waited for */
	assert_true(front_table(f, r, 1));
	assert_int_equal(atomic_load(&b->mapped), 1);
	assert_int_equal(back_stats(b).regions, 1);
	/* and is there again, with what follows it in the file */
	r[1].gpa += REGION;
	assert_true(front_table(f, r, 2));
	front_run(f, 1, 0, DATA + GUEST_PAGE);
	assert_int_equal(atomic_load(&b->mapped), 1);
	back_let_go(b);
	front_wait_call(f, 0);
	front_free(f);
}

/* What went before the rest could not come is waited for all the same. */
static void a_table_that_fails_half_way_is_answered_when_unused(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, 0);
	struct vh_mem_table t = { .n = 2 };
	const int fds[] = { f->ram_fd, f->call[0] };
	uint64_t before;

	t.region[0] = front_low();
	t.region[1] = front_high();
	atomic_store(&b->hold, BIT(0));
	front_offer(f, 0, 0, GPA_HIGH);
	front_kick(f, 0);
	WAIT_UNTIL(atomic_load(&b->mapped) == 1);
	before = back_stats(b).messages;
	assert_true(front_send_fds(f, VH_SET_MEM_TABLE, VH_NEED_REPLY, &t,
				   offsetof(struct vh_mem_table, region) +
					   2 * sizeof(t.region[0]),
				   fds, 2));
	assert_true(front_send(f, VH_GET_QUEUE_NUM, 0, NULL, 0));
	WAIT_UNTIL(back_stats(b).messages == before + 2);
	front_run(f, 1, 0, DATA);
	assert_false(readable(f->fd, 0));
	assert_int_equal(atomic_load(&b->mapped), 1);
	back_let_go(b);
	front_answered(f, VH_SET_MEM_TABLE);
	assert_int_equal(front_u64(f), 1);
	front_answered(f, VH_GET_QUEUE_NUM);
	front_free(f);
}

static void the_table_is_changed_behind_an_iommu(void **state)
{
	struct back *b = *state;
	struct front *f = front_up_mapped(b);
	struct vh_region r[] = { front_low(), front_high() };

	assert_true(front_update(f, GPA_HIGH, GUEST_PAGE));
	front_run(f, 0, 0, GPA_HIGH);
	/* entries that lead to what goes, go */
	assert_true(front_table(f, r, 1));
	front_offer(f, 0, 1, GPA_HIGH);
	front_kick(f, 0);
	assert_int_equal(front_asked(f), GPA_HIGH);
	assert_false(front_update(f, GPA_HIGH, GUEST_PAGE));
	assert_true(front_table(f, r, 2));
	assert_true(front_update(f, GPA_HIGH, GUEST_PAGE));
	front_wait_call(f, 0);
	front_taken(f, 0, 1);
	front_free(f);
}

/* ------------------------------------------------------------------- time */

static void what_does_not_let_go_is_given_up(void **state)
{
	struct back *b = back_make(20000000, 0);
	struct front *f = front_up_mapped(b);

	(void)state;
	atomic_store(&b->hold, BIT(0));
	front_offer(f, 0, 0, DATA);
	front_kick(f, 0);
	WAIT_UNTIL(atomic_load(&b->mapped) == 1);
	front_iotlb_send(f, VHOST_IOTLB_INVALIDATE, DATA, GUEST_PAGE);
	front_answered(f, VH_IOTLB_MSG);
	assert_int_not_equal(front_u64(f), 0);
	assert_true(readable(f->err[1], WAIT_MS));
	assert_int_equal(atomic_load(&b->mapped), 1);
	/* stopped, reset, and it runs again */
	for (unsigned i = QUEUES; i--;)
		front_ring_stop(f, i);
	back_let_go(b);
	atomic_store(&b->hold, 0);
	for (unsigned i = QUEUES; i--;)
		front_answered(f, VH_GET_VRING_BASE);
	WAIT_UNTIL(atomic_load(&b->resets) == 1);
	assert_true(front_update(f, DATA, GUEST_PAGE));
	for (unsigned i = 0; i < QUEUES; i++)
		front_ring(f, i);
	front_run(f, 0, 0, DATA);
	front_run(f, 1, 0, DATA);
	front_free(f);
	back_free(b);
}

static void memory_that_is_not_let_go_is_an_error(void **state)
{
	struct back *b = back_make(20000000, 0);
	struct front *f = front_up(b, 0);
	const struct vh_mem_reg reg = { .region = front_high() };

	(void)state;
	atomic_store(&b->hold, BIT(0));
	front_offer(f, 0, 0, GPA_HIGH);
	front_kick(f, 0);
	WAIT_UNTIL(atomic_load(&b->mapped) == 1);
	assert_false(front_tell(f, VH_REM_MEM_REG, &reg, sizeof(reg)));
	assert_int_equal(atomic_load(&b->mapped), 1);
	assert_true(readable(f->err[0], WAIT_MS));
	/* the next one waits for it nevertheless */
	front_free(f);
	WAIT_UNTIL(atomic_load(&b->went) == 1);
	f = front_make(b);
	assert_true(front_send(f, VH_GET_QUEUE_NUM, 0, NULL, 0));
	WAIT_UNTIL(atomic_load(&b->resets) == 1);
	assert_int_equal(atomic_load(&b->came), 1);
	back_let_go(b);
	front_answered(f, VH_GET_QUEUE_NUM);
	front_free(f);
	back_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(where_a_server_may_be),
		TEST(features_are_negotiated),
		TEST(configuration_is_read_and_written),
		TEST(only_what_is_asked_for_is_acknowledged),
		TEST(without_an_iommu),
		TEST(a_disabled_ring_waits),
		TEST(rings_are_stopped_and_go_on),
		TEST(eventfds_are_replaced_while_a_ring_runs),
		TEST(a_ring_that_never_ran_tells_its_base),
		TEST(stopping_waits_for_requests),
		TEST(a_stopping_ring_hears_of_the_iotlb),
		TEST(what_is_not_known_is_asked_for),
		TEST(iova_in_a_row_is_not_memory_in_a_row),
		TEST(invalidate_waits_for_the_request_that_uses_it),
		TEST(invalidate_of_other_pages_waits_for_nobody),
		TEST(invalidate_of_size_0_is_for_all),
		TEST(a_bad_update_is_refused),
		cmocka_unit_test(a_ring_that_nobody_maps_fails),
		TEST(nothing_is_known_when_a_device_starts_again),
		TEST(what_waits_in_a_device_that_failed_ends),
		TEST(removed_memory_is_acknowledged_when_unused),
		TEST(a_new_table_leaves_alone_what_stays),
		TEST(a_table_that_fails_half_way_is_answered_when_unused),
		TEST(the_table_is_changed_behind_an_iommu),
		cmocka_unit_test(what_does_not_let_go_is_given_up),
		cmocka_unit_test(memory_that_is_not_let_go_is_an_error),
	};

	return cmocka_run_group_tests_name("vhost_user", tests, NULL, NULL);
}
