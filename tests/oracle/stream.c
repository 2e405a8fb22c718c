/* SPDX-License-Identifier: BSD-2-Clause */
#include "stream.h"

#include <string.h>

#include "model.h"

void stream_decode(struct stream *s, const uint8_t *bytes, size_t len)
{
	memset(s, 0, sizeof(*s));
	if (len < sizeof(s->setup))
		return;
	memcpy(&s->setup, bytes, sizeof(s->setup));
	bytes += sizeof(s->setup);
	len -= sizeof(s->setup);
	for (; len >= sizeof(struct op) && s->n < OPS_MAX; s->n++) {
		memcpy(&s->op[s->n], bytes, sizeof(struct op));
		s->op[s->n].what %= OP_KINDS;
		bytes += sizeof(struct op);
		len -= sizeof(struct op);
	}
}

/* ---- at random -------------------------------------------------------- */

static uint64_t pick(uint64_t *rng, uint64_t n)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return (*rng >> 11) % n;
}

/* What happens how often; a look is of no use without a change before it. */
static const uint8_t mix[] = {
	OP_MAP,	       OP_MAP,	  OP_MAP,    OP_MAP,	OP_MAP,	     OP_UNMAP,
	OP_UNMAP,      OP_UNMAP,  OP_REMAP,  OP_REMAP,	OP_MAP_LIST, OP_ATTACH,
	OP_INVALIDATE, OP_READ,	  OP_READ,   OP_WRITE,	OP_WRITE,    OP_LOAD,
	OP_STORE,      OP_CAS,	  OP_HOLD,   OP_HOLD,	OP_HOLD,     OP_LET_GO,
	OP_LET_GO,     OP_COMMIT, OP_COMMIT, OP_COMMIT, OP_NEXT,     OP_NEXT,
	OP_TRANSLATE,
};

static const uint8_t rare[] = { OP_DETACH,   OP_RENEW, OP_FORGET, OP_REMEMBER,
				OP_REMEMBER, OP_ENTER, OP_EXIT,	  OP_EXIT };

struct rng {
	uint64_t state;
	struct op map; /* the last one */
};

/* Where something may be: about the last mapping, by the endpoint that sees it
 * from the start. */
static void op_near(struct rng *g, struct op *op)
{
	op->at = (uint8_t)(g->map.at + pick(&g->state, 3));
	if (op->what == OP_HOLD)
		op->at =
			(uint8_t)(g->map.at % 40 + g->map.who % ENDPOINTS * 80);
	else
		op->who = g->map.who % ENDPOINTS;
	op->n %= 32;
	op->odd %= 4;
}

static struct op op_random(struct rng *g)
{
	uint64_t *rng = &g->state;
	struct op op = {
		.what = mix[pick(rng, sizeof(mix))],
		.who = (uint8_t)pick(rng, 12),
		.at = (uint8_t)pick(rng, 256),
		.n = (uint8_t)pick(rng, 256),
		.gpa = (uint8_t)pick(rng, 48),
		.prot = (uint8_t)pick(rng, 32),
		.odd = (uint8_t)pick(rng, 256),
		.fence = (uint8_t)pick(rng, FENCES),
	};

	if (pick(rng, 20) == 0)
		op.what = rare[pick(rng, sizeof(rare))];
	/* most want both, where it matters */
	if (op.what <= OP_MAP_LIST && pick(rng, 3))
		op.prot |= VIOMMU_READ | VIOMMU_WRITE;
	if (op.what <= OP_INVALIDATE && op.what != OP_MAP_LIST) {
		op.odd = pick(rng, 8) ? 0 : op.odd;
		op.n = pick(rng, 16) ? op.n % 8 : op.n;
	}
	if (op.what == OP_MAP || op.what == OP_REMAP) {
		op.gpa = pick(rng, 2) ? op.gpa % 16 : op.gpa;
		op.who %= SPACES;
		g->map = op;
	} else if (op.what >= OP_READ && op.what <= OP_HOLD && pick(rng, 3)) {
		op_near(g, &op);
	}
	return op;
}

void stream_random(struct stream *s, uint64_t seed, unsigned n)
{
	struct rng g = { .state = seed * 0x9e3779b97f4a7c15 +
				  0x2545f4914f6cdd1d };
	uint64_t *rng = &g.state;

	if (!g.state)
		g.state = 1;
	memset(s, 0, sizeof(*s));
	s->setup = (struct setup){
		.layout = (uint8_t)pick(rng, LAYOUTS),
		.granule = (uint8_t)pick(rng, 3),
		.policy = (uint8_t)pick(rng, 3),
		.aperture = (uint8_t)pick(rng, 8),
	};
	/* endpoints see something from the start */
	for (uint8_t i = 0; i < ENDPOINTS && i < n; i++)
		s->op[s->n++] =
			(struct op){ .what = OP_ATTACH, .who = i, .at = i };
	while (s->n < n && s->n < OPS_MAX)
		s->op[s->n++] = op_random(&g);
}

/* ---- as calls --------------------------------------------------------- */

static void print_range(FILE *to, struct range r)
{
	fprintf(to, "%#llx, %#llx", (unsigned long long)r.start,
		(unsigned long long)r.last);
}

static void print_taking(FILE *to, const struct layout *l, const struct op *op)
{
	const unsigned f = op->fence % FENCES;

	switch (op->what) {
	case OP_UNMAP:
	case OP_INVALIDATE:
		fprintf(to, "viommu_space_%s(space[%u], ",
			op->what == OP_UNMAP ? "unmap" : "invalidate",
			op->who % SPACES);
		print_range(to, layout_cells(l, op));
		fprintf(to, ", &f[%u]);\n", f);
		return;
	case OP_ATTACH:
		fprintf(to,
			"viommu_endpoint_attach(ep[%u], space[%u], &f[%u]);\n",
			op->who % ENDPOINTS, op->at % SPACES, f);
		return;
	case OP_DETACH:
		fprintf(to, "viommu_endpoint_detach(ep[%u], &f[%u]);\n",
			op->who % ENDPOINTS, f);
		return;
	case OP_RENEW:
		fprintf(to, "viommu_space_destroy(space[%u], &f[%u]);\n",
			op->who % SPACES, f);
		return;
	case OP_FORGET:
		fprintf(to,
			"viommu_memory_remove(memory, region[%u], &f[%u]);\n",
			op->who % REGIONS, f);
		return;
	default:
		fprintf(to, "viommu_fence_commit(&f[%u]);\n", f);
	}
}

static void print_access(FILE *to, const struct layout *l, const struct op *op)
{
	static const char *const names[] = {
		[OP_READ] = "read", [OP_WRITE] = "write",
		[OP_LOAD] = "load", [OP_STORE] = "store",
		[OP_CAS] = "cas",   [OP_TRANSLATE] = "translate",
		[OP_HOLD] = "map",
	};
	unsigned what = op->what;
	bool word = what >= OP_LOAD && what <= OP_CAS;
	struct access a = word ? layout_word(l, op) : layout_access(l, op);

	if (what == OP_HOLD) {
		fprintf(to, "viommu_dma_map(&d[%u] = ep[%u], prot %u%s, ",
			op->who % HOLDS, op->at / 64 % ENDPOINTS,
			1u + op->prot % 3,
			!(op->fence % 2)  ? ""
			: (op->fence & 2) ? ", revoke: let go"
					  : ", revoke");
	} else {
		fprintf(to, "viommu_dma_%s(ep[%u], ", names[what],
			op->who % ENDPOINTS);
	}
	fprintf(to, "%#llx, %llu);\n", (unsigned long long)a.iova,
		(unsigned long long)a.len);
}

static void print_mapping(FILE *to, const struct layout *l, const struct op *op)
{
	static const char *const names[] = {
		[OP_MAP] = "map",
		[OP_REMAP] = "remap",
		[OP_MAP_LIST] = "map_list",
	};
	struct range c = layout_cells(l, op);

	fprintf(to, "viommu_space_%s(space[%u], ", names[op->what],
		op->who % SPACES);
	if (op->what == OP_MAP_LIST)
		fprintf(to, "%#llx, %u cells, odd %#x",
			(unsigned long long)l->first[op->at % l->n],
			1u + op->n % 8, op->odd);
	else
		print_range(to, c);
	fprintf(to, ", gpa %#llx, prot %u",
		(unsigned long long)layout_gpa(l, op), op->prot % 32u);
	if (op->what == OP_REMAP)
		fprintf(to, ", &f[%u]", op->fence % FENCES);
	fprintf(to, ");\n");
}

static void print_op(FILE *to, const struct layout *l, const struct op *op)
{
	switch (op->what) {
	case OP_MAP:
	case OP_REMAP:
	case OP_MAP_LIST:
		print_mapping(to, l, op);
		return;
	case OP_ENTER:
	case OP_EXIT:
		fprintf(to, "viommu_dma_%s(ep[%u]);\n",
			op->what == OP_ENTER ? "enter" : "exit",
			op->who % ENDPOINTS);
		return;
	case OP_NEXT:
		fprintf(to, "viommu_space_next(space[%u], %#llx);\n",
			op->who % SPACES,
			(unsigned long long)layout_access(l, op).iova);
		return;
	case OP_LET_GO:
		fprintf(to, "viommu_dma_unmap(&d[%u]);\n", op->who % HOLDS);
		return;
	case OP_REMEMBER:
		fprintf(to, "viommu_memory_add(memory, region[%u]);\n",
			op->who % REGIONS);
		return;
	case OP_READ:
	case OP_WRITE:
	case OP_LOAD:
	case OP_STORE:
	case OP_CAS:
	case OP_TRANSLATE:
	case OP_HOLD:
		print_access(to, l, op);
		return;
	default:
		print_taking(to, l, op);
	}
}

void stream_print(FILE *to, const struct stream *s)
{
	static const char *const policies[] = { "REFUSE", "SPLIT",
						"WHOLE_PAGE" };
	struct model m;

	model_init(&m, &s->setup);
	fprintf(to,
		"/* space[0], [1]: MAPPED, [2]: REMOTE, [3]: IDENTITY; %s; "
		"pages of %llu, %llu, %llu;\n"
		" * aperture %#llx to %#llx; ep[2] reserves %#llx to %#llx%s "
		"*/\n",
		policies[s->setup.policy % 3], (unsigned long long)m.l.sizes[0],
		(unsigned long long)m.l.sizes[1],
		(unsigned long long)m.l.sizes[2],
		(unsigned long long)m.space[0].aperture.start,
		(unsigned long long)m.space[0].aperture.last,
		(unsigned long long)m.l.first[m.reserved[0]],
		(unsigned long long)m.l.last[m.reserved[1]],
		s->setup.aperture & SETUP_RECORDERS ? "; recorded" : "");
	for (unsigned i = 0; i < s->n; i++)
		print_op(to, &m.l, &s->op[i]);
}
