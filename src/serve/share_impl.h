/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_SHARE_IMPL_H
#define VS_SHARE_IMPL_H

/*
 * What the files of the server of shared memory have in common: share.c (its
 * life, who comes and goes), share_conn.c (messages), share_ref.c (what is held
 * for clients), share_peer.c (whose end is whose).
 *
 * Everything belongs to the loop's thread, but what is said to be the lock's:
 * revoke callbacks, expire handlers and fences come on any thread.  The lock is
 * not held while a map is let go of: that waits for its revoke callback.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <viommu/dma.h>
#include <viommu/serve/share.h>

#include "serve/loop.h"
#include "serve/share_wire.h"
#include "serve/unix.h"
#include "serve/waiter.h"

enum {
	VS_SHARE_BUCKETS = 1024, /* of invalidations, by id */
	VS_SHARE_REPLIES = 64,	 /* that wait to be sent; then we do not read */
	VS_SHARE_TRIES = 500,	 /* to send, where the kernel has no room */
};

/* A message that waits to be sent. */
struct vs_share_out {
	struct vs_share_out *next;
	struct vs_share_msg msg;
	int fd;	    /* goes with it; -1: none */
	bool *sent; /* of an invalidation; NULL: a reply, which is freed */
};

/* An invalidation that was not answered yet. */
struct vs_share_inv {
	struct vs_share_out out;
	struct vs_share_inv *next; /* of its bucket */
	struct vs_share_ref *refs; /* that wait for it: one, or linked by all */
	bool sent;
	bool inner; /* lives in a reference */
};

/*
 * A reference: a DMA map, held for a client.  It is live while the client may
 * use all of it; then the parts that stay have references of their own, and
 * this one lasts until the client has let go of the others.
 */
struct vs_share_ref {
	struct viommu_dma d;
	struct vs_share_view *view;
	struct vs_share_ref *next, *prev; /* the client's */
	struct vs_share_ref *all;
	uint64_t bytes; /* that it stands for */
	unsigned told;	/* invalidations that it waits for */
	bool live;	/* in the view's tree */
	struct vs_share_inv inv;

	/* the lock's */
	struct vs_share_ref *next_asked, *prev_asked;
	bool listed;
	uint64_t taken, taken_last;

	struct iovec iov[];
};

/* What a client sees of an owner. */
struct vs_share_view {
	struct vs_share_client *c;
	const struct viommu_share_owner *owner;
	struct viommu_endpoint *ep; /* made when it is needed */
	void *live;		    /* tsearch(3)'s, disjoint */
};

struct vs_share_client {
	struct viommu_share *s;
	struct vs_share_client *next;
	struct viommu_share_peer peer;
	int fd;	   /* -1: the connection has ended */
	int pidfd; /* -1: unknown */
	uint32_t watched;
	bool hello, targeted;
	bool lingers; /* counted so */
	bool ended;   /* holds nothing, is to be freed */
	bool freeing; /* and its endpoints were told */
	atomic_bool expired;

	struct vs_share_msg in;
	size_t got;
	struct vs_share_out *first, *last;
	size_t out_at;		   /* bytes of the first that were sent */
	unsigned replies;	   /* of those that wait */
	struct viommu_timer again; /* to send, where EPOLLOUT says nothing */
	bool stuck;		   /* it runs */
	unsigned tries;		   /* that came to nothing, in a row */

	uint64_t last_id;
	struct vs_share_inv *invs[VS_SHARE_BUCKETS];
	uint64_t ninvs;
	struct vs_share_ref *refs;
	uint64_t nrefs, bytes;
	struct vs_waiter gone; /* its endpoints */
	struct vs_share_view views[];
};

enum vs_share_stat {
	VS_SHARE_CONNECTIONS,
	VS_SHARE_INVALIDATIONS,
	VS_SHARE_INVALIDATIONS_ALL,
	VS_SHARE_LEFT,
	VS_SHARE_REFUSED,
	VS_SHARE_PROTOCOL_ERRORS,
	VS_SHARE_GIVEN_UP,
	VS_SHARE_EXITED,
	VS_SHARE_SENT_AWAY,
	VS_SHARE_CLIENTS,
	VS_SHARE_LINGERING,
	VS_SHARE_MAPS,
	VS_SHARE_BYTES,
	VS_SHARE_STATS,
};

struct viommu_share {
	struct viommu_share_config cfg;
	struct viommu_share_owner *owners;
	struct viommu_space *space; /* all GPAs, as they are */
	uint64_t page_size;
	struct vs_unix listen;
	bool listening, closing, late;
	struct vs_share_client *clients;
	unsigned nclients;
	struct viommu_timer timer; /* to listen again */
	struct viommu_timer bound; /* of destroy's patience */
	struct viommu_task work;   /* somebody was asked, or expired, or is to
				    * be freed */
	struct vs_deadlines deadlines;
	struct vs_waiter gone; /* the space */
	_Atomic uint64_t stats[VS_SHARE_STATS];

	pthread_mutex_t lock;
	struct vs_share_ref *asked, *asked_last; /* the lock's: in a row */
};

static inline void vs_share_add(struct viommu_share *s, enum vs_share_stat stat,
				uint64_t n)
{
	atomic_fetch_add_explicit(&s->stats[stat], n, memory_order_relaxed);
}

/* --------------------------------------------------------------- share.c */

/* The connection has ended; it holds what it holds until its process ends. */
void vs_share_drop(struct vs_share_client *c, const char *why, bool broke);

/* It holds nothing any more, and is freed when nobody can look at it. */
void vs_share_end(struct vs_share_client *c);

/* The endpoint of a view does not let go.  Any thread. */
enum viommu_verdict vs_share_expire(void *arg, const struct viommu_expiry *e);

/* ---------------------------------------------------------- share_conn.c */

/* Watch for what we can go on with. */
void vs_share_watch(struct vs_share_client *c);

/* Of the timer: try to send, and watch. */
void vs_share_again(void *arg);

void vs_share_queue(struct vs_share_client *c, struct vs_share_out *out);
/* Forget what waits to be sent. */
void vs_share_unqueue(struct vs_share_client *c);

/* ----------------------------------------------------------- share_ref.c */

/* A reference to pages, live.  0, or -errno of viommu_dma_map(), -ENOMEM. */
int vs_share_ref_get(struct vs_share_view *v, const struct vs_share_msg *m,
		     struct vs_share_ref **out);

/* A live one of which some is in the range, or NULL. */
struct vs_share_ref *vs_share_ref_find(const struct vs_share_view *v,
				       uint64_t gpa, uint64_t last);

/* The client has let go of some of a live one.  0, -ENOMEM. */
int vs_share_ref_cut(struct vs_share_ref *r, uint64_t gpa, uint64_t last);

/* Let go of one, however it is. */
void vs_share_ref_put(struct vs_share_ref *r);

/* The client may have written there. */
void vs_share_written(const struct vs_share_view *v, uint64_t gpa,
		      uint64_t last);

/* Have the client let go of everything. */
void vs_share_take_all(struct vs_share_client *c);

/* It has answered.  False: that was not asked. */
bool vs_share_answered(struct vs_share_client *c, uint64_t id);

/* Tell the clients of those that were asked. */
void vs_share_tell(struct viommu_share *s);

/* Forget what the client was told: nobody will answer. */
void vs_share_forget(struct vs_share_client *c);

/* ---------------------------------------------------------- share_peer.c */

/*
 * Who connected?  A descriptor that is readable once that process has ended;
 * or -errno: it cannot be had.  @pid: 0 if it has none here.
 */
int vs_share_peer(int sock, pid_t *pid);

/* Whether nobody is at the other end any more; there may be messages. */
bool vs_share_hung_up(int sock);

#endif
