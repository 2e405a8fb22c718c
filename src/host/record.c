/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A notifier that writes down what it is told.  Callbacks of one notifier never
 * run together, so a recorder needs no lock.
 */
#include <viommu/host/record.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <viommu/notifier.h>
#include <viommu/viommu.h>

#include "host/shadow.h"

enum {
	LINE = 96, /* the longest is a remap's */
};

struct viommu_record {
	struct viommu_record_config cfg;
	struct viommu_notifier *notifier;
};

__attribute__((format(printf, 2, 3))) static void say(struct viommu_record *r,
						      const char *fmt, ...)
{
	char line[LINE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (r->cfg.file)
		fprintf(r->cfg.file, "%s\n", line);
	if (r->cfg.line)
		r->cfg.line(r->cfg.arg, line);
}

struct prot {
	char s[6];
};

static struct prot prot_of(uint32_t prot)
{
	static const char names[] = "rwxpm"; /* READ to MMIO, bit by bit */
	struct prot p = { "" };
	unsigned n = 0;

	for (unsigned i = 0; i < 5; i++)
		if (prot >> i & 1)
			p.s[n++] = names[i];
	return p;
}

static void mapping(struct viommu_record *r, const char *what,
		    const struct viommu_mapping *m)
{
	say(r, "%s %" PRIx64 "-%" PRIx64 " %" PRIx64 " %s", what, m->start,
	    m->last, m->gpa, prot_of(m->prot).s);
}

static void range(struct viommu_record *r, const char *what, uint64_t start,
		  uint64_t last)
{
	say(r, "%s %" PRIx64 "-%" PRIx64, what, start, last);
}

static int on_map(void *arg, const struct viommu_mapping *m, size_t n)
{
	for (size_t i = 0; i < n; i++)
		mapping(arg, "map", &m[i]);
	return 0;
}

static void on_unmap(void *arg, viommu_iova_t start, viommu_iova_t last,
		     struct viommu_fence *f)
{
	(void)f;
	range(arg, "unmap", start, last);
}

static int on_remap(void *arg, const struct viommu_mapping *m,
		    struct viommu_fence *f)
{
	(void)f;
	mapping(arg, "remap", m);
	return 0;
}

static int on_cut(void *arg, viommu_iova_t start, viommu_iova_t last)
{
	range(arg, "cut", start, last);
	return 0;
}

static int on_ram_add(void *arg, const struct viommu_region *region)
{
	uint32_t mmio = region->device ? VIOMMU_MMIO : 0;

	say(arg, "ram_add %" PRIx64 "-%" PRIx64 " %s", region->gpa,
	    region->gpa + (region->len - 1), prot_of(region->prot | mmio).s);
	return 0;
}

static void on_ram_remove(void *arg, viommu_gpa_t gpa, viommu_gpa_t last,
			  struct viommu_fence *f)
{
	(void)f;
	range(arg, "ram_remove", gpa, last);
}

static void on_dirty(void *arg, enum viommu_dirty_event what, viommu_gpa_t gpa,
		     viommu_gpa_t last)
{
	static const char *const names[] = {
		[VIOMMU_DIRTY_START] = "dirty start",
		[VIOMMU_DIRTY_STOP] = "dirty stop",
		[VIOMMU_DIRTY_SYNC] = "dirty sync",
	};

	range(arg, names[what], gpa, last);
}

static void on_gone(void *arg, enum viommu_gone why)
{
	say(arg, "gone %s", why == VIOMMU_GONE_LOST ? "lost" : "destroyed");
}

int viommu_record_add(struct viommu_endpoint *ep,
		      const struct viommu_record_config *cfg,
		      struct viommu_record **out)
{
	static const struct viommu_notifier_ops ops = {
		.size = sizeof(ops),
		.map = on_map,
		.unmap = on_unmap,
		.remap = on_remap,
		.cut = on_cut,
		.ram_add = on_ram_add,
		.ram_remove = on_ram_remove,
		.dirty = on_dirty,
		.gone = on_gone,
	};
	struct viommu_record_config c;
	struct viommu_record *r;
	int rc = vh_options_copy(&c, sizeof(c), cfg, cfg->size);

	if (rc || !c.vi)
		return -EINVAL;
	r = viommu_alloc(c.vi, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->cfg = c;
	rc = viommu_notifier_add(ep, &ops, r, &r->notifier);
	if (rc) {
		viommu_free(c.vi, r);
		return rc;
	}
	*out = r;
	return 0;
}

void viommu_record_remove(struct viommu_record *r, struct viommu_fence *f)
{
	if (!r)
		return;
	viommu_notifier_remove(r->notifier, f);
	viommu_free(r->cfg.vi, r);
}
