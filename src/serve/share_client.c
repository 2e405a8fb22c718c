/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Clients of shared memory, see share_client.h and docs/share.md.
 *
 * What is mapped is in a tree, by owner and GPA, and in a list; entries do not
 * overlap.  When a part goes, its entry is cut, and what stays stays where it
 * is.  An invalidation is answered after the pages have left the address space,
 * not before; if they cannot be made to leave, it is not answered, and the
 * connection is over: then the server waits for our end, and is right to.  It
 * means what was mapped when it came: each map has a number, and what goes
 * later spares those that are newer.
 *
 * At most one request is under way, so the server hears us at all times, and an
 * answer can be sent whatever waits to be read.
 *
 * One thread at a time; nothing is locked.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <viommu/serve/share_client.h>

#include "serve/fds.h"
#include "serve/opts.h"
#include "serve/share_wire.h"

#define TIMEOUT_NS UINT64_C(10000000000)

struct mapped {
	uint64_t owner, gpa, last;
	uint64_t seq; /* of the map that it is of */
	char *ptr;
	uint32_t prot;
	struct mapped *next, *prev;
};

/* What goes when the embedder says so. */
struct later {
	struct later *next;
	struct viommu_share_gone gone;
	uint64_t seq; /* of the newest map that is meant */
};

struct viommu_share_client {
	struct viommu_share_client_config cfg;
	int fd;
	int broken; /* 0 or -errno */
	bool closing;
	uint64_t page_size, last_id;
	uint64_t seq; /* of the newest map */
	struct vs_share_msg in;
	size_t got;
	int in_fd; /* came with it; -1: none */
	void *tree;
	struct mapped *entries;
	struct later *later;
};

/* --------------------------------------------------------------- entries */

static int compare(const void *a, const void *b)
{
	const struct mapped *x = a, *y = b;

	if (x->owner != y->owner)
		return x->owner < y->owner ? -1 : 1;
	if (x->last < y->gpa)
		return -1;
	return x->gpa > y->last;
}

static struct mapped *entry_find(const struct viommu_share_client *c,
				 const struct viommu_share_range *r)
{
	const struct mapped key = { .owner = r->owner,
				    .gpa = r->gpa,
				    .last = r->gpa + (r->len - 1) };
	void *node = tfind(&key, &c->tree, compare);

	return node ? *(struct mapped **)node : NULL;
}

static int entry_add(struct viommu_share_client *c, struct mapped *e)
{
	if (!tsearch(e, &c->tree, compare))
		return -ENOMEM;
	e->prev = NULL;
	e->next = c->entries;
	if (e->next)
		e->next->prev = e;
	c->entries = e;
	return 0;
}

static void entry_remove(struct viommu_share_client *c, struct mapped *e)
{
	tdelete(e, &c->tree, compare);
	if (e->next)
		e->next->prev = e->prev;
	if (e->prev)
		e->prev->next = e->next;
	else
		c->entries = e->next;
	free(e);
}

/* [from, to] is in the middle of @e: two entries, and what is between is in
 * none. */
static int entry_part(struct viommu_share_client *c, struct mapped *e,
		      uint64_t from, uint64_t to)
{
	struct mapped *right = calloc(1, sizeof(*right));
	char *ptr = e->ptr + (from - e->gpa);

	if (!right)
		return -ENOMEM;
	*right = *e;
	right->gpa = to + 1;
	right->ptr += right->gpa - e->gpa;
	e->last = from - 1;
	if (entry_add(c, right)) {
		e->last = right->last;
		free(right);
		return -ENOMEM;
	}
	if (!munmap(ptr, to - from + 1))
		return 0;
	from = right->last;
	entry_remove(c, right);
	e->last = from;
	return -ENOMEM;
}

/* Let go of [from, to], which is within @e. */
static int entry_cut(struct viommu_share_client *c, struct mapped *e,
		     uint64_t from, uint64_t to)
{
	const uint64_t len = to - from + 1;

	if (from > e->gpa && to < e->last)
		return entry_part(c, e, from, to);
	if (munmap(e->ptr + (from - e->gpa), len))
		return -ENOMEM;
	if (from > e->gpa) {
		e->last = from - 1;
	} else if (to < e->last) {
		e->gpa = to + 1;
		e->ptr += len;
	} else {
		entry_remove(c, e);
	}
	return 0;
}

/* The one with the lowest GPA of those that are in the range. */
static struct mapped *entry_first(const struct viommu_share_client *c,
				  const struct viommu_share_range *r)
{
	struct viommu_share_range left = *r;
	struct mapped *e = NULL, *next;

	while (left.len && (next = entry_find(c, &left))) {
		e = next;
		left.len = e->gpa > r->gpa ? e->gpa - r->gpa : 0;
	}
	return e;
}

/* Let go of the range, but for maps newer than @seq. */
static int range_drop(struct viommu_share_client *c,
		      const struct viommu_share_range *r, uint64_t seq)
{
	const uint64_t last = r->gpa + (r->len - 1);
	struct viommu_share_range rest = *r;
	struct mapped *e;
	int rc = 0;

	while (!rc && rest.len && (e = entry_first(c, &rest))) {
		uint64_t from = e->gpa > r->gpa ? e->gpa : r->gpa;
		uint64_t to = e->last < last ? e->last : last;

		if (e->seq <= seq)
			rc = entry_cut(c, e, from, to);
		rest.gpa = to + 1;
		rest.len = last - to;
	}
	return rc;
}

static int all_drop(struct viommu_share_client *c, uint64_t seq)
{
	struct mapped *e, *next;
	int rc = 0;

	for (e = c->entries; !rc && e; e = next) {
		next = e->next;
		if (e->seq <= seq)
			rc = entry_cut(c, e, e->gpa, e->last);
	}
	return rc;
}

/* -------------------------------------------------------------- messages */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int broke(struct viommu_share_client *c, int rc)
{
	if (!c->broken)
		c->broken = rc;
	return c->broken;
}

static int await(struct viommu_share_client *c, short events, uint64_t until)
{
	struct pollfd p = { .fd = c->fd, .events = events };
	uint64_t now;
	int n;

	do {
		struct timespec left;

		now = now_ns();
		if (now >= until)
			return -ETIMEDOUT;
		left.tv_sec = (time_t)((until - now) / 1000000000u);
		left.tv_nsec = (long)((until - now) % 1000000000u);
		n = ppoll(&p, 1, &left, NULL);
	} while (!n || (n < 0 && errno == EINTR));
	return n < 0 ? -errno : 0;
}

static uint64_t patience(const struct viommu_share_client *c)
{
	uint64_t now = now_ns();

	return c->cfg.timeout_ns > INT64_MAX - now ? INT64_MAX
						   : now + c->cfg.timeout_ns;
}

static int send_all(struct viommu_share_client *c, const struct vs_share_msg *m)
{
	const uint64_t until = patience(c);
	size_t done = 0;

	while (done < sizeof(*m)) {
		ssize_t n = send(c->fd, (const char *)m + done,
				 sizeof(*m) - done, MSG_NOSIGNAL);
		int rc = 0;

		if (n > 0)
			done += (size_t)n;
		else if (errno == EAGAIN)
			rc = await(c, POLLOUT, until);
		else if (errno != EINTR)
			rc = -ECONNRESET;
		if (rc)
			return broke(c, rc);
	}
	return 0;
}

static void in_fd_close(struct viommu_share_client *c)
{
	if (c->in_fd >= 0)
		close(c->in_fd);
	c->in_fd = -1;
}

/* 1: one is whole; 0: not yet; or -errno. */
static int recv_some(struct viommu_share_client *c)
{
	unsigned n = c->in_fd >= 0;
	int error = 0;
	const struct vs_fds to = {
		.fd = &c->in_fd, .n = &n, .max = 1, .error = &error
	};
	ssize_t got;

	got = vs_fds_recv(c->fd, (char *)&c->in + c->got,
			  sizeof(c->in) - c->got, &to);
	if (got == -EAGAIN)
		return 0;
	if (got < 0)
		return -ECONNRESET;
	c->got += (size_t)got;
	if (error)
		return error == E2BIG ? -EPROTO : -EMFILE;
	if (c->got < sizeof(c->in))
		return 0;
	c->got = 0;
	return c->in_fd >= 0 && c->in.kind != VS_SHARE_PIECE ? -EPROTO : 1;
}

/* --------------------------------------------------------- invalidations */

static int let_go(struct viommu_share_client *c,
		  const struct viommu_share_gone *gone, uint64_t seq)
{
	const struct vs_share_msg m = { .kind = VS_SHARE_INVALIDATED,
					.id = gone->id };
	int rc =
		gone->all ? all_drop(c, seq) : range_drop(c, &gone->range, seq);

	if (rc)
		return broke(c, rc);
	if (c->cfg.after && !c->closing)
		c->cfg.after(c->cfg.arg, gone);
	return send_all(c, &m);
}

static int invalidate(struct viommu_share_client *c)
{
	const struct vs_share_msg *m = &c->in;
	struct viommu_share_gone gone = {
		.id = m->id,
		.all = m->kind == VS_SHARE_INVALIDATE_ALL,
		.range = { .owner = m->owner, .gpa = m->gpa, .len = m->len },
	};
	struct later *l;

	if (!gone.all && (!m->len || m->gpa + (m->len - 1) < m->gpa))
		return broke(c, -EPROTO);
	if (c->closing || !c->cfg.before ||
	    c->cfg.before(c->cfg.arg, &gone) != VIOMMU_SHARE_LATER)
		return let_go(c, &gone, c->seq);
	l = calloc(1, sizeof(*l));
	if (!l)
		return broke(c, -ENOMEM);
	l->gone = gone;
	l->seq = c->seq;
	l->next = c->later;
	c->later = l;
	return 0;
}

/* --------------------------------------------------------------- requests */

/* What comes with the answer to a MAP. */
struct pieces {
	char *at;
	uint64_t gpa, left;
	uint32_t prot;
	int rc; /* 0 or -errno: they are of no use */
};

static int prot_of(uint32_t prot)
{
	return (prot & VIOMMU_READ ? PROT_READ : 0) |
	       (prot & VIOMMU_WRITE ? PROT_WRITE : 0);
}

static int piece(struct viommu_share_client *c, struct pieces *p)
{
	const struct vs_share_msg *m = &c->in;
	void *at;

	if (!p || c->in_fd < 0 || m->gpa != p->gpa || !m->len ||
	    m->len > p->left)
		return broke(c, -EPROTO);
	at = mmap(p->at, m->len, prot_of(p->prot), MAP_SHARED | MAP_FIXED,
		  c->in_fd, (off_t)m->offset);
	if (at == MAP_FAILED && !p->rc)
		p->rc = -errno;
	in_fd_close(c);
	p->at += m->len;
	p->gpa += m->len;
	p->left -= m->len;
	return 0;
}

static bool is_invalidation(const struct vs_share_msg *m)
{
	return m->kind == VS_SHARE_INVALIDATE ||
	       m->kind == VS_SHARE_INVALIDATE_ALL;
}

/* Ask, and wait until it is done.  0, what the server answered, or the
 * connection is over. */
static int request(struct viommu_share_client *c, struct vs_share_msg *m,
		   struct pieces *p)
{
	uint64_t until;
	int rc;

	m->id = ++c->last_id;
	rc = send_all(c, m);
	until = patience(c);
	while (!rc) {
		rc = recv_some(c);
		if (!rc) {
			rc = await(c, POLLIN, until);
			if (rc)
				return broke(c, rc);
			continue;
		}
		if (rc < 0)
			return broke(c, rc);
		if (is_invalidation(&c->in))
			rc = invalidate(c);
		else if (c->in.id != m->id || c->in.error > 4095)
			rc = broke(c, -EPROTO);
		else if (c->in.kind == VS_SHARE_PIECE)
			rc = piece(c, p);
		else if (c->in.kind == VS_SHARE_DONE)
			return -(int)c->in.error;
		else
			rc = broke(c, -EPROTO);
	}
	return rc;
}

/* ------------------------------------------------------------ connection */

static int address(struct sockaddr_un *sa, const char *path)
{
	if (strlen(path) >= sizeof(sa->sun_path))
		return -ENAMETOOLONG;
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	strcpy(sa->sun_path, path);
	return 0;
}

/* A server that has not accepted others yet may take its time. */
static int reach(struct viommu_share_client *c)
{
	const struct timeval tv = {
		.tv_sec = (time_t)(c->cfg.timeout_ns / 1000000000u),
		.tv_usec = (long)(c->cfg.timeout_ns % 1000000000u / 1000) + 1,
	};
	struct sockaddr_un sa;
	int rc = address(&sa, c->cfg.path);

	if (rc)
		return rc;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return errno == ENFILE ? -EMFILE : -errno;
	(void)setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)))
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return fcntl(c->fd, F_SETFL, O_NONBLOCK) ? -errno : 0;
}

static int hello(struct viommu_share_client *c)
{
	struct vs_share_msg m = { .kind = VS_SHARE_HELLO,
				  .value = VS_SHARE_VERSION };
	int rc;

	if (!(c->cfg.flags & VIOMMU_SHARE_ALL_ONLY))
		m.flags |= VS_SHARE_TARGETED;
	if (c->cfg.flags & VIOMMU_SHARE_NOTHING_HELD)
		m.flags |= VS_SHARE_FRESH;
	rc = request(c, &m, NULL);
	if (rc)
		return c->broken ? rc : -EPROTO;
	c->page_size = c->in.len;
	/* a power of two, or it is nonsense */
	if (c->in.value != VS_SHARE_VERSION || !c->page_size ||
	    (c->page_size & (c->page_size - 1)))
		return -EPROTO;
	return 0;
}

static void client_free(struct viommu_share_client *c)
{
	while (c->later) {
		struct later *l = c->later;

		c->later = l->next;
		free(l);
	}
	in_fd_close(c);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

int viommu_share_connect(const struct viommu_share_client_config *cfg,
			 struct viommu_share_client **out)
{
	const uint32_t known =
		VIOMMU_SHARE_ALL_ONLY | VIOMMU_SHARE_NOTHING_HELD;
	struct viommu_share_client *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	c->fd = c->in_fd = -1;
	rc = vs_opts_copy(&c->cfg, sizeof(c->cfg), cfg, cfg->size);
	if (!rc && (!cfg->path || cfg->reserved || (cfg->flags & ~known)))
		rc = -EINVAL;
	if (!c->cfg.timeout_ns)
		c->cfg.timeout_ns = TIMEOUT_NS;
	if (!rc)
		rc = reach(c);
	if (!rc)
		rc = hello(c);
	if (rc) {
		client_free(c);
		return rc;
	}
	c->cfg.path = NULL;
	*out = c;
	return 0;
}

/* Unmap all of one owner's, and say so at once: all between its first and its
 * last page. */
static int owner_drop(struct viommu_share_client *c, uint64_t owner)
{
	struct vs_share_msg m = { .kind = VS_SHARE_UNMAP, .owner = owner };
	uint64_t first = UINT64_MAX, last = 0;
	struct mapped *e, *next;

	for (e = c->entries; e; e = next) {
		next = e->next;
		if (e->owner != owner)
			continue;
		first = e->gpa < first ? e->gpa : first;
		last = e->last > last ? e->last : last;
		if (munmap(e->ptr, e->last - e->gpa + 1))
			(void)broke(c, -ENOMEM);
		entry_remove(c, e);
	}
	m.gpa = first;
	m.len = last - first + 1;
	return c->broken ? c->broken : request(c, &m, NULL);
}

void viommu_share_close(struct viommu_share_client *c)
{
	if (!c)
		return;
	c->closing = true;
	while (c->later)
		if (viommu_share_let_go(c, c->later->gone.id))
			break;
	while (c->entries)
		(void)owner_drop(c, c->entries->owner);
	client_free(c);
}

int viommu_share_fd(const struct viommu_share_client *c)
{
	return c->fd;
}

/* ------------------------------------------------------------ map, unmap */

static int range_check(const struct viommu_share_client *c,
		       const struct viommu_share_range *r)
{
	const uint64_t mask = c->page_size - 1;

	if (!r->len || (r->gpa & mask) || (r->len & mask) ||
	    r->gpa + (r->len - 1) < r->gpa)
		return -EINVAL;
	return 0;
}

static struct vs_share_msg message_of(const struct mapped *e, uint32_t kind)
{
	return (struct vs_share_msg){ .kind = kind,
				      .owner = e->owner,
				      .gpa = e->gpa,
				      .len = e->last - e->gpa + 1 };
}

/* The pages are there, in the place of what is reserved for them; some of them
 * may be if not. */
static int pages_put_there(struct viommu_share_client *c,
			   const struct mapped *e, const struct pieces *p)
{
	if (p->left)
		return broke(c, -EPROTO);
	if (p->rc)
		return p->rc;
	return madvise(e->ptr, e->last - e->gpa + 1, MADV_DONTFORK) ? -errno
								    : 0;
}

static int entry_map(struct viommu_share_client *c, struct mapped *e)
{
	struct vs_share_msg m = message_of(e, VS_SHARE_MAP);
	struct pieces p = {
		.at = e->ptr, .gpa = e->gpa, .left = m.len, .prot = e->prot
	};
	int asked, rc;

	m.prot = e->prot;
	rc = asked = request(c, &m, &p);
	if (!rc)
		rc = pages_put_there(c, e, &p);
	/* what took pages until now came before the answer */
	e->seq = ++c->seq;
	if (!rc)
		rc = entry_add(c, e);
	if (!rc)
		return 0;
	/* all of it: nothing is cut */
	munmap(e->ptr, e->last - e->gpa + 1);
	m = message_of(e, VS_SHARE_UNMAP);
	m.flags = VS_SHARE_CLEAN;
	if (!asked && !c->broken)
		(void)request(c, &m, NULL);
	return rc;
}

static int entry_make(struct viommu_share_client *c, const struct mapped *want,
		      void **out)
{
	struct mapped *e = calloc(1, sizeof(*e));
	int rc = -ENOMEM;

	if (!e)
		return -ENOMEM;
	*e = *want;
	e->ptr = mmap(NULL, e->last - e->gpa + 1, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (e->ptr != MAP_FAILED)
		rc = entry_map(c, e);
	if (rc)
		free(e);
	else
		*out = e->ptr;
	return rc;
}

int viommu_share_map(struct viommu_share_client *c,
		     const struct viommu_share_range *r, uint32_t prot,
		     void **out)
{
	const struct mapped want = { .owner = r->owner,
				     .gpa = r->gpa,
				     .last = r->gpa + (r->len - 1),
				     .prot = prot };

	if (c->broken)
		return c->broken;
	if (range_check(c, r) || !prot ||
	    (prot & ~(uint32_t)(VIOMMU_READ | VIOMMU_WRITE)))
		return -EINVAL;
	if (entry_find(c, r))
		return -EEXIST;
	return entry_make(c, &want, out);
}

int viommu_share_unmap(struct viommu_share_client *c,
		       const struct viommu_share_range *r, bool written)
{
	struct vs_share_msg m = { .kind = VS_SHARE_UNMAP,
				  .flags = written ? 0 : VS_SHARE_CLEAN,
				  .owner = r->owner,
				  .gpa = r->gpa,
				  .len = r->len };
	int rc = range_check(c, r);

	if (!rc)
		rc = range_drop(c, r, c->seq);
	if (rc)
		return rc;
	if (c->broken)
		return c->broken;
	rc = request(c, &m, NULL);
	/* its own memory, not ours */
	return rc == -ENOMEM && !c->broken ? -ENOSPC : rc;
}

int viommu_share_dispatch(struct viommu_share_client *c)
{
	while (!c->broken) {
		int rc = recv_some(c);

		if (!rc)
			return 0;
		if (rc < 0)
			return broke(c, rc);
		if (!is_invalidation(&c->in))
			return broke(c, -EPROTO);
		(void)invalidate(c);
	}
	return c->broken;
}

int viommu_share_let_go(struct viommu_share_client *c, uint64_t id)
{
	struct later **at = &c->later, *l;
	struct viommu_share_gone gone;
	uint64_t seq;

	if (c->broken)
		return c->broken;
	while (*at && (*at)->gone.id != id)
		at = &(*at)->next;
	l = *at;
	if (!l)
		return -ENOENT;
	*at = l->next;
	gone = l->gone;
	seq = l->seq;
	free(l);
	return let_go(c, &gone, seq);
}
