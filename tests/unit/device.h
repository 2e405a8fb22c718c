/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_DEVICE_H
#define TESTS_UNIT_DEVICE_H

/*
 * A device with some memory of its own, which notes how it was asked, and
 * refuses what it is told to.
 */
#include <errno.h>
#include <string.h>
#include <viommu/memory.h>

enum {
	TOY_BYTES = 0x4000,
};

struct toy {
	unsigned char mem[TOY_BYTES]; /* at offset 0 */
	unsigned reads, writes, loads, stores;
	/* of the last call */
	uint64_t offset, len, val;
	int rc; /* what it answers from now on */
	/* called by each call, before anything is done; or NULL */
	void (*during)(struct toy *t);
	void *arg; /* the test's */
};

static inline int toy_begin(struct toy *t, uint64_t offset, uint64_t len)
{
	t->offset = offset;
	t->len = len;
	if (t->during)
		t->during(t);
	if (t->rc)
		return t->rc;
	/* nobody asks for what is not there */
	return offset > TOY_BYTES || len > TOY_BYTES - offset ? -ERANGE : 0;
}

static inline int toy_read(void *arg, uint64_t offset, void *buf, size_t len)
{
	struct toy *t = arg;
	int rc;

	t->reads++;
	rc = toy_begin(t, offset, len);
	if (!rc)
		memcpy(buf, t->mem + offset, len);
	return rc;
}

static inline int toy_write(void *arg, uint64_t offset, const void *buf,
			    size_t len)
{
	struct toy *t = arg;
	int rc;

	t->writes++;
	rc = toy_begin(t, offset, len);
	if (!rc)
		memcpy(t->mem + offset, buf, len);
	return rc;
}

/* Its memory is little-endian, as all of the guest's. */
static inline int toy_load(void *arg, uint64_t offset, unsigned size,
			   uint64_t *val)
{
	struct toy *t = arg;
	int rc;

	t->loads++;
	rc = toy_begin(t, offset, size);
	if (rc)
		return rc;
	*val = 0;
	for (unsigned i = 0; i < size; i++)
		*val |= (uint64_t)t->mem[offset + i] << 8 * i;
	t->val = *val;
	return 0;
}

static inline int toy_store(void *arg, uint64_t offset, unsigned size,
			    uint64_t val)
{
	struct toy *t = arg;
	int rc;

	t->stores++;
	t->val = val;
	rc = toy_begin(t, offset, size);
	if (rc)
		return rc;
	for (unsigned i = 0; i < size; i++)
		t->mem[offset + i] = (unsigned char)(val >> 8 * i);
	return 0;
}

static const struct viommu_device_ops toy_ops = {
	.size = sizeof(toy_ops),
	.read = toy_read,
	.write = toy_write,
	.load = toy_load,
	.store = toy_store,
};

static const struct viommu_device_ops toy_bytes = {
	.size = sizeof(toy_bytes),
	.read = toy_read,
	.write = toy_write,
};

static const struct viommu_device_ops toy_words = {
	.size = sizeof(toy_words),
	.load = toy_load,
	.store = toy_store,
};

static inline struct viommu_region toy_region(struct toy *t, uint64_t gpa,
					      uint64_t len, uint64_t offset)
{
	return (struct viommu_region){
		.size = sizeof(struct viommu_region),
		.gpa = gpa,
		.len = len,
		.prot = VIOMMU_READ | VIOMMU_WRITE,
		.fd = -1,
		.fd_offset = offset,
		.device = &toy_ops,
		.arg = t,
	};
}

#endif
