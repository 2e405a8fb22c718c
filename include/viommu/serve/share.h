/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_SHARE_H
#define VIOMMU_SERVE_SHARE_H

/**
 * @file
 * Guests' memory, shared with emulators in other processes, and taken back
 * page by page.
 *
 * An emulator connects to a UNIX socket and asks for pages of an owner, that
 * is, of a memory of this instance.  It gets file descriptors to map; the
 * server holds a revocable DMA map in its stead.  When the owner gives pages up
 * (viommu_memory_give_up(), remove, move), each emulator that uses some of
 * them, and no other, is told which; the fence is done when all of them have
 * let go.  One that does not know how is told to let go of everything.
 *
 * What an emulator holds ends when it says so, or with its process; not with
 * its connection, since what it has mapped outlives that.  One that does not
 * answer in time is given up (L9): the fence has failed, the connection ends,
 * and the fence is done when the process has ended, or says, on a new
 * connection, that it holds nothing any more.
 *
 * This is an agreement with emulators, not a cage for them: whoever was given a
 * descriptor has the whole file, can write if it was opened so, and can pass it
 * on.  What a process that says it has let go still maps, or what a child has
 * inherited, is not known here.
 *
 * The protocol is in docs/share.md; share_client.h is the other side.
 */

#include <sys/types.h>
#include <viommu/endpoint.h>
#include <viommu/memory.h>
#include <viommu/serve/loop.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_share;

/** A memory, as clients name it. */
struct viommu_share_owner {
	uint64_t id;
	struct viommu_memory *memory;
};

/** A client.  Slots are numbered from 0 and used again. */
struct viommu_share_peer {
	uint32_t slot;
	pid_t pid; /* when it connected */
};

/** Where is this? */
struct viommu_share_ask {
	uint64_t owner;
	viommu_gpa_t gpa;
	/** what the memory has there, and it is held: go by this wherever the
	 * memory may change meanwhile (remove and add, move) */
	void *host;
	uint64_t len;
	uint32_t prot; /* what the client wants to do */
	uint32_t reserved;
};

/** Here. */
struct viommu_share_piece {
	int fd;		 /* stays the embedder's; open for writing only if the
			  * client may write: it gets all of the file */
	uint64_t offset; /* in the file, of the first byte */
	uint64_t len;	 /* at most what was asked for; multiples of pages */
};

/**
 * Tell which file shows a range.
 *
 * @return 0, or -errno: the client's request is refused with it
 */
typedef int viommu_share_page_fn(void *arg, const struct viommu_share_ask *ask,
				 struct viommu_share_piece *out);

enum {
	/** where the kernel does not say when a process has ended, take the
	 * end of its connection for it; else such clients are sent away */
	VIOMMU_SHARE_TRUST_CLOSE = 1u << 0,
};

struct viommu_share_config {
	size_t size;	  /* sizeof(struct viommu_share_config) */
	const char *path; /* of the socket, made here; at most 107 bytes */
	struct viommu_loop *loop;
	struct viommu *vi;
	const struct viommu_share_owner *owners; /* copied */
	uint32_t nowners;
	/** endpoints, one a client and owner, are first_id + slot * nowners +
	 * the owner's index, without PASID; up to max_clients * nowners */
	uint32_t first_id;
	viommu_share_page_fn *page; /* on the loop's thread; must not block */
	/** a client does not answer: as viommu_expire_fn; if it is given up,
	 * its connection ends.  NULL: give up */
	enum viommu_verdict (*expire)(void *arg,
				      const struct viommu_share_peer *peer,
				      const struct viommu_expiry *e);
	/** a client came (@p why is NULL) or its connection ended (why, for
	 * people; valid during the call); on the loop's thread, must not
	 * destroy the server; may be NULL */
	void (*state)(void *arg, const struct viommu_share_peer *peer,
		      const char *why);
	void *arg;
	/** with those who are gone but for their process; 0: 16 */
	uint32_t max_clients;
	uint32_t max_maps;  /* of a client; 0: 65,536 */
	uint64_t max_bytes; /* likewise; 0: no limit */
	uint32_t flags;	    /* VIOMMU_SHARE_TRUST_CLOSE */
	uint32_t reserved;  /* 0 */
};

struct viommu_share_stats {
	uint64_t clients;   /* connected, now */
	uint64_t lingering; /* without connection, which hold pages, now */
	uint64_t maps;	    /* held for clients, now */
	uint64_t bytes;	    /* in those */
	uint64_t connections;
	uint64_t invalidations;	     /* of a range, that were sent */
	uint64_t invalidations_all;  /* of everything */
	uint64_t invalidations_left; /* not answered, now */
	uint64_t refused;	     /* requests */
	/** connections ended since the client broke the protocol */
	uint64_t protocol_errors;
	uint64_t given_up; /* clients that did not answer */
	uint64_t exited;   /* clients whose process ended */
	uint64_t sent_away;
};

/**
 * Listen, and share memory with whoever connects.
 *
 * @param cfg the server's; copied
 * @param out the new server, owned by the caller
 * @return 0, -EINVAL (an option from a later version, something is missing,
 *         an owner is there twice, or there are not so many endpoint ids),
 *         -EADDRINUSE (somebody listens there, or the file is no socket; a
 *         stale socket file is replaced), -ENAMETOOLONG, -ENOENT (no such
 *         folder), -EMFILE, -ENOMEM, or what else bind(2) failed with
 *
 * Context: the loop's thread, or before it runs.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_share_create(const struct viommu_share_config *cfg,
		    struct viommu_share **out);

/**
 * Stop listening, have everybody let go, and unmake it; the loop's other
 * callbacks go on meanwhile, within this call.
 *
 * @param share      server, or NULL
 * @param timeout_ns how long to wait; negative: for ever
 * @return 0, -ETIMEDOUT (some client has not let go, and its process lives:
 *         the server is still there, serves nobody, and waits to be destroyed)
 *
 * Context: the loop's thread, or while it does not run; sleeps.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_share_destroy(struct viommu_share *share, int64_t timeout_ns);

/**
 * Read the counters.
 *
 * @param share server
 * @param out   each counter is exact; together they are not a snapshot
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_share_read_stats(const struct viommu_share *share,
					struct viommu_share_stats *out);

VIOMMU_END_DECLS

#endif
