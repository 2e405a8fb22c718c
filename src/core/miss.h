/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_MISS_H
#define VI_CORE_MISS_H

/*
 * Misses: the questions of a REMOTE space, one for each page that accesses
 * want and nobody has mapped.
 *
 *	asked --answer--> gone, or DENIED     settled(0)
 *	asked --cancel, destroy--> gone       settled(-ECANCELED)
 *	asked --poll--> gone                  settled(-ETIMEDOUT)
 *
 * No answer is lost.  Who maps changes the table, then looks at the questions;
 * who asks looks at the table once more while it holds the lock that the former
 * needs for its look.  So an answer that came after the access had looked is
 * either seen there (look again) or sees the question.
 *
 * A page that is mapped with too little permission is asked for, too: the other
 * side may grant more to who asks for more.  An answer that again grants too
 * little is remembered (DENIED), and what it denied is refused from then on
 * without a question, until the page is mapped or invalidated again.  Denials
 * have their room among the questions, and give way to them: one that had to
 * is asked once more.
 *
 * Handlers run without locks, and nobody waits for them: whoever runs one
 * counts as a user, and a destroyed space's fence is held until the last user
 * is out.
 */

#include <viommu/space.h>

struct viommu_endpoint;
struct viommu_fence;
struct vi_misses;
struct vi_question;

/* What is left to do of a question when the access has let go of its pin. */
struct vi_ask {
	struct vi_misses *misses; /* NULL: nothing, somebody else has asked */
	struct vi_question *question;
	uint64_t serial;
	struct viommu_miss m;
};

/*
 * Give @s, REMOTE, its questions.  -EINVAL (no miss handler, or more than
 * 2^20 questions), -ENOMEM.
 */
int vi_miss_create(struct viommu_space *s,
		   const struct viommu_space_config *cfg);

/*
 * @s is going, and every endpoint has left it.  When @f, the fence that frees
 * it, is done no handler of @s is running or will.
 */
void vi_miss_destroy(struct viommu_space *s, struct viommu_fence *f);

/*
 * An access by @ep that needs @prot found @iova unmapped, or mapped with less.
 * Its pin is BUSY.  It must go on as told:
 *
 *	-EINPROGRESS  drop the pin, vi_miss_ask(@ask), return that
 *	0             start over from what @ep sees: there is an answer by now,
 *	              or @s is being destroyed
 *	-EAGAIN       max_misses questions are open; nothing was asked
 *	-EACCES       the permission was asked for and not granted: a fault
 *	-EFAULT       outside the aperture, where nothing can be: a fault
 */
int vi_miss_begin(struct vi_ask *ask, struct viommu_endpoint *ep,
		  struct viommu_space *s, uint64_t iova, uint32_t prot);

/*
 * Call the miss handler if that fell to this access.  No pin, no lock.  0: the
 * question is over already, for a handler may answer at once: start over, but
 * only once.  -EINPROGRESS: it is not.
 */
int vi_miss_ask(struct vi_ask *ask);

/*
 * [start, last] of @s was mapped, or taken away: the table has been changed.
 * No lock held; handlers run here, and one may have destroyed @s on return.
 */
void vi_miss_answer(struct viommu_space *s, uint64_t start, uint64_t last);
void vi_miss_cancel(struct viommu_space *s, uint64_t start, uint64_t last);

/* Over all spaces of @vi: when the first question times out (UINT64_MAX:
 * none does), and let those time out that are due @now. */
uint64_t vi_miss_next_deadline(struct viommu *vi);
void vi_miss_poll(struct viommu *vi, uint64_t now);

#endif
