/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vhost-user: which message is carried out by whom.
 *
 * Each has a place in the order of answers, even if it has none. GET_VRING_BASE
 * takes its place when the ring's requests are finished; what comes behind it
 * waits, but for IOTLB messages: a request may need one of those to finish, and
 * a front-end that gives it from within its wait wants that answered first.
 *
 * What comes is checked here for its length and its descriptors, and in full
 * before any of it is carried out.  The loop's thread only.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <viommu/endpoint.h>
#include <viommu/memory.h>
#include <viommu/space.h>

#include "serve/vhost_user_impl.h"

#define FEATURE(bit) (UINT64_C(1) << (bit))
#define OURS	     (FEATURE(VH_F_LOG_ALL) | FEATURE(VH_F_PROTOCOL_FEATURES))
#define PROTOCOL                                               \
	(FEATURE(VH_P_MQ) | FEATURE(VH_P_LOG_SHMFD) |          \
	 FEATURE(VH_P_REPLY_ACK) | FEATURE(VH_P_BACKEND_REQ) | \
	 FEATURE(VH_P_CONFIG) | FEATURE(VH_P_INFLIGHT_SHMFD) | \
	 FEATURE(VH_P_CONFIGURE_MEM_SLOTS))
#define LATER 1 /* it is not over yet */

/* A message, and where its answer goes. */
struct message {
	const void *body;
	size_t len;
	int *fds; /* a handler takes one by setting it to -1 */
	unsigned nfds;
	struct vs_vop *op;
	uint64_t number;
};

static uint64_t u64_of(const struct message *m)
{
	uint64_t val;

	memcpy(&val, m->body, sizeof(val));
	return val;
}

static int answer(struct message *m, const void *body, size_t len)
{
	memcpy(m->op->body, body, len);
	m->op->len = len;
	return 0;
}

static int answer_u64(struct message *m, uint64_t val)
{
	return answer(m, &val, sizeof(val));
}

static int fd_take(struct message *m)
{
	int fd = m->nfds ? m->fds[0] : -1;

	if (m->nfds)
		m->fds[0] = -1;
	return fd;
}

/* -------------------------------------------------------------- features */

static uint64_t offered(const struct viommu_vhost_user *s)
{
	return s->dev->offered | OURS;
}

static int get_features(struct viommu_vhost_user *s, struct message *m)
{
	return answer_u64(m, offered(s));
}

/* The endpoint sees what the addresses are. */
static int space_set(struct viommu_vhost_user *s, uint64_t features,
		     struct viommu_fence *f)
{
	struct viommu_space *space =
		features & FEATURE(VIRTIO_F_ACCESS_PLATFORM)
			? viommu_vhost_iotlb_space(s->iotlb)
			: s->identity;
	int rc;

	if (s->attached == space)
		return 0;
	rc = viommu_endpoint_attach(s->dev->cfg.endpoint, space, f);
	if (!rc)
		s->attached = space;
	return rc;
}

/* While no ring runs, front-ends do not say what goes.  They say these features
 * before they start the first one, and from then on. */
static void iotlb_forget(struct viommu_vhost_user *s, struct viommu_fence *f)
{
	int rc;

	if (vs_vrings_started(s))
		return;
	rc = viommu_space_invalidate(viommu_vhost_iotlb_space(s->iotlb), 0,
				     UINT64_MAX, f);
	(void)rc; /* it is REMOTE */
}

static int logging_set(struct viommu_vhost_user *s, bool on,
		       struct viommu_fence *f)
{
	int rc = 0;

	if (on == s->logging)
		return 0;
	if (on && !s->log.at)
		return -EINVAL;
	if (on) {
		rc = viommu_memory_dirty_start(s->memory, 0, f);
	} else {
		vs_log_sync(s);
		viommu_memory_dirty_stop(s->memory, f);
	}
	if (!rc)
		s->logging = on;
	return rc;
}

static int set_features(struct viommu_vhost_user *s, struct message *m)
{
	uint64_t features = u64_of(m), changed = features ^ s->features;
	struct vs_vfence *f;
	int rc;

	if (features & ~offered(s))
		return -EINVAL;
	/* a ring that runs was laid out by these; the log may be turned on */
	if ((changed & ~FEATURE(VH_F_LOG_ALL)) && vs_vrings_started(s))
		return -EBUSY;
	f = vs_vfence_get(s);
	if (!f)
		return -ENOBUFS;
	rc = logging_set(s, features & FEATURE(VH_F_LOG_ALL), &f->fence);
	if (!rc)
		rc = space_set(s, features, &f->fence);
	if (!rc) {
		iotlb_forget(s, &f->fence);
		s->features = features;
		vs_virtio_features(s->dev, features & s->dev->offered);
	}
	vs_vfence_commit(f, rc ? VS_VOP_NONE : m->number);
	return rc ? rc : LATER;
}

static int get_protocol_features(struct viommu_vhost_user *s, struct message *m)
{
	(void)s;
	return answer_u64(m, PROTOCOL);
}

static int set_protocol_features(struct viommu_vhost_user *s, struct message *m)
{
	if (u64_of(m) & ~PROTOCOL)
		return -EINVAL;
	s->protocol = u64_of(m);
	return 0;
}

/* There is nothing that an owner has and others have not. */
static int nothing(struct viommu_vhost_user *s, struct message *m)
{
	(void)s;
	(void)m;
	return 0;
}

static int get_queue_num(struct viommu_vhost_user *s, struct message *m)
{
	return answer_u64(m, s->dev->cfg.queues);
}

/* --------------------------------------------------------- configuration */

static int config_decode(const struct message *m, struct vh_config *c)
{
	const size_t head = offsetof(struct vh_config, data);

	memset(c, 0, sizeof(*c));
	memcpy(c, m->body, m->len);
	if (c->len > VH_CONFIG_MAX || c->offset > VH_CONFIG_MAX - c->len ||
	    m->len != head + c->len)
		return -EINVAL;
	return 0;
}

/* Fields that the device does not have, a later version's, are 0. */
static int get_config(struct viommu_vhost_user *s, struct message *m)
{
	struct vh_config c;
	int rc = config_decode(m, &c);

	if (rc)
		return rc;
	memset(c.data, 0, sizeof(c.data));
	vs_virtio_config_read(s->dev, c.offset, c.data, c.len);
	return answer(m, &c, m->len);
}

static int set_config(struct viommu_vhost_user *s, struct message *m)
{
	struct vh_config c;
	int rc = config_decode(m, &c);

	if (rc)
		return rc;
	return vs_virtio_config_write(s->dev, c.offset, c.data, c.len) == c.len
		       ? 0
		       : -EOPNOTSUPP;
}

/* ---------------------------------------------------------------- memory */

static int set_mem_table(struct viommu_vhost_user *s, struct message *m)
{
	struct vh_mem_table t = { 0 };
	struct vs_vfence *f;
	int rc;

	memcpy(&t, m->body, m->len);
	if (t.n > VH_TABLE_REGIONS || t.n != m->nfds ||
	    m->len != offsetof(struct vh_mem_table, region) +
			      t.n * sizeof(t.region[0]))
		return -EINVAL;
	f = vs_vfence_get(s);
	if (!f)
		return -ENOBUFS;
	rc = vs_slots_set(s, &t, m->fds, &f->fence);
	/* some may be gone, although others did not come: who is told of that
	 * is told when those are in nobody's use */
	f->status = rc;
	if (rc && !m->op->ack) {
		vs_vfence_commit(f, VS_VOP_NONE);
		return rc;
	}
	vs_vfence_commit(f, m->number);
	/* rings may have waited for it */
	if (!rc)
		vs_vrings_start(s);
	return LATER;
}

static struct vh_region region_of(const struct message *m)
{
	struct vh_mem_reg reg;

	memcpy(&reg, m->body, sizeof(reg));
	return reg.region;
}

static int add_mem_reg(struct viommu_vhost_user *s, struct message *m)
{
	const struct vh_region r = region_of(m);

	return m->nfds == 1 ? vs_slot_add(s, &r, m->fds[0]) : -EINVAL;
}

static int rem_mem_reg(struct viommu_vhost_user *s, struct message *m)
{
	const struct vh_region r = region_of(m);
	struct vs_vfence *f = vs_vfence_get(s);
	int rc;

	if (!f)
		return -ENOBUFS;
	rc = vs_slot_remove(s, &r, &f->fence);
	if (rc) {
		vs_vfence_put(f);
		return rc;
	}
	vs_vfence_commit(f, m->number);
	return LATER;
}

static int get_max_mem_slots(struct viommu_vhost_user *s, struct message *m)
{
	(void)s;
	return answer_u64(m, VS_VH_SLOTS);
}

static int iotlb_msg(struct viommu_vhost_user *s, struct message *m)
{
	struct vhost_iotlb_msg msg;
	int rc;

	memcpy(&msg, m->body, sizeof(msg));
	rc = viommu_vhost_iotlb_message(s->iotlb, &msg, m->number);
	return rc ? -ENOBUFS : LATER;
}

static int set_backend_req_fd(struct viommu_vhost_user *s, struct message *m)
{
	if (!m->nfds)
		return -EINVAL;
	return vs_back_open(&s->back, fd_take(m));
}

/* ------------------------------------------------------ log and in-flight */

static int set_log_base(struct viommu_vhost_user *s, struct message *m)
{
	struct vh_log log;

	memcpy(&log, m->body, sizeof(log));
	if (!vs_vprotocol(s, VH_P_LOG_SHMFD) || m->nfds != 1)
		return -EOPNOTSUPP;
	/* what was written until now belongs into the one that was there */
	vs_log_sync(s);
	return vs_area_map(&s->log, m->fds[0], log.offset, log.len);
}

static int inflight_decode(const struct viommu_vhost_user *s,
			   const struct message *m, struct vh_inflight *out)
{
	memset(out, 0, sizeof(*out));
	memcpy(out, m->body, m->len);
	if (!out->queues || out->queues > s->dev->cfg.queues ||
	    !out->queue_len || out->queue_len > s->dev->cfg.queue_len)
		return -EINVAL;
	return 0;
}

static uint64_t inflight_len(const struct vh_inflight *i)
{
	return i->queues *
	       (uint64_t)viommu_virtqueue_inflight_len(i->queue_len);
}

/* The front-end keeps it; its size stays, so that neither of us loses it. */
static int get_inflight_fd(struct viommu_vhost_user *s, struct message *m)
{
	struct vh_inflight i;
	int fd, rc = inflight_decode(s, m, &i);

	if (rc)
		return rc;
	i.len = inflight_len(&i);
	i.offset = 0;
	fd = memfd_create("in-flight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)i.len) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		rc = -errno;
		close(fd);
		return rc;
	}
	m->op->fd = fd;
	return answer(m, &i, m->len);
}

static int set_inflight_fd(struct viommu_vhost_user *s, struct message *m)
{
	struct vh_inflight i;
	int rc = inflight_decode(s, m, &i);

	if (!rc && (m->nfds != 1 || i.len < inflight_len(&i) || i.offset % 8))
		rc = -EINVAL;
	if (!rc && vs_vrings_started(s))
		rc = -EBUSY;
	if (!rc)
		rc = vs_area_map(&s->inflight, m->fds[0], i.offset, i.len);
	if (rc)
		return rc;
	s->inflight_queues = i.queues;
	s->inflight_queue_len = i.queue_len;
	return 0;
}

/* ----------------------------------------------------------------- rings */

static struct vs_vring *ring_find(struct viommu_vhost_user *s, uint64_t index)
{
	return index < s->dev->cfg.queues ? &s->rings[index] : NULL;
}

static struct vh_vring_state state_of(const struct message *m)
{
	struct vh_vring_state state;

	memcpy(&state, m->body, sizeof(state));
	return state;
}

static int set_vring_num(struct viommu_vhost_user *s, struct message *m)
{
	struct vh_vring_state state = state_of(m);
	struct vs_vring *r = ring_find(s, state.index);

	return r ? vs_vring_num(r, state.num) : -EINVAL;
}

static int set_vring_base(struct viommu_vhost_user *s, struct message *m)
{
	struct vh_vring_state state = state_of(m);
	struct vs_vring *r = ring_find(s, state.index);

	return r ? vs_vring_base(r, state.num) : -EINVAL;
}

static int set_vring_enable(struct viommu_vhost_user *s, struct message *m)
{
	struct vh_vring_state state = state_of(m);
	struct vs_vring *r = ring_find(s, state.index);

	return r && state.num <= 1 ? vs_vring_enable(r, state.num) : -EINVAL;
}

static int set_vring_addr(struct viommu_vhost_user *s, struct message *m)
{
	struct vh_vring_addr addr;
	struct vs_vring *r;

	memcpy(&addr, m->body, sizeof(addr));
	r = ring_find(s, addr.index);
	return r ? vs_vring_addr(r, &addr) : -EINVAL;
}

/* The ring, and whether there is a descriptor as the message says. */
static struct vs_vring *file_decode(struct viommu_vhost_user *s,
				    const struct message *m)
{
	uint64_t val = u64_of(m);

	if ((val & ~(VH_FILE_INDEX | VH_FILE_NONE)) ||
	    m->nfds != (val & VH_FILE_NONE ? 0 : 1))
		return NULL;
	return ring_find(s, val & VH_FILE_INDEX);
}

static int set_vring_kick(struct viommu_vhost_user *s, struct message *m)
{
	struct vs_vring *r = file_decode(s, m);

	return r ? vs_vring_kick(r, fd_take(m)) : -EINVAL;
}

static int set_vring_call(struct viommu_vhost_user *s, struct message *m)
{
	struct vs_vring *r = file_decode(s, m);

	return r ? vs_vring_call(r, fd_take(m)) : -EINVAL;
}

static int set_vring_err(struct viommu_vhost_user *s, struct message *m)
{
	struct vs_vring *r = file_decode(s, m);

	return r ? vs_vring_err(r, fd_take(m)) : -EINVAL;
}

/* The ring, if it is well-formed. */
static struct vs_vring *base_decode(struct viommu_vhost_user *s)
{
	const struct vs_vchan *c = &s->chan;
	struct vh_vring_state state;

	if (c->hdr.request != VH_GET_VRING_BASE ||
	    c->hdr.len != sizeof(state) || c->nfds || c->fd_error)
		return NULL;
	memcpy(&state, c->body, sizeof(state));
	return ring_find(s, state.index);
}

void vs_stop_check(struct viommu_vhost_user *s)
{
	struct message m = { .nfds = 0 };
	struct vs_vring *r = s->stopping;
	struct vh_vring_state state;

	if (!r)
		return;
	/* the front-end waits for us, so it may answer nothing meanwhile */
	if (r->index < s->inflight_queues)
		vs_virtio_queue_drop(s->dev, r->index);
	if (!vs_virtio_queue_idle(s->dev, r->index))
		return;
	s->stopping = NULL;
	vs_log_sync(s);
	vs_vring_stop(r);
	state = (struct vh_vring_state){ .index = r->index, .num = r->base };
	m.op = vs_vop_new(s, &m.number);
	m.op->request = VH_GET_VRING_BASE;
	m.op->reply = true;
	vs_vop_over(s, m.number, answer(&m, &state, sizeof(state)));
}

/* One that is not well-formed: the others are vs_stop_check()'s. */
static int get_vring_base(struct viommu_vhost_user *s, struct message *m)
{
	(void)s;
	(void)m;
	return -EINVAL;
}

/* -------------------------------------------------------------- dispatch */

#define U64   sizeof(uint64_t)
#define STATE sizeof(struct vh_vring_state)
#define REG   sizeof(struct vh_mem_reg)

struct command {
	int (*fn)(struct viommu_vhost_user *s, struct message *m);
	size_t least, most; /* bytes of the body */
	unsigned fds;	    /* at most */
	bool reply;	    /* it has an answer of its own */
};

static const struct command commands[] = {
	[VH_GET_FEATURES] = { get_features, 0, 0, 0, true },
	[VH_SET_FEATURES] = { set_features, U64, U64, 0, false },
	[VH_SET_OWNER] = { nothing, 0, 0, 0, false },
	[VH_RESET_OWNER] = { nothing, 0, 0, 0, false },
	[VH_SET_MEM_TABLE] = { set_mem_table,
			       offsetof(struct vh_mem_table, region),
			       sizeof(struct vh_mem_table), VH_TABLE_REGIONS,
			       false },
	[VH_SET_LOG_BASE] = { set_log_base, sizeof(struct vh_log),
			      sizeof(struct vh_log), 1, false },
	/* nobody is told by it: the log is looked at when it is needed */
	[VH_SET_LOG_FD] = { nothing, 0, U64, 1, false },
	[VH_SET_VRING_NUM] = { set_vring_num, STATE, STATE, 0, false },
	[VH_SET_VRING_ADDR] = { set_vring_addr, sizeof(struct vh_vring_addr),
				sizeof(struct vh_vring_addr), 0, false },
	[VH_SET_VRING_BASE] = { set_vring_base, STATE, STATE, 0, false },
	[VH_GET_VRING_BASE] = { get_vring_base, STATE, STATE, 0, true },
	[VH_SET_VRING_KICK] = { set_vring_kick, U64, U64, 1, false },
	[VH_SET_VRING_CALL] = { set_vring_call, U64, U64, 1, false },
	[VH_SET_VRING_ERR] = { set_vring_err, U64, U64, 1, false },
	[VH_GET_PROTOCOL_FEATURES] = { get_protocol_features, 0, 0, 0, true },
	[VH_SET_PROTOCOL_FEATURES] = { set_protocol_features, U64, U64, 0,
				       false },
	[VH_GET_QUEUE_NUM] = { get_queue_num, 0, 0, 0, true },
	[VH_SET_VRING_ENABLE] = { set_vring_enable, STATE, STATE, 0, false },
	[VH_SET_BACKEND_REQ_FD] = { set_backend_req_fd, 0, U64, 1, false },
	[VH_IOTLB_MSG] = { iotlb_msg, sizeof(struct vhost_iotlb_msg),
			   sizeof(struct vhost_iotlb_msg), 0, false },
	[VH_GET_CONFIG] = { get_config, offsetof(struct vh_config, data),
			    sizeof(struct vh_config), 0, true },
	[VH_SET_CONFIG] = { set_config, offsetof(struct vh_config, data),
			    sizeof(struct vh_config), 0, false },
	[VH_GET_INFLIGHT_FD] = { get_inflight_fd,
				 offsetof(struct vh_inflight, pad),
				 sizeof(struct vh_inflight), 0, true },
	[VH_SET_INFLIGHT_FD] = { set_inflight_fd,
				 offsetof(struct vh_inflight, pad),
				 sizeof(struct vh_inflight), 1, false },
	[VH_GET_MAX_MEM_SLOTS] = { get_max_mem_slots, 0, 0, 0, true },
	[VH_ADD_MEM_REG] = { add_mem_reg, REG, REG, 1, false },
	/* a descriptor may come with it, and says nothing */
	[VH_REM_MEM_REG] = { rem_mem_reg, REG, REG, 1, false },
};

static const struct command *command_find(uint32_t request)
{
	if (request >= sizeof(commands) / sizeof(commands[0]) ||
	    !commands[request].fn)
		return NULL;
	return &commands[request];
}

static int command_run(struct viommu_vhost_user *s, const struct command *c,
		       struct message *m)
{
	if (s->chan.fd_error)
		return -s->chan.fd_error;
	if (!c)
		return -EOPNOTSUPP;
	if (m->len < c->least || m->len > c->most || m->nfds > c->fds)
		return -EINVAL;
	return c->fn(s, m);
}

bool vs_message(struct viommu_vhost_user *s)
{
	const struct vh_header *hdr = &s->chan.hdr;
	const struct command *c = command_find(hdr->request);
	struct message m = {
		.body = s->chan.body,
		.len = hdr->len,
		.fds = s->chan.fds,
		.nfds = s->chan.nfds,
	};
	int rc;

	if ((hdr->flags & VH_REPLY) || (hdr->flags & ~(uint32_t)VH_FLAGS)) {
		vs_vdrop(s, "a message that is no request", true);
		return true;
	}
	if (s->stopping && hdr->request != VH_IOTLB_MSG)
		return false;
	vs_vcount(s, VS_VSTAT_MESSAGES);
	s->stopping = s->stopping ? s->stopping : base_decode(s);
	if (s->stopping && hdr->request == VH_GET_VRING_BASE) {
		vs_virtio_queue_hold(s->dev, s->stopping->index, true);
		vs_stop_check(s);
		return true;
	}
	m.op = vs_vop_new(s, &m.number);
	m.op->request = hdr->request;
	m.op->reply = c && c->reply;
	m.op->ack =
		(hdr->flags & VH_NEED_REPLY) && vs_vprotocol(s, VH_P_REPLY_ACK);
	/* always answered: the front-end waits before it uses the log */
	if (hdr->request == VH_SET_LOG_BASE && vs_vprotocol(s, VH_P_LOG_SHMFD))
		m.op->ack = true;
	rc = command_run(s, c, &m);
	if (rc != LATER)
		vs_vop_over(s, m.number, rc);
	return true;
}
