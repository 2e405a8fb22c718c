/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_VFIO_USER_IMPL_H
#define VS_VFIO_USER_IMPL_H

/*
 * What the files of the vfio-user server share: vfio_user.c (connections and
 * dispatch), vfio_user_version.c, vfio_user_dma.c, vfio_user_dev.c.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <viommu/fence.h>
#include <viommu/serve/vfio_user.h>

#include "serve/chan.h"
#include "serve/pci.h"
#include "serve/pci_irq.h"
#include "serve/unix.h"
#include "serve/vfio_user_file.h"

/* One command that came in.  A handler takes fds by setting them to -1. */
struct vs_msg {
	const struct vu_header *hdr;
	const uint8_t *body; /* as long as the handler's table says, or more */
	size_t len;
	int *fds;
	unsigned nfds;
};

/* Room for the reply's body: 16 bytes and VU_MAX_XFER. */
struct vs_reply {
	uint8_t *body;
	size_t len; /* 0 until the handler says */
};

/* What handlers return besides 0 and -errno: the answer comes later; only a
 * part is carried out, run it again. */
enum {
	VS_LATER = 1,
	VS_PART = 2,
};

/* ------------------------------------------------- vfio_user_version.c */

/* What the client can do, of that which matters to us. */
struct vs_peer {
	uint32_t max_xfer;
	uint32_t max_maps; /* that it says itself */
};

int vs_version(struct vs_peer *peer, const struct vs_msg *m,
	       struct vs_reply *r);

/* ----------------------------------------------------- vfio_user_dma.c */

/* DMA commands whose answers wait; when all are taken, nothing is read. */
enum {
	VS_DMA_OPS = 256
};

struct vs_map {
	uint64_t start, last;
	uint64_t offset;
	struct vs_file *file; /* NULL: a hole, came without a descriptor */
	uint32_t flags;
};

struct vs_dma_op {
	struct vs_dma *dma;
	struct vs_dma_op *next;
	struct vu_header hdr;
	struct vu_dma_unmap reply;
	size_t reply_len;
	int error;   /* 0 or -errno */
	bool parked; /* the loop is not looking any more: post */
	bool failed; /* somebody who holds on to it was given up (L9) */
	bool done;
	struct viommu_fence fence;
};

/*
 * What a client has mapped.  Belongs to the loop's thread, but for the parked,
 * failed and done of operations, which the lock guards: fences get done
 * anywhere.
 */
struct vs_dma {
	struct viommu_loop *loop;
	struct viommu_memory *memory;
	struct viommu_task *progress; /* posted when an operation is done */
	void *maps;		      /* tsearch(3)'s, disjoint */
	unsigned nmaps;
	struct vs_files files; /* that the maps show */
	/* nmaps, and what was done so far, for others to read */
	_Atomic uint64_t mapped, maps_done, unmaps_done, holes;

	pthread_mutex_t lock;
	struct vs_dma_op *ops;		/* VS_DMA_OPS of them */
	struct vs_dma_op *unused;	/* linked by next */
	struct vs_dma_op *first, *last; /* whose answers wait, in order */
	struct vs_dma_op *failed;	/* answered, but not done */
	struct vs_dma_op drain;		/* of a client that went */
};

int vs_dma_init(struct vs_dma *dma, struct viommu_loop *loop,
		struct viommu_memory *memory, struct viommu_task *progress);
/* Nothing may be pending. */
void vs_dma_fini(struct vs_dma *dma);

/* Carry out a command.  0 or -errno: to be answered now. */
int vs_dma_map(struct vs_dma *dma, const struct vs_msg *m, struct vs_reply *r);
int vs_dma_unmap(struct vs_dma *dma, const struct vs_msg *m,
		 struct vs_reply *r);

/* Whether another command can be taken. */
bool vs_dma_ready(const struct vs_dma *dma);

/* The oldest command if its time has come to be answered, or NULL; and give
 * it back, answered. */
struct vs_dma_op *vs_dma_answer(struct vs_dma *dma);
void vs_dma_put(struct vs_dma *dma, struct vs_dma_op *op);

/* Start to take all maps away.  May be asked for once at a time. */
void vs_dma_drain(struct vs_dma *dma);

/* Whether that is done, and every command before it. */
bool vs_dma_drained(struct vs_dma *dma);

/* ----------------------------------------------------- vfio_user_dev.c */

/* A client's eventfd that masks or unmasks INTx. */
struct vs_intx_fd {
	struct viommu_vfio_user *server;
	int fd;
	bool masks;
};

int vs_get_info(struct viommu_vfio_user *s, const struct vs_msg *m,
		struct vs_reply *r);
int vs_get_region_info(struct viommu_vfio_user *s, const struct vs_msg *m,
		       struct vs_reply *r);
int vs_get_region_io_fds(struct viommu_vfio_user *s, const struct vs_msg *m,
			 struct vs_reply *r);
int vs_get_irq_info(struct viommu_vfio_user *s, const struct vs_msg *m,
		    struct vs_reply *r);
int vs_set_irqs(struct viommu_vfio_user *s, const struct vs_msg *m,
		struct vs_reply *r);
int vs_region_read(struct viommu_vfio_user *s, const struct vs_msg *m,
		   struct vs_reply *r);
int vs_region_write(struct viommu_vfio_user *s, const struct vs_msg *m,
		    struct vs_reply *r);
int vs_region_write_multi(struct viommu_vfio_user *s, const struct vs_msg *m,
			  struct vs_reply *r);

/* Take every eventfd of the client away. */
void vs_irqs_drop(struct viommu_vfio_user *s);

/* --------------------------------------------------------- vfio_user.c */

/* Answers that wait for the function to be idle; when all are taken, nothing
 * is read. */
enum {
	VS_HELD = 4
};

struct vs_held {
	struct vu_header hdr;
	uint8_t body[sizeof(struct vu_region_access)];
	size_t len;
};

enum vs_stat {
	VS_STAT_MESSAGES,
	VS_STAT_READS,
	VS_STAT_WRITES,
	VS_STAT_PROTOCOL_ERRORS,
	VS_STAT_REFUSED,
	VS_STATS,
};

enum vs_state {
	VS_LISTEN,    /* for a client */
	VS_NEGOTIATE, /* there is one, it has to start with VERSION */
	VS_SERVE,
	VS_DRAIN, /* it is gone; its memory, or a user of that, not yet */
};

struct viommu_vfio_user {
	struct viommu_vfio_user_config cfg;
	struct viommu_pci *pci;
	struct viommu_loop *loop;
	struct vs_unix listen;
	enum vs_state state;
	bool closing;	  /* being destroyed: nobody else may come */
	bool busy;	  /* a message is being handled */
	bool reset_due;	  /* once it has been */
	bool stopped;	  /* nothing is read until the function is idle */
	bool part;	  /* the message in chan is to be run again */
	uint64_t part_at; /* from there on */
	struct vs_held held[VS_HELD];
	unsigned nheld;
	struct viommu_timer patience; /* while stopped */
	uint32_t watched;	      /* epoll events of the connection */
	struct vs_peer peer;
	struct vs_chan chan;
	uint8_t *reply; /* being made: a device may send meanwhile */
	struct vs_dma dma;
	struct vs_intx_fd intx[2];
	struct viommu_timer timer;
	struct viommu_task progress;
	_Atomic uint64_t stats[VS_STATS];
};

void vs_count(struct viommu_vfio_user *s, enum vs_stat stat);

#endif
