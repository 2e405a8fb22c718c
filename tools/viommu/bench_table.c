/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What `viommu bench guest' measured, as a table and as JSON.  The middle of
 * several runs is told; JSON has all of them.
 */
#include "bench.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

bool bench_take(struct bench *b, struct bench_setup *s, const struct report *r)
{
	if (!b->nphases) {
		b->nphases = r->benches;
		memcpy(b->phases, r->bench, sizeof(b->phases));
	}
	if (!r->benches || r->benches != b->nphases || s->runs == BENCH_RUNS)
		return false;
	for (unsigned i = 0; i < r->benches; i++) {
		const struct report_bench *p = &r->bench[i];

		if (p->write != b->phases[i].write ||
		    p->kib != b->phases[i].kib ||
		    p->jobs != b->phases[i].jobs || !p->us)
			return false;
		s->mib_s[i][s->runs] =
			(double)p->bytes / (double)p->us * 1e6 / (1 << 20);
	}
	s->runs++;
	return true;
}

static int by_value(const void *x, const void *y)
{
	const double *a = x, *b = y;

	return (*a > *b) - (*a < *b);
}

double bench_median(const struct bench_setup *s, unsigned phase)
{
	double v[BENCH_RUNS];

	if (!s->runs)
		return 0;
	memcpy(v, s->mib_s[phase], sizeof(v));
	qsort(v, s->runs, sizeof(v[0]), by_value);
	return (v[(s->runs - 1) / 2] + v[s->runs / 2]) / 2;
}

const char *bench_disk(const struct bench_setup *s)
{
	static const char *const names[] = {
		[DISK_VFIO_USER] = "ours, vfio-user",
		[DISK_VHOST_USER] = "ours, vhost-user",
		[DISK_QEMU] = "QEMU's",
	};

	return names[s->wiring.disk];
}

const char *bench_iommu(const struct bench_setup *s)
{
	switch (s->wiring.iommu) {
	case IOMMU_NONE:
		return "none";
	case IOMMU_OURS:
		return "ours";
	default:
		return "QEMU's";
	}
}

const char *bench_mode(const struct bench_setup *s)
{
	if (s->wiring.iommu == IOMMU_NONE)
		return "";
	return s->wiring.strict ? "strict" : "lazy";
}

/* ------------------------------------------------------------ for people */

static void head_print(const struct bench *b, FILE *to)
{
	char name[32];

	fprintf(to,
		"\n  MiB/s of a guest's disk by O_DIRECT, medians of %u "
		"runs; Linux %s under\n  QEMU %s (%s)\n\n",
		b->runs, b->kernel, b->qemu, b->accel);
	fprintf(to, "  %-17s %-7s %-6s", "", "", "");
	for (unsigned i = 0; i < b->nphases; i++)
		fprintf(to, " %8s", b->phases[i].write ? "write" : "read");
	fprintf(to, "\n  %-17s %-7s %-6s", "disk", "IOMMU", "unmaps");
	for (unsigned i = 0; i < b->nphases; i++) {
		const struct report_bench *p = &b->phases[i];

		snprintf(name, sizeof(name), "%lluK",
			 (unsigned long long)p->kib);
		if (p->kib >= 1024)
			snprintf(name, sizeof(name), "%lluM",
				 (unsigned long long)p->kib / 1024);
		if (p->jobs > 1)
			snprintf(name + strlen(name),
				 sizeof(name) - strlen(name), " x%llu",
				 (unsigned long long)p->jobs);
		fprintf(to, " %8s", name);
	}
	putc('\n', to);
}

/* The disk of QEMU's own behind an IOMMU of its own, in the same mode. */
static const struct bench_setup *peer(const struct bench *b,
				      const struct bench_setup *s)
{
	for (unsigned i = 0; i < BENCH_SETUPS; i++) {
		const struct bench_setup *p = &b->setups[i];

		if (p->runs && p->wiring.disk == DISK_QEMU &&
		    p->wiring.iommu != IOMMU_NONE &&
		    p->wiring.strict == s->wiring.strict)
			return p;
	}
	return NULL;
}

static void counts_print(const struct bench *b, FILE *to)
{
	for (unsigned i = 0; i < BENCH_SETUPS; i++) {
		const struct bench_setup *s = &b->setups[i];
		const struct bench_counts *c = &s->counts;
		bool vhost = s->wiring.disk == DISK_VHOST_USER;
		double n = (double)c->requests;

		if (!c->requests)
			continue;
		fprintf(to, "  %-17s %-7s %-6s", bench_disk(s), bench_iommu(s),
			bench_mode(s));
		fprintf(to, " a request: %.1f %s, %.1f %s, %.1f %s\n",
			(double)c->maps / n, vhost ? "updates" : "maps",
			(double)c->unmaps / n,
			vhost ? "invalidations" : "unmaps",
			(double)c->asked / n,
			vhost ? "misses" : "notifications of the IOMMU");
	}
}

static void ratios_print(const struct bench *b, FILE *to)
{
	fprintf(to, "\n  times what QEMU's disk does behind QEMU's IOMMU\n");
	for (unsigned i = 0; i < BENCH_SETUPS; i++) {
		const struct bench_setup *s = &b->setups[i], *p = peer(b, s);

		if (!s->runs || !p || s->wiring.disk == DISK_QEMU)
			continue;
		fprintf(to, "  %-17s %-7s %-6s", bench_disk(s), bench_iommu(s),
			bench_mode(s));
		for (unsigned k = 0; k < b->nphases; k++)
			fprintf(to, " %8.2f",
				bench_median(s, k) / bench_median(p, k));
		putc('\n', to);
	}
}

void bench_print(const struct bench *b, FILE *to)
{
	bool ratios = false;

	head_print(b, to);
	for (unsigned i = 0; i < BENCH_SETUPS; i++) {
		const struct bench_setup *s = &b->setups[i];

		if (!s->runs)
			continue;
		fprintf(to, "  %-17s %-7s %-6s", bench_disk(s), bench_iommu(s),
			bench_mode(s));
		for (unsigned k = 0; k < b->nphases; k++)
			fprintf(to, " %8.1f", bench_median(s, k));
		putc('\n', to);
		ratios |= s->wiring.disk != DISK_QEMU && peer(b, s);
	}
	if (ratios)
		ratios_print(b, to);
	putc('\n', to);
	counts_print(b, to);
	fflush(to);
}

/* ---------------------------------------------------------- for programs */

static void put(struct json_object *to, const char *key,
		struct json_object *value)
{
	json_object_object_add(to, key, value);
}

/* One decimal, whatever the locale thinks of the point. */
static struct json_object *real(double v)
{
	char text[64];

	snprintf(text, sizeof(text), "%.1f", v);
	return json_object_new_double_s(v, text);
}

static struct json_object *phase_object(const struct bench *b,
					const struct bench_setup *s, unsigned i)
{
	const struct report_bench *p = &b->phases[i];
	struct json_object *o = json_object_new_object();
	struct json_object *runs = json_object_new_array();

	put(o, "op", json_object_new_string(p->write ? "write" : "read"));
	put(o, "kib", json_object_new_uint64(p->kib));
	put(o, "jobs", json_object_new_uint64(p->jobs));
	put(o, "mib_s", real(bench_median(s, i)));
	for (unsigned k = 0; k < s->runs; k++)
		json_object_array_add(runs, real(s->mib_s[i][k]));
	put(o, "runs", runs);
	return o;
}

/* By the names that the protocols have for them. */
static struct json_object *counts_object(const struct bench_setup *s)
{
	bool vhost = s->wiring.disk == DISK_VHOST_USER;
	const struct bench_counts *c = &s->counts;
	struct json_object *o = json_object_new_object();

	put(o, "disk_requests", json_object_new_uint64(c->requests));
	put(o, vhost ? "updates" : "maps", json_object_new_uint64(c->maps));
	put(o, vhost ? "invalidations" : "unmaps",
	    json_object_new_uint64(c->unmaps));
	put(o, vhost ? "misses" : "iommu_notifications",
	    json_object_new_uint64(c->asked));
	return o;
}

static struct json_object *setup_object(const struct bench *b,
					const struct bench_setup *s)
{
	struct json_object *o = json_object_new_object();
	struct json_object *phases = json_object_new_array();

	put(o, "name", json_object_new_string(s->name));
	put(o, "disk_by",
	    json_object_new_string(wiring_disk_name(s->wiring.disk)));
	put(o, "iommu",
	    json_object_new_string(wiring_iommu_name(s->wiring.iommu)));
	put(o, "strict", json_object_new_boolean(s->wiring.strict));
	if (s->counts.requests)
		put(o, "counts", counts_object(s));
	for (unsigned i = 0; i < b->nphases; i++)
		json_object_array_add(phases, phase_object(b, s, i));
	put(o, "phases", phases);
	return o;
}

void bench_json(const struct bench *b)
{
	struct json_object *to = json_object_new_object();
	struct json_object *setups = json_object_new_array();

	put(to, "kernel", json_object_new_string(b->kernel));
	put(to, "qemu", json_object_new_string(b->qemu));
	put(to, "accel", json_object_new_string(b->accel));
	put(to, "size_mib", json_object_new_uint64(b->size_mib));
	put(to, "runs", json_object_new_uint64(b->runs));
	for (unsigned i = 0; i < BENCH_SETUPS; i++)
		if (b->setups[i].runs)
			json_object_array_add(setups,
					      setup_object(b, &b->setups[i]));
	put(to, "setups", setups);
	put(to, "seconds", real(b->seconds));
	printf("%s\n", json_object_to_json_string_ext(
			       to, JSON_C_TO_STRING_SPACED |
					   JSON_C_TO_STRING_NOSLASHESCAPE));
	fflush(stdout);
	json_object_put(to);
}
