/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_ORACLE_MODEL_H
#define TESTS_ORACLE_MODEL_H

/*
 * The oracle: what must be true of a world, as arrays that are searched from
 * one end to the other.  It calls nothing of the library.  Where the contract
 * leaves open which of several errors is told, it says which are possible.
 */

#include <viommu.h>

#include "cells.h"

struct cell {
	unsigned mapping; /* 0: none; pieces of a cut one have their own */
	uint32_t prot;
	uint64_t gpa;	   /* of its first byte */
	struct range page; /* that the mapping was made of, there */
};

struct model_space {
	enum viommu_space_kind kind;
	enum viommu_space_policy policy;
	struct range aperture;
	unsigned birth; /* which of its kind: each has its own number */
	struct cell cell[CELLS];
};

struct model_region {
	struct range gpa;
	uint32_t prot;
	unsigned birth; /* 0: there is none */
	uint8_t *bytes; /* what must be in it */
};

struct model {
	struct layout l;
	struct model_space space[SPACES];
	struct model_region region[REGIONS];
	int in[ENDPOINTS];    /* or -1 */
	unsigned reserved[2]; /* cells that RESERVING does not translate */
	unsigned mappings;
};

/* Errors that are possible.  None: it must work. */
typedef unsigned errors;

/* The set of one errno; they are positive. */
errors error_one(int err);

bool errors_allow(errors possible, int64_t rc);

void model_init(struct model *m, const struct setup *setup);

errors model_map(const struct model *m, unsigned space,
		 const struct viommu_mapping *map);
/* Apply what was allowed to happen and did. */
void model_mapped(struct model *m, unsigned space,
		  const struct viommu_mapping *map);

errors model_remap(const struct model *m, unsigned space,
		   const struct viommu_mapping *map);

errors model_unmap(const struct model *m, unsigned space, struct range r);
/* Bytes removed; *@r becomes what was gathered. */
int64_t model_unmapped(struct model *m, unsigned space, struct range *r);

/* Remove exactly these cells, whatever the policy. */
void model_cleared(struct model *m, unsigned space, struct range r);

/* How many mappings, and bytes of them. */
unsigned model_count(const struct model *m, unsigned space, uint64_t *bytes);

errors model_attach(const struct model *m, unsigned ep, unsigned space);

/* The mapping that has the first byte at or after @iova. */
bool model_next(const struct model *m, unsigned space, uint64_t iova,
		struct viommu_mapping *out);

/* Why an access stops, or where it leads. */
struct look {
	int rc;
	uint32_t reason;
	uint64_t last; /* as far as it is the same */
	uint64_t gpa;
	uint8_t *bytes; /* of a region, if rc is 0 */
	unsigned region;
};

void model_look(const struct model *m, unsigned ep, struct range r,
		uint32_t prot, struct look *out);

/* What a whole access must end with. */
struct verdict {
	int rc;
	uint32_t reason;
	struct range refused;
	uint64_t gpa;
};

struct verdict model_access(const struct model *m, unsigned ep, struct access a,
			    uint32_t prot);

#endif
