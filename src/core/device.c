/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/device.h"

#include <endian.h>
#include <string.h>

#include "core/move.h"

enum {
	DEPTH = 4,
};

static __thread unsigned depth;

bool vi_device_enter(void)
{
	if (depth == DEPTH)
		return false;
	depth++;
	vi_nowait_begin();
	return true;
}

void vi_device_exit(void)
{
	vi_nowait_end();
	depth--;
}

/* The largest word at @offset that has no more than @len bytes. */
static unsigned word_size(uint64_t offset, uint64_t len)
{
	unsigned size = 8;

	while ((offset & (size - 1)) || size > len)
		size /= 2;
	return size;
}

/* The first bytes of a little-endian word are its low ones. */
int vi_device_read(const struct viommu_device_ops *ops, void *arg,
		   uint64_t offset, void *buf, uint64_t len)
{
	uint64_t val = 0;
	unsigned size;
	int rc = 0;

	if (ops->read)
		return ops->read(arg, offset, buf, len);
	for (; len && !rc; offset += size, len -= size) {
		size = word_size(offset, len);
		rc = ops->load(arg, offset, size, &val);
		val = htole64(val);
		memcpy(buf, &val, size);
		buf = (char *)buf + size;
	}
	return rc;
}

int vi_device_write(const struct viommu_device_ops *ops, void *arg,
		    uint64_t offset, const void *buf, uint64_t len)
{
	unsigned size;
	int rc = 0;

	if (ops->write)
		return ops->write(arg, offset, buf, len);
	for (; len && !rc; offset += size, len -= size) {
		uint64_t val = 0;

		size = word_size(offset, len);
		memcpy(&val, buf, size);
		rc = ops->store(arg, offset, size, le64toh(val));
		buf = (const char *)buf + size;
	}
	return rc;
}

int vi_device_load(const struct viommu_device_ops *ops, void *arg,
		   uint64_t offset, unsigned size, uint64_t *val)
{
	uint64_t word = 0;
	int rc;

	if (ops->load)
		return ops->load(arg, offset, size, val);
	rc = ops->read(arg, offset, &word, size);
	*val = le64toh(word);
	return rc;
}

int vi_device_store(const struct viommu_device_ops *ops, void *arg,
		    uint64_t offset, unsigned size, uint64_t val)
{
	uint64_t word = htole64(val);

	return ops->store ? ops->store(arg, offset, size, val)
			  : ops->write(arg, offset, &word, size);
}
