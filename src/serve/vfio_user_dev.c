/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The commands about the function itself: what regions and interrupts it has,
 * accesses to its registers, eventfds.  Each is checked in full before any of
 * it is carried out.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "serve/vfio_user_impl.h"

static void reply_put(struct vs_reply *r, const void *body, size_t len)
{
	memcpy(r->body + r->len, body, len);
	r->len += len;
}

int vs_get_info(struct viommu_vfio_user *s, const struct vs_msg *m,
		struct vs_reply *r)
{
	struct vu_info info;

	(void)s;
	memcpy(&info, m->body, sizeof(info));
	if (info.argsz < sizeof(info))
		return -EINVAL;
	info = (struct vu_info){
		.argsz = sizeof(info),
		.flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI,
		.regions = VFIO_PCI_NUM_REGIONS,
		.irqs = VFIO_PCI_NUM_IRQS,
	};
	reply_put(r, &info, sizeof(info));
	return 0;
}

int vs_get_region_info(struct viommu_vfio_user *s, const struct vs_msg *m,
		       struct vs_reply *r)
{
	struct vu_region_info info;
	uint64_t len;

	memcpy(&info, m->body, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	len = vs_pci_region_len(s->pci, info.index);
	info = (struct vu_region_info){
		.argsz = sizeof(info),
		.flags = len ? VFIO_REGION_INFO_FLAG_READ |
					 VFIO_REGION_INFO_FLAG_WRITE
			     : 0,
		.index = info.index,
		.len = len,
	};
	reply_put(r, &info, sizeof(info));
	return 0;
}

/* No region has parts that a file descriptor would reach. */
int vs_get_region_io_fds(struct viommu_vfio_user *s, const struct vs_msg *m,
			 struct vs_reply *r)
{
	struct vu_region_io_fds info;

	(void)s;
	memcpy(&info, m->body, sizeof(info));
	if (info.argsz < sizeof(info) || info.flags ||
	    info.index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	info.argsz = sizeof(info);
	info.count = 0;
	reply_put(r, &info, sizeof(info));
	return 0;
}

int vs_get_irq_info(struct viommu_vfio_user *s, const struct vs_msg *m,
		    struct vs_reply *r)
{
	struct vu_irq_info info;

	memcpy(&info, m->body, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	info.argsz = sizeof(info);
	info.flags = VFIO_IRQ_INFO_EVENTFD;
	if (info.index == VFIO_PCI_INTX_IRQ_INDEX)
		info.flags |= VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
	info.count = vs_irqs_count(vs_pci_irqs(s->pci), info.index);
	reply_put(r, &info, sizeof(info));
	return 0;
}

/* ---------------------------------------------------------------- regions */

static int access_decode(struct viommu_vfio_user *s, const struct vs_msg *m,
			 struct vu_region_access *a)
{
	memcpy(a, m->body, sizeof(*a));
	if (a->count > VU_MAX_XFER)
		return -EINVAL;
	return vs_pci_inside(s->pci, a->region, a->offset, a->count) ? 0
								     : -EINVAL;
}

int vs_region_read(struct viommu_vfio_user *s, const struct vs_msg *m,
		   struct vs_reply *r)
{
	struct vu_region_access a;
	int rc = access_decode(s, m, &a);

	if (rc)
		return rc;
	vs_count(s, VS_STAT_READS);
	reply_put(r, &a, sizeof(a));
	vs_pci_read(s->pci, a.region, a.offset, r->body + r->len, a.count);
	r->len += a.count;
	return 0;
}

int vs_region_write(struct viommu_vfio_user *s, const struct vs_msg *m,
		    struct vs_reply *r)
{
	struct vu_region_access a;
	int rc = access_decode(s, m, &a);

	if (!rc && a.count > m->len - sizeof(a))
		rc = -EINVAL;
	if (rc)
		return rc;
	vs_count(s, VS_STAT_WRITES);
	vs_pci_write(s->pci, a.region, a.offset, m->body + sizeof(a), a.count);
	reply_put(r, &a, sizeof(a));
	return 0;
}

static void write_one_at(const struct vs_msg *m, uint64_t i,
			 struct vu_write_one *one)
{
	memcpy(one, m->body + sizeof(struct vu_write_multi) + i * sizeof(*one),
	       sizeof(*one));
}

int vs_region_write_multi(struct viommu_vfio_user *s, const struct vs_msg *m,
			  struct vs_reply *r)
{
	struct vu_write_multi multi;
	struct vu_write_one one;

	memcpy(&multi, m->body, sizeof(multi));
	if (multi.count > VU_MAX_MULTI ||
	    multi.count * sizeof(one) > m->len - sizeof(multi))
		return -EINVAL;
	for (uint64_t i = 0; i < multi.count; i++) {
		write_one_at(m, i, &one);
		if (one.count > sizeof(one.data) ||
		    !vs_pci_inside(s->pci, one.region, one.offset, one.count))
			return -EINVAL;
	}
	for (uint64_t i = 0; i < multi.count; i++) {
		write_one_at(m, i, &one);
		vs_count(s, VS_STAT_WRITES);
		vs_pci_write(s->pci, one.region, one.offset, one.data,
			     one.count);
	}
	reply_put(r, &multi, sizeof(multi));
	return 0;
}

/* ------------------------------------------------------------- interrupts */

static void intx_fd_drop(struct vs_intx_fd *x)
{
	if (x->fd < 0)
		return;
	viommu_loop_remove(x->server->loop, x->fd);
	close(x->fd);
	x->fd = -1;
}

static void intx_fd_event(void *arg, uint32_t events)
{
	struct vs_intx_fd *x = arg;
	uint64_t count;
	struct iovec iov = { .iov_base = &count, .iov_len = sizeof(count) };
	ssize_t n;

	(void)events;
	/* the peer shares it, and may make it blocking at any moment */
	n = vs_irq_usable(x->fd) ? preadv2(x->fd, &iov, 1, -1, RWF_NOWAIT) : 0;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == (ssize_t)sizeof(count))
		vs_irq_mask(vs_pci_irqs(x->server->pci),
			    VFIO_PCI_INTX_IRQ_INDEX, 0, x->masks);
	else
		intx_fd_drop(x);
}

/* Let an eventfd mask or unmask INTx; -1: let none.  Takes it over. */
static int intx_fd_set(struct viommu_vfio_user *s, bool masks, int *fd)
{
	struct vs_intx_fd *x = &s->intx[masks];

	intx_fd_drop(x);
	if (!fd)
		return 0;
	x->server = s;
	x->masks = masks;
	if (viommu_loop_add(s->loop, *fd, EPOLLIN, intx_fd_event, x))
		return -ENOMEM;
	x->fd = *fd;
	*fd = -1;
	return 0;
}

void vs_irqs_drop(struct viommu_vfio_user *s)
{
	for (unsigned i = 0; i < VS_IRQS; i++)
		vs_irqs_clear(vs_pci_irqs(s->pci), i);
	intx_fd_drop(&s->intx[0]);
	intx_fd_drop(&s->intx[1]);
}

static bool one_bit(uint32_t bits)
{
	return bits && !(bits & (bits - 1));
}

/* 0 or -errno. */
static int set_irqs_check(struct viommu_vfio_user *s, const struct vs_msg *m,
			  const struct vu_set_irqs *q)
{
	uint32_t data = q->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	uint32_t action = q->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	unsigned vectors;

	if (q->argsz < sizeof(*q) || q->index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	if ((q->flags & ~(data | action)) || !one_bit(data) || !one_bit(action))
		return -EINVAL;
	vectors = vs_irqs_count(vs_pci_irqs(s->pci), q->index);
	if (q->start > vectors || q->count > vectors - q->start)
		return -EINVAL;
	/* nothing to do, but for the one that disables the index */
	if (!q->count && (data != VFIO_IRQ_SET_DATA_NONE ||
			  action != VFIO_IRQ_SET_ACTION_TRIGGER || q->start))
		return -EINVAL;
	if (data == VFIO_IRQ_SET_DATA_BOOL && q->count > m->len - sizeof(*q))
		return -EINVAL;
	if (data != VFIO_IRQ_SET_DATA_EVENTFD)
		return m->nfds ? -EINVAL : 0;
	if (m->nfds && m->nfds != q->count)
		return -EINVAL;
	if (action != VFIO_IRQ_SET_ACTION_TRIGGER &&
	    q->index != VFIO_PCI_INTX_IRQ_INDEX)
		return -EOPNOTSUPP;
	for (unsigned i = 0; i < m->nfds; i++)
		if (!vs_irq_usable(m->fds[i]))
			return -EINVAL;
	return 0;
}

static int set_eventfds(struct viommu_vfio_user *s, const struct vs_msg *m,
			const struct vu_set_irqs *q, uint32_t action)
{
	struct vs_irqs *irqs = vs_pci_irqs(s->pci);

	if (action != VFIO_IRQ_SET_ACTION_TRIGGER)
		return intx_fd_set(s, action == VFIO_IRQ_SET_ACTION_MASK,
				   m->nfds ? &m->fds[0] : NULL);
	for (unsigned i = 0; i < q->count; i++) {
		vs_irq_set(irqs, q->index, q->start + i,
			   m->nfds ? m->fds[i] : -1);
		if (m->nfds)
			m->fds[i] = -1;
	}
	return 0;
}

static void act(struct vs_irqs *irqs, const struct vu_set_irqs *q, unsigned n,
		uint32_t action)
{
	switch (action) {
	case VFIO_IRQ_SET_ACTION_MASK:
		vs_irq_mask(irqs, q->index, n, true);
		break;
	case VFIO_IRQ_SET_ACTION_UNMASK:
		vs_irq_mask(irqs, q->index, n, false);
		break;
	default:
		vs_irq_fire(irqs, q->index, n);
		break;
	}
}

int vs_set_irqs(struct viommu_vfio_user *s, const struct vs_msg *m,
		struct vs_reply *r)
{
	struct vs_irqs *irqs = vs_pci_irqs(s->pci);
	struct vu_set_irqs q;
	uint32_t action;
	int rc;

	(void)r;
	memcpy(&q, m->body, sizeof(q));
	rc = set_irqs_check(s, m, &q);
	if (rc)
		return rc;
	action = q.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	if (q.flags & VFIO_IRQ_SET_DATA_EVENTFD)
		return set_eventfds(s, m, &q, action);
	if (!q.count) {
		vs_irqs_clear(irqs, q.index);
		if (q.index == VFIO_PCI_INTX_IRQ_INDEX) {
			intx_fd_drop(&s->intx[0]);
			intx_fd_drop(&s->intx[1]);
		}
		return 0;
	}
	for (unsigned i = 0; i < q.count; i++)
		if ((q.flags & VFIO_IRQ_SET_DATA_NONE) ||
		    m->body[sizeof(q) + i])
			act(irqs, &q, q.start + i, action);
	return 0;
}
