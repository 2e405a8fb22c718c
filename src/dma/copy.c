/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * read and write: the transient class.  The pin is BUSY for as long as the
 * copy takes, so a fence waits for it.
 */
#include <string.h>
#include <viommu/memory.h>

#include "core/dirty.h"
#include "dma/access.h"
#include "dma/detour.h"

static void count(struct vi_access *a, uint64_t len)
{
	struct vi_seat *seat = a->pin->seat;

	vi_count(&seat->accesses, 1);
	vi_count(a->prot & VIOMMU_WRITE ? &seat->bytes_written
					: &seat->bytes_read,
		 len);
}

/* A piece that is found: one direction or the other. */
static int copy_piece(struct vi_access *a, const struct vi_piece *piece,
		      char *buf)
{
	struct viommu_memory *mem = a->ep->memory;

	VI_WINDOW();
	if (VI_UNLIKELY(!piece->host))
		return vi_detour_copy(mem, piece->gpa, buf, piece->len,
				      a->prot);
	if (a->prot & VIOMMU_WRITE) {
		memcpy(piece->host, buf, piece->len);
		vi_dirty_mark(mem, piece->gpa, piece->len);
	} else {
		memcpy(buf, piece->host, piece->len);
	}
	return 0;
}

/* Piece by piece; without @buf just check. */
static int copy_pieces(struct vi_access *a, char *buf, uint64_t len)
{
	struct vi_piece piece;
	uint64_t iova = a->iova;
	int rc;

	for (;;) {
		rc = vi_access_look(a, iova, len, &piece);
		if (rc)
			return vi_access_refuse(a, iova, rc);
		if (buf)
			rc = copy_piece(a, &piece, buf);
		if (VI_UNLIKELY(rc))
			return vi_access_device_refused(a, iova, &piece, rc);
		if (piece.len == len)
			return 0;
		iova += piece.len;
		len -= piece.len;
		buf = buf ? buf + piece.len : NULL;
	}
}

static int copy_once(struct vi_access *a, char *buf, uint64_t len)
{
	int rc = vi_access_begin(a);

	if (rc)
		return rc;
	if (vi_access_wraps(a->iova, len))
		return vi_access_refuse_wrap(a);
	/* a write that would fail half way must not begin */
	if (a->prot & VIOMMU_WRITE) {
		rc = copy_pieces(a, NULL, len);
		if (rc)
			return rc;
	}
	rc = copy_pieces(a, buf, len);
	if (rc)
		return rc;
	count(a, len);
	vi_access_finish(a);
	return 0;
}

static int copy(struct viommu_endpoint *ep, uint64_t iova, char *buf,
		uint64_t len, uint32_t prot)
{
	struct vi_access a;
	int rc;

	if (!len)
		return 0;
	vi_access_init(&a, ep, iova, len, prot);
	do
		rc = copy_once(&a, buf, len);
	while (rc == VI_ACCESS_AGAIN);
	return rc;
}

int viommu_dma_read(struct viommu_endpoint *ep, viommu_iova_t iova, void *buf,
		    size_t len)
{
	return copy(ep, iova, buf, len, VIOMMU_READ);
}

int viommu_dma_write(struct viommu_endpoint *ep, viommu_iova_t iova,
		     const void *buf, size_t len)
{
	/* copied from only: see copy_pieces() */
	return copy(ep, iova, (char *)(uintptr_t)buf, len, VIOMMU_WRITE);
}

/* ---- untranslated ----------------------------------------------------- */

/* As much as is one piece: its length in *len. */
static int memory_piece(struct viommu_memory *mem, uint64_t gpa, char *buf,
			uint64_t *len, uint32_t prot)
{
	void *host;
	uint64_t n = vi_memory_host(mem, gpa, *len, prot, &host);
	int rc;

	if (VI_UNLIKELY(!n)) {
		rc = vi_detour_find(mem, gpa, len, prot);
		return rc || !buf ? rc
				  : vi_detour_copy(mem, gpa, buf, *len, prot);
	}
	*len = n;
	if (buf && (prot & VIOMMU_WRITE)) {
		memcpy(host, buf, n);
		vi_dirty_mark(mem, gpa, n);
	} else if (buf) {
		memcpy(buf, host, n);
	}
	return 0;
}

/* Up to where it fails, if it does: in *gpa. */
static int memory_pieces(struct viommu_memory *mem, uint64_t *gpa, char *buf,
			 uint64_t len, uint32_t prot)
{
	uint64_t n;
	int rc = 0;

	for (; len; *gpa += n, len -= n, buf = buf ? buf + n : NULL) {
		n = len;
		rc = memory_piece(mem, *gpa, buf, &n, prot);
		if (rc)
			break;
	}
	return rc == -EACCES && prot == VIOMMU_READ ? -EFAULT : rc;
}

static int memory_copy_once(struct viommu_memory *mem, uint64_t gpa, char *buf,
			    uint64_t len, uint32_t prot)
{
	struct vi_pin *pin = vi_pin_claim(mem->vi);
	uint64_t at = gpa;
	int rc = 0;

	if (!pin)
		return -EAGAIN;
	vi_pin_publish(mem->vi, pin,
		       &(struct vi_extent){ .mem = mem,
					    .start = gpa,
					    .last = gpa + (len - 1) });
	if (prot & VIOMMU_WRITE)
		rc = memory_pieces(mem, &at, NULL, len, prot);
	if (!rc) {
		at = gpa;
		rc = memory_pieces(mem, &at, buf, len, prot);
	}
	if (rc == VI_ACCESS_MOVING)
		return vi_detour_wait(mem, at, pin);
	vi_pin_drop(mem->vi, pin);
	return rc;
}

static int memory_copy(struct viommu_memory *mem, uint64_t gpa, char *buf,
		       uint64_t len, uint32_t prot)
{
	int rc;

	if (!len)
		return 0;
	if (gpa + (len - 1) < gpa)
		return -EFAULT;
	do
		rc = memory_copy_once(mem, gpa, buf, len, prot);
	while (rc == VI_ACCESS_AGAIN);
	return rc;
}

int viommu_memory_read(struct viommu_memory *mem, viommu_gpa_t gpa, void *buf,
		       size_t len)
{
	return memory_copy(mem, gpa, buf, len, VIOMMU_READ);
}

int viommu_memory_write(struct viommu_memory *mem, viommu_gpa_t gpa,
			const void *buf, size_t len)
{
	return memory_copy(mem, gpa, (char *)(uintptr_t)buf, len, VIOMMU_WRITE);
}
