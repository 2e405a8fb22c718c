/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_PCI_IRQ_H
#define VS_PCI_IRQ_H

/*
 * A function's interrupts, by VFIO's indexes (linux/vfio.h): which vectors
 * there are, the client's eventfds, what is masked, pending or asserted.
 *
 * Any thread may call any of it: one lock guards everything and is held while
 * an eventfd is written, so that none is written after it was closed.
 */

#include <linux/vfio.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	VS_IRQS = VFIO_PCI_NUM_IRQS,
	VS_IRQ_MSIX_MAX = 64,
	VS_IRQ_VECTORS = VFIO_PCI_NUM_IRQS - 1 + VS_IRQ_MSIX_MAX,
};

struct vs_vector {
	int fd; /* of the client; -1: none */
	bool masked;
	bool pending; /* wanted while masked or without an eventfd */
};

struct vs_irqs {
	pthread_mutex_t lock;
	unsigned count[VS_IRQS];
	unsigned nfds[VS_IRQS];
	bool on[VS_IRQS]; /* enabled in config space; INTx: not disabled */
	bool asserted;	  /* INTx: the device's reason for it */
	uint64_t written; /* eventfds */
	struct vs_vector vectors[VS_IRQ_VECTORS];
};

void vs_irqs_init(struct vs_irqs *q);
void vs_irqs_fini(struct vs_irqs *q);

/* Offer @count vectors of @index. */
void vs_irqs_offer(struct vs_irqs *q, unsigned index, unsigned count);
unsigned vs_irqs_count(struct vs_irqs *q, unsigned index);

/* The device wants an interrupt: MSI-X @vector, else MSI, else INTx. */
void vs_irqs_raise(struct vs_irqs *q, unsigned vector);

/* INTx: the reason is gone; is there one? */
void vs_irqs_lower(struct vs_irqs *q);
bool vs_irqs_asserted(struct vs_irqs *q);

/* The config space enables or disables @index. */
void vs_irqs_enable(struct vs_irqs *q, unsigned index, bool on);

/* MSI-X vectors that are pending, one bit each. */
uint64_t vs_irqs_pending(struct vs_irqs *q);

/* The function was reset: nothing is pending or asserted or enabled.  The
 * client's eventfds stay. */
void vs_irqs_reset(struct vs_irqs *q);

/* Whether @fd is an eventfd, and thus nothing that raises SIGPIPE.  Makes it
 * non-blocking. */
bool vs_irq_usable(int fd);

/* Give vector @n an eventfd, taken over, or none (-1). */
void vs_irq_set(struct vs_irqs *q, unsigned index, unsigned n, int fd);

/* Unmasking fires what is pending or still asserted. */
void vs_irq_mask(struct vs_irqs *q, unsigned index, unsigned n, bool masked);

/* The client fires it by hand. */
void vs_irq_fire(struct vs_irqs *q, unsigned index, unsigned n);

/* Take all eventfds of @index away, and what the client had masked. */
void vs_irqs_clear(struct vs_irqs *q, unsigned index);

/* Eventfds written so far. */
uint64_t vs_irqs_written(struct vs_irqs *q);

#endif
