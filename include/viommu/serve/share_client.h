/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_SHARE_CLIENT_H
#define VIOMMU_SERVE_SHARE_CLIENT_H

/**
 * @file
 * An emulator's side of share.h: map pages of somebody else's guest, and let
 * go of those that are taken back.  Needs no instance of libviommu.
 *
 * Watch viommu_share_fd() and call viommu_share_dispatch() when it is readable,
 * or pages that are taken back stay with us until the server loses patience.
 * map and unmap wait for the server's answer, and take in what else it says.
 *
 * A child that is forked does not inherit what is mapped.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_share_client;

/** Pages of an owner. */
struct viommu_share_range {
	uint64_t owner;
	viommu_gpa_t gpa;
	uint64_t len;
};

/** What has to go. */
struct viommu_share_gone {
	uint64_t id;
	bool all; /* everything that is mapped; the range is empty */
	struct viommu_share_range range;
};

enum {
	VIOMMU_SHARE_NOW = 0,
	VIOMMU_SHARE_LATER = 1,
};

enum {
	/** have the server say only that everything has to go */
	VIOMMU_SHARE_ALL_ONLY = 1u << 0,
	/** this process has nothing mapped any more that it got by another
	 * connection: the server need not wait for it to end */
	VIOMMU_SHARE_NOTHING_HELD = 1u << 1,
};

struct viommu_share_client_config {
	size_t size; /* sizeof(struct viommu_share_client_config) */
	const char *path;
	/** Pages have to go.  Returns VIOMMU_SHARE_NOW: nobody in this process
	 * touches them from here on, let go of them; or VIOMMU_SHARE_LATER:
	 * viommu_share_let_go() will be called.  NULL: now.  Runs within
	 * dispatch, map and unmap, and must call none of them */
	int (*before)(void *arg, const struct viommu_share_gone *gone);
	/** they are gone from the address space; or NULL */
	void (*after)(void *arg, const struct viommu_share_gone *gone);
	void *arg;
	uint64_t timeout_ns; /* for an answer; 0: ten seconds */
	uint32_t flags;	     /* VIOMMU_SHARE_ALL_ONLY ... */
	uint32_t reserved;   /* 0 */
};

/**
 * Connect.
 *
 * @param cfg copied
 * @param out the connection, owned by the caller
 * @return 0, -EINVAL (an option from a later version, or no path), -ENOENT (no
 *         such socket), -ECONNREFUSED (nobody listens), -ENAMETOOLONG,
 *         -ETIMEDOUT, -ECONNRESET (the server hung up), -EPROTO (it is no such
 *         server, or has no version that we know), -EMFILE, -ENOMEM, or what
 *         connect(2) failed with
 *
 * Context: any thread; waits.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_share_connect(const struct viommu_share_client_config *cfg,
		     struct viommu_share_client **out);

/**
 * Unmap everything and hang up.  No callback runs.
 *
 * @param c connection, or NULL
 *
 * Context: one thread, the last, in no callback; may wait for the server, as
 * unmap does.
 */
VIOMMU_API void viommu_share_close(struct viommu_share_client *c);

/**
 * Tell what to watch.
 *
 * @param c connection
 * @return a descriptor, readable when viommu_share_dispatch() has something to
 *         do; stays the connection's
 *
 * Context: any thread.
 */
VIOMMU_API int viommu_share_fd(const struct viommu_share_client *c);

/**
 * Map pages.
 *
 * @param c    connection
 * @param r    multiples of the page size; nothing of it is mapped yet
 * @param prot VIOMMU_READ, VIOMMU_WRITE, or both
 * @param out  where they are, in one piece
 * @return 0, -EINVAL (no pages, or off their size, or prot), -EEXIST (some of
 *         it is mapped, or has not been let go of yet), -ENOENT (no such
 *         owner), -EFAULT (some of it is no memory), -EACCES (it may not be
 *         used so), -ENODEV (it is a device's), -EBUSY (it is being moved),
 *         -E2BIG (it is in too many pieces), -ENOSPC (more maps or bytes than
 *         the server allows), -ENOMEM, -ESHUTDOWN (the server is being
 *         unmade), -ECONNRESET, -ETIMEDOUT and -EPROTO as
 *         viommu_share_connect(): the connection is over; or what the server,
 *         or mmap(2), failed with
 *
 * Context: one thread at a time; waits; before and after may run here.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_share_map(struct viommu_share_client *c,
		 const struct viommu_share_range *r, uint32_t prot, void **out);

/**
 * Unmap what is mapped of a range, also a part of what was mapped.
 *
 * @param c       connection
 * @param r       multiples of the page size; holes are fine
 * @param written whether some of it may have been written
 * @return 0, -EINVAL as viommu_share_map(), -ENOMEM (the system refuses to cut
 *         a mapping: nothing has changed); or, when it is unmapped and the
 *         server may count it as ours, -ENOSPC (a part from the middle, and
 *         the server has no room for one more map), -ECONNRESET, -ETIMEDOUT
 *         and -EPROTO as viommu_share_connect()
 *
 * Context: as viommu_share_map().
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_share_unmap(struct viommu_share_client *c,
		   const struct viommu_share_range *r, bool written);

/**
 * Take in what the server says.
 *
 * @param c connection
 * @return 0, -ECONNRESET, -ETIMEDOUT and -EPROTO as viommu_share_connect(): the
 *         connection is over, and what is mapped stays until
 *         viommu_share_close(); -ENOMEM (the system refuses to cut a mapping:
 *         likewise)
 *
 * Context: as viommu_share_map(); waits only to send an answer.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_share_dispatch(struct viommu_share_client *c);

/**
 * Let go of what before() answered VIOMMU_SHARE_LATER for.  What has been
 * mapped since stays.
 *
 * @param c  connection
 * @param id of what has to go
 * @return 0, -ENOENT (nothing of that name); -ECONNRESET, -ETIMEDOUT, -EPROTO
 *         and -ENOMEM as viommu_share_dispatch()
 *
 * Context: one thread at a time, not in before(); after() runs here.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_share_let_go(struct viommu_share_client *c, uint64_t id);

VIOMMU_END_DECLS

#endif
