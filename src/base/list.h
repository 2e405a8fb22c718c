/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_BASE_LIST_H
#define VI_BASE_LIST_H

/*
 * A ring of nodes inside other structures.  An empty list, and a node in no
 * list, points to itself.
 */

#include <stdbool.h>
#include <stddef.h>

struct vi_list {
	struct vi_list *next, *prev;
};

#define vi_list_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define vi_list_for_each(pos, head) \
	for ((pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)

static inline void vi_list_init(struct vi_list *l)
{
	l->next = l->prev = l;
}

static inline bool vi_list_empty(const struct vi_list *l)
{
	return l->next == l;
}

static inline void vi_list_add_tail(struct vi_list *head, struct vi_list *n)
{
	n->next = head;
	n->prev = head->prev;
	head->prev->next = n;
	head->prev = n;
}

static inline void vi_list_remove(struct vi_list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	vi_list_init(n);
}

#endif
