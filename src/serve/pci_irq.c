/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Interrupts of a PCI function, see pci_irq.h.
 *
 * An interrupt that finds its vector masked, or without an eventfd, is kept as
 * pending and fires later.  A reset forgets it.
 *
 * INTx is a level shown through edges (VFIO's AUTOMASKED): once its eventfd
 * was written it counts as masked until the client unmasks it, and is written
 * again then if the level is still up.
 *
 * The eventfd is shared with the peer, who could make it blocking again and
 * fill it up.  It is looked at before each write; what is left is a window of
 * one system call, in which a hostile peer can stall one write until it reads.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serve/pci_irq.h"

/* Where the vectors of each index start; MSI-X, the long one, comes last. */
static const unsigned vectors_at[VS_IRQS] = {
	[VFIO_PCI_INTX_IRQ_INDEX] = 0, [VFIO_PCI_MSI_IRQ_INDEX] = 1,
	[VFIO_PCI_ERR_IRQ_INDEX] = 2,  [VFIO_PCI_REQ_IRQ_INDEX] = 3,
	[VFIO_PCI_MSIX_IRQ_INDEX] = 4,
};

static struct vs_vector *vector_of(struct vs_irqs *q, unsigned index,
				   unsigned n)
{
	return &q->vectors[vectors_at[index] + n];
}

void vs_irqs_init(struct vs_irqs *q)
{
	memset(q, 0, sizeof(*q));
	pthread_mutex_init(&q->lock, NULL);
	for (unsigned i = 0; i < VS_IRQ_VECTORS; i++)
		q->vectors[i].fd = -1;
	q->on[VFIO_PCI_INTX_IRQ_INDEX] = true;
}

void vs_irqs_fini(struct vs_irqs *q)
{
	for (unsigned i = 0; i < VS_IRQS; i++)
		vs_irqs_clear(q, i);
	pthread_mutex_destroy(&q->lock);
}

void vs_irqs_offer(struct vs_irqs *q, unsigned index, unsigned count)
{
	pthread_mutex_lock(&q->lock);
	q->count[index] = count;
	pthread_mutex_unlock(&q->lock);
}

unsigned vs_irqs_count(struct vs_irqs *q, unsigned index)
{
	unsigned count;

	pthread_mutex_lock(&q->lock);
	count = q->count[index];
	pthread_mutex_unlock(&q->lock);
	return count;
}

/* -------------------------------------------------------------- firing */

static void eventfd_signal(struct vs_irqs *q, int fd)
{
	int flags = fcntl(fd, F_GETFL);
	uint64_t one = 1;

	if (flags < 0)
		return;
	if (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK))
		return;
	/* -EAGAIN: the counter is full, and nobody has read it */
	if (write(fd, &one, sizeof(one)) == (ssize_t)sizeof(one))
		q->written++;
}

/* An edge: MSI, MSI-X. */
static void vector_fire(struct vs_irqs *q, struct vs_vector *v)
{
	v->pending = v->masked || v->fd < 0;
	if (!v->pending)
		eventfd_signal(q, v->fd);
}

/* The level: INTx. */
static void intx_update(struct vs_irqs *q)
{
	struct vs_vector *v = vector_of(q, VFIO_PCI_INTX_IRQ_INDEX, 0);

	if (!q->asserted || !q->on[VFIO_PCI_INTX_IRQ_INDEX])
		return;
	if (v->masked || v->fd < 0)
		return;
	v->masked = true;
	eventfd_signal(q, v->fd);
}

/* What a vector may do now that something about it has changed. */
static void vector_update(struct vs_irqs *q, unsigned index,
			  struct vs_vector *v)
{
	if (index == VFIO_PCI_INTX_IRQ_INDEX)
		intx_update(q);
	else if (v->pending)
		vector_fire(q, v);
}

/* Clients show what they use by eventfds; drivers by the enable bit. */
static bool index_in_use(const struct vs_irqs *q, unsigned index)
{
	return q->count[index] && (q->on[index] || q->nfds[index]);
}

void vs_irqs_raise(struct vs_irqs *q, unsigned vector)
{
	pthread_mutex_lock(&q->lock);
	if (index_in_use(q, VFIO_PCI_MSIX_IRQ_INDEX)) {
		unsigned index = VFIO_PCI_MSIX_IRQ_INDEX;

		if (vector < q->count[index])
			vector_fire(q, vector_of(q, index, vector));
	} else if (index_in_use(q, VFIO_PCI_MSI_IRQ_INDEX)) {
		vector_fire(q, vector_of(q, VFIO_PCI_MSI_IRQ_INDEX, 0));
	} else if (q->count[VFIO_PCI_INTX_IRQ_INDEX]) {
		q->asserted = true;
		intx_update(q);
	}
	pthread_mutex_unlock(&q->lock);
}

void vs_irqs_lower(struct vs_irqs *q)
{
	pthread_mutex_lock(&q->lock);
	q->asserted = false;
	pthread_mutex_unlock(&q->lock);
}

bool vs_irqs_asserted(struct vs_irqs *q)
{
	bool asserted;

	pthread_mutex_lock(&q->lock);
	asserted = q->asserted;
	pthread_mutex_unlock(&q->lock);
	return asserted;
}

void vs_irqs_enable(struct vs_irqs *q, unsigned index, bool on)
{
	pthread_mutex_lock(&q->lock);
	q->on[index] = on;
	if (index == VFIO_PCI_INTX_IRQ_INDEX)
		intx_update(q);
	pthread_mutex_unlock(&q->lock);
}

uint64_t vs_irqs_pending(struct vs_irqs *q)
{
	uint64_t bits = 0;

	pthread_mutex_lock(&q->lock);
	for (unsigned i = 0; i < VS_IRQ_MSIX_MAX; i++)
		if (vector_of(q, VFIO_PCI_MSIX_IRQ_INDEX, i)->pending)
			bits |= UINT64_C(1) << i;
	pthread_mutex_unlock(&q->lock);
	return bits;
}

void vs_irqs_reset(struct vs_irqs *q)
{
	pthread_mutex_lock(&q->lock);
	for (unsigned i = 0; i < VS_IRQ_VECTORS; i++)
		q->vectors[i].pending = false;
	q->asserted = false;
	q->on[VFIO_PCI_INTX_IRQ_INDEX] = true;
	q->on[VFIO_PCI_MSI_IRQ_INDEX] = false;
	q->on[VFIO_PCI_MSIX_IRQ_INDEX] = false;
	pthread_mutex_unlock(&q->lock);
}

/* ------------------------------------------------------- client's side */

bool vs_irq_usable(int fd)
{
	static const char name[] = "anon_inode:[eventfd]";
	char path[32], link[sizeof(name)];
	struct stat st;
	ssize_t n;
	int flags;

	/* pipes, sockets, files and devices have a type */
	if (fstat(fd, &st) || (st.st_mode & S_IFMT))
		return false;
	/* other nameless things; without a /proc we do not know */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link));
	if (n >= 0 && ((size_t)n != sizeof(name) - 1 ||
		       memcmp(link, name, sizeof(name) - 1) != 0))
		return false;
	flags = fcntl(fd, F_GETFL);
	return flags >= 0 && (flags & O_ACCMODE) == O_RDWR &&
	       !fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void vector_set_fd(struct vs_irqs *q, unsigned index,
			  struct vs_vector *v, int fd)
{
	if (v->fd >= 0) {
		close(v->fd);
		q->nfds[index]--;
	}
	if (fd >= 0)
		q->nfds[index]++;
	v->fd = fd;
}

void vs_irq_set(struct vs_irqs *q, unsigned index, unsigned n, int fd)
{
	struct vs_vector *v = vector_of(q, index, n);

	pthread_mutex_lock(&q->lock);
	vector_set_fd(q, index, v, fd);
	/* a client that gives INTx an eventfd has not seen it fire */
	if (index == VFIO_PCI_INTX_IRQ_INDEX)
		v->masked = false;
	vector_update(q, index, v);
	pthread_mutex_unlock(&q->lock);
}

void vs_irq_mask(struct vs_irqs *q, unsigned index, unsigned n, bool masked)
{
	struct vs_vector *v = vector_of(q, index, n);

	pthread_mutex_lock(&q->lock);
	v->masked = masked;
	if (!masked)
		vector_update(q, index, v);
	pthread_mutex_unlock(&q->lock);
}

void vs_irq_fire(struct vs_irqs *q, unsigned index, unsigned n)
{
	struct vs_vector *v = vector_of(q, index, n);

	pthread_mutex_lock(&q->lock);
	if (index != VFIO_PCI_INTX_IRQ_INDEX) {
		vector_fire(q, v);
	} else if (!v->masked && v->fd >= 0) {
		v->masked = true;
		eventfd_signal(q, v->fd);
	}
	pthread_mutex_unlock(&q->lock);
}

void vs_irqs_clear(struct vs_irqs *q, unsigned index)
{
	unsigned n = index == VFIO_PCI_MSIX_IRQ_INDEX ? VS_IRQ_MSIX_MAX : 1;

	pthread_mutex_lock(&q->lock);
	for (unsigned i = 0; i < n; i++) {
		struct vs_vector *v = vector_of(q, index, i);

		vector_set_fd(q, index, v, -1);
		v->masked = false;
	}
	pthread_mutex_unlock(&q->lock);
}

uint64_t vs_irqs_written(struct vs_irqs *q)
{
	uint64_t n;

	pthread_mutex_lock(&q->lock);
	n = q->written;
	pthread_mutex_unlock(&q->lock);
	return n;
}
