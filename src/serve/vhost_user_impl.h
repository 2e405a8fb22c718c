/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_VHOST_USER_IMPL_H
#define VS_VHOST_USER_IMPL_H

/*
 * What the files of the vhost-user back-end share: vhost_user.c (connections),
 * vhost_user_msg.c (which message is carried out by whom), vhost_user_op.c (the
 * order of answers), vhost_user_mem.c (memory), vhost_user_ring.c (rings),
 * vhost_user_area.c (the log and in-flight areas), vhost_user_back.c (the other
 * way).
 */

#include <pthread.h>
#include <stdatomic.h>
#include <viommu/fence.h>
#include <viommu/serve/vhost_user.h>

#include "serve/loop.h"
#include "serve/unix.h"
#include "serve/vfio_user_file.h"
#include "serve/vhost_user_chan.h"
#include "serve/virtio.h"

enum {
	VS_VH_OPS = 64,	   /* messages whose answers wait */
	VS_VH_FENCES = 64, /* those that wait for DMA, also after an error */
	VS_VH_SLOTS = 256,
};

/* ---------------------------------------------------- vhost_user_op.c */

/*
 * A message that was taken in, until it is answered.  Named by its number: who
 * is late with an answer finds that nobody wants it any more.
 */
struct vs_vop {
	uint32_t request;
	bool reply; /* it has an answer of its own */
	bool ack;   /* or one was asked for */
	bool over;  /* by the lock */
	int status; /* 0 or -errno; by the lock until it is over */
	uint8_t body[sizeof(struct vh_config)];
	size_t len;
	int fd; /* goes with the answer; -1 */
};

#define VS_VOP_NONE UINT64_MAX

/* What a message takes away from the device. */
struct vs_vfence {
	struct viommu_vhost_user *s;
	struct viommu_fence fence;
	bool used;	 /* by the lock */
	int status;	 /* of the message, when it is done */
	uint64_t number; /* of the message; VS_VOP_NONE: of none any more */
};

/* The next message's; there is room (vs_vop_room()). */
struct vs_vop *vs_vop_new(struct viommu_vhost_user *s, uint64_t *number);
bool vs_vop_room(const struct viommu_vhost_user *s);
/* It is carried out, and may be answered in its turn.  Any thread. */
void vs_vop_over(struct viommu_vhost_user *s, uint64_t number, int status);
/* Take the oldest if it is over. */
bool vs_vop_take(struct viommu_vhost_user *s, struct vs_vop *out);
/* Nobody is there to be answered. */
void vs_vop_forget(struct viommu_vhost_user *s);

/* Open a fence that is not in use. */
void vs_vfence_open(struct viommu_vhost_user *s, struct vs_vfence *f);
/* An open fence, or NULL: too many are in use. */
struct vs_vfence *vs_vfence_get(struct viommu_vhost_user *s);
/* Give one back that gathered nothing. */
void vs_vfence_put(struct vs_vfence *f);
/* When it is done, or has failed, message @number is over. */
void vs_vfence_commit(struct vs_vfence *f, uint64_t number);
/* None is in use. */
bool vs_vfences_done(struct viommu_vhost_user *s);

/* --------------------------------------------------- vhost_user_area.c */

/* A part of a file that the front-end shares. */
struct vs_area {
	void *map;
	size_t map_len;
	uint8_t *at;
	uint64_t len;
};

/* In place of what is there.  0 or -errno. */
int vs_area_map(struct vs_area *a, int fd, uint64_t offset, uint64_t len);
void vs_area_unmap(struct vs_area *a);

/* Request @head of a ring is not in flight any more: the ring is idle. */
void vs_inflight_forget(struct viommu_vhost_user *s, unsigned ring,
			uint16_t head);

/* Mark in the front-end's log what was written since. */
void vs_log_sync(struct viommu_vhost_user *s);

/* ---------------------------------------------------- vhost_user_mem.c */

struct vs_slot {
	struct vh_region r;
	struct vs_file *file;
};

struct vs_slots {
	struct vs_slot slot[VS_VH_SLOTS];
	unsigned n;
	_Atomic uint64_t count; /* n, for others */
	struct vs_files files;
};

int vs_slot_add(struct viommu_vhost_user *s, const struct vh_region *r, int fd);
int vs_slot_remove(struct viommu_vhost_user *s, const struct vh_region *r,
		   struct viommu_fence *f);
/* Have @n regions and no others: those that stay are left alone. */
int vs_slots_set(struct viommu_vhost_user *s, const struct vh_mem_table *t,
		 const int *fds, struct viommu_fence *f);
void vs_slots_clear(struct viommu_vhost_user *s, struct viommu_fence *f);

/* --------------------------------------------------- vhost_user_ring.c */

struct vs_vring {
	struct viommu_vhost_user *s;
	unsigned index;
	uint32_t len;
	uint16_t base; /* where it starts */
	bool addressed, enabled, started;
	struct vh_vring_addr addr;
	int kick, call, err; /* -1: none */
};

void vs_vrings_init(struct viommu_vhost_user *s);
int vs_vring_num(struct vs_vring *r, uint32_t num);
int vs_vring_base(struct vs_vring *r, uint32_t base);
int vs_vring_addr(struct vs_vring *r, const struct vh_vring_addr *addr);
int vs_vring_enable(struct vs_vring *r, bool enable);
/* Take @fd over, if there is one. */
int vs_vring_kick(struct vs_vring *r, int fd);
int vs_vring_call(struct vs_vring *r, int fd);
int vs_vring_err(struct vs_vring *r, int fd);
/* Start those that can be. */
void vs_vrings_start(struct viommu_vhost_user *s);
bool vs_vrings_started(const struct viommu_vhost_user *s);
/* Its requests are finished: stop it. */
void vs_vring_stop(struct vs_vring *r);
/* Stop them as they are, forget all about them. */
void vs_vrings_drop(struct viommu_vhost_user *s);

extern const struct vs_virtio_transport vs_vhost_transport;

/* --------------------------------------------------- vhost_user_back.c */

/* The socket on which the back-end asks. */
struct vs_back {
	struct viommu_vhost_user *s;
	pthread_mutex_t lock;
	struct vs_vchan chan; /* what goes out: by the lock */
	struct viommu_task watch;
	uint32_t watched;
};

void vs_back_init(struct vs_back *b, struct viommu_vhost_user *s);
void vs_back_fini(struct vs_back *b);
/* Takes @fd over.  0 or -errno. */
int vs_back_open(struct vs_back *b, int fd);
void vs_back_close(struct vs_back *b);
/* Any thread; lost if there is no room, or nobody. */
void vs_back_send(struct vs_back *b, uint32_t request, const void *body,
		  uint32_t len);

/* ---------------------------------------------------- vhost_user_msg.c */

/* Carry out the message in s->chan; false: not now, what stops has to be over
 * first. */
bool vs_message(struct viommu_vhost_user *s);
/* Answer GET_VRING_BASE if the ring's requests are finished. */
void vs_stop_check(struct viommu_vhost_user *s);

/* -------------------------------------------------------- vhost_user.c */

enum vs_vstat {
	VS_VSTAT_CONNECTIONS,
	VS_VSTAT_MESSAGES,
	VS_VSTAT_PROTOCOL_ERRORS,
	VS_VSTAT_REFUSED,
	VS_VSTAT_KICKS,
	VS_VSTAT_INTERRUPTS,
	VS_VSTAT_WAITED,
	VS_VSTATS
};

enum vs_vstate {
	VS_VH_LISTEN,
	VS_VH_SERVE,
	VS_VH_DRAIN,
};

struct viommu_vhost_user {
	struct viommu_vhost_user_config cfg;
	struct viommu_virtio_dev *dev;
	struct viommu_loop *loop;
	struct viommu_memory *memory;
	struct viommu_vhost_iotlb *iotlb;
	struct viommu_space *identity, *attached;
	struct vs_unix listen;
	struct vs_vchan chan;
	struct vs_back back;
	struct viommu_task progress, wake;
	struct viommu_timer timer; /* accept again */
	struct vs_deadlines deadlines;
	enum vs_vstate state;
	bool closing;
	bool busy;	  /* the model is being reset */
	uint32_t watched; /* of chan.fd */

	uint64_t features, protocol;
	struct vs_vring rings[VS_VIRTIO_QUEUES];
	struct vs_vring *stopping; /* GET_VRING_BASE waits for its requests */
	bool parked;		   /* a whole message waits behind that */
	struct vs_slots slots;
	struct vs_area log, inflight;
	uint16_t inflight_queues, inflight_queue_len;
	bool logging;
	bool lame; /* log_sync() has complained */

	/* by this lock: fences and messages are done on any thread */
	pthread_mutex_t lock;
	uint64_t first, next; /* messages that wait: [first, next) */
	struct vs_vop ops[VS_VH_OPS];
	struct vs_vfence fences[VS_VH_FENCES];
	struct vs_vfence drain; /* what a front-end leaves behind */

	_Atomic uint64_t stats[VS_VSTATS];
};

void vs_vcount(struct viommu_vhost_user *s, enum vs_vstat stat);
bool vs_vfeature(const struct viommu_vhost_user *s, unsigned bit);
bool vs_vprotocol(const struct viommu_vhost_user *s, unsigned bit);
void vs_vtrouble(struct viommu_vhost_user *s, const char *what);
/* @broke: the front-end's fault. */
void vs_vdrop(struct viommu_vhost_user *s, const char *why, bool broke);

#endif
