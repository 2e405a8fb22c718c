/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_BASE_RETIRE_H
#define VI_BASE_RETIRE_H

/*
 * A thing that is out of use but may still be looked at: embedded in tables,
 * spaces, endpoints and memory regions, chained to a fence, freed when that
 * fence is done (L8).
 */

struct vi_retire {
	struct vi_retire *next;
	void (*free)(struct vi_retire *r); /* may block in munmap(2) only */
};

static inline void vi_retire_add(struct vi_retire **list, struct vi_retire *r)
{
	r->next = *list;
	*list = r;
}

static inline void vi_retire_free(struct vi_retire *list)
{
	while (list) {
		struct vi_retire *r = list;

		list = r->next;
		r->free(r);
	}
}

#endif
