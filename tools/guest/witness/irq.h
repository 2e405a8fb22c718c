/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WITNESS_IRQ_H
#define WITNESS_IRQ_H

/* Interrupts: one control each of the kinds in @list, "msix,msi,intx". */
void run_interrupts(const char *list);

/* Says how many vectors of each kind there are. */
void irq_info(void);

#endif
