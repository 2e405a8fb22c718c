/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The last words of a run.  The figures are the counters of the library and of
 * the functions; what only the guest can know is from its report.
 */
#include "summary.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_WIDTH 22

static double us(uint64_t ns)
{
	return (double)ns / 1e3;
}

static uint64_t dma_bytes(const struct summary *s)
{
	return s->stats.core.bytes_read + s->stats.core.bytes_written;
}

/* ------------------------------------------------------------ for people */

__attribute__((format(printf, 3, 4))) static void
row(FILE *to, const char *label, const char *fmt, ...)
{
	va_list ap;

	fprintf(to, "  %-*s ", LABEL_WIDTH, label);
	va_start(ap, fmt);
	vfprintf(to, fmt, ap);
	va_end(ap);
	putc('\n', to);
}

/* A time that people can compare at a glance. */
static const char *span(uint64_t ns, char buf[32])
{
	if (ns >= 1000000)
		snprintf(buf, 32, "%.1f ms", (double)ns / 1e6);
	else
		snprintf(buf, 32, "%.1f us", us(ns));
	return buf;
}

static const char *known(const char *text)
{
	return text && *text ? text : "unknown";
}

static void guest_rows(const struct summary *s, FILE *to)
{
	const struct report *r = &s->guest.report;

	row(to, "Guest kernel", "Linux %s, unmodified",
	    known(r->kernel[0] ? r->kernel : s->kit.kernel_version));
	row(to, "Under", "QEMU %s, unmodified%s%s%s",
	    known(s->kit.qemu_version), s->accel ? " (" : "",
	    s->accel ? s->accel : "", s->accel ? ")" : "");
}

static void iommu_row(const struct summary *s, FILE *to)
{
	const char *type = s->guest.report.group_type;

	static const char *const kinds[] = {
		[IOMMU_OURS] = "virtio-iommu, in this process",
		[IOMMU_QEMU_VIRTIO] = "QEMU's own virtio-iommu",
		[IOMMU_QEMU_VTD] = "QEMU's own VT-d",
	};

	if (!s->boot)
		row(to, "IOMMU", "%s",
		    s->iommu ? kinds[IOMMU_OURS]
			     : "none: devices may touch all of memory");
	else if (s->wiring.iommu == IOMMU_NONE)
		row(to, "IOMMU", "none: devices may touch all of memory");
	else
		row(to, "IOMMU", "%s; group type %s (%s)",
		    kinds[s->wiring.iommu], known(type),
		    strcmp(type, "DMA") ? "lazy: unmaps are gathered"
					: "strict: each unmap waits");
}

/* What a vhost-user back-end told: of its last process. */
static void disk_process_rows(const struct summary *s, FILE *to)
{
	const char *told = s->disk_process;

	if (s->kills)
		row(to, "Disk's process",
		    "killed %u times while the guest wrote", s->kills);
	if (!told || !*told)
		return;
	row(to, "Translations",
	    "%llu misses, %llu updates, %llu invalidations, %llu had to "
	    "wait%s",
	    (unsigned long long)disk_process_told(told, "misses"),
	    (unsigned long long)disk_process_told(told, "updates"),
	    (unsigned long long)disk_process_told(told, "invalidations"),
	    (unsigned long long)disk_process_told(told, "waited"),
	    s->kills ? " (by the last)" : "");
}

/* With somebody else's IOMMU each mapping of the guest is a message. */
static void client_row(const struct summary *s, FILE *to)
{
	const struct viommu_vfio_user_stats *c = &s->stats.disk_client;

	row(to, "QEMU's messages", "%llu DMA_MAP, %llu DMA_UNMAP for the disk",
	    (unsigned long long)c->dma_maps, (unsigned long long)c->dma_unmaps);
}

static void disk_rows(const struct summary *s, FILE *to)
{
	const struct report *r = &s->guest.report;

	if (s->folder) {
		row(to, "Files verified",
		    "%llu of %llu in the guest, %llu mismatched",
		    (unsigned long long)r->files_verified,
		    (unsigned long long)s->image.content.files,
		    (unsigned long long)r->files_mismatched);
		row(to, "Files written",
		    "%llu by the guest, %llu of them verified on the host",
		    (unsigned long long)r->files_written,
		    (unsigned long long)s->image.files_checked);
	}
	if (s->disk && s->boot)
		row(to, "Disk read", "%llu bytes, SHA-256 %s",
		    (unsigned long long)s->image.bytes,
		    s->disk_same		? "as on the host"
		    : s->guest.report.sha256[0] ? "DIFFERENT from the host's"
						: "not told");
	if ((s->folder || s->disk) && s->wiring.disk == DISK_VFIO_USER)
		row(to, "Moved by the disk",
		    "%.1f MB read, %.1f MB written, %llu requests, %llu errors",
		    (double)s->stats.blk.bytes_read / 1e6,
		    (double)s->stats.blk.bytes_written / 1e6,
		    (unsigned long long)s->stats.blk.requests,
		    (unsigned long long)s->stats.blk.errors);
}

static void dma_rows(const struct summary *s, FILE *to)
{
	const struct viommu_stats *c = &s->stats.core;
	char a[32], b[32], m[32];

	row(to, "Moved by DMA", "%.1f MB in %llu maps and %llu accesses",
	    (double)dma_bytes(s) / 1e6, (unsigned long long)c->maps,
	    (unsigned long long)c->accesses);
	if (s->iommu)
		row(to, "Guest's mappings", "%llu mapped, %llu unmapped",
		    (unsigned long long)s->stats.virtio.maps,
		    (unsigned long long)s->stats.virtio.unmaps);
	if (s->boot && !s->iommu)
		client_row(s, to);
	row(to, "Invalidations",
	    "%llu, %llu had to wait; p50 %s, p99 %s, longest %s",
	    (unsigned long long)c->fences, (unsigned long long)c->fences_waited,
	    span(c->fence_wait_ns_p50, a), span(c->fence_wait_ns_p99, b),
	    span(c->fence_wait_ns_max, m));
	if (c->expired)
		row(to, "Devices too slow",
		    "%llu deadlines passed, %llu invalidations failed",
		    (unsigned long long)c->expired,
		    (unsigned long long)c->fences_failed);
}

static void attack_rows(const struct summary *s, FILE *to)
{
	const struct report *r = &s->guest.report;

	if (!s->attack) {
		row(to, "Attacks", "not run%s",
		    s->wiring.iommu != IOMMU_NONE
			    ? ""
			    : ": there is no IOMMU to refuse them");
		return;
	}
	row(to, "Attacks refused", "%llu of %llu attempted",
	    (unsigned long long)r->attacks_refused,
	    (unsigned long long)r->attacks);
	if (s->iommu)
		row(to, "Faults seen by guest", "%llu in its kernel log",
		    (unsigned long long)r->guest_faults);
	if (r->live_hold_us)
		row(to, "Unmap under a DMA",
		    "waited %.1f ms for the device (without one: %.1f ms)%s",
		    (double)r->live_unmap_us / 1e3,
		    (double)r->live_plain_us / 1e3,
		    r->live_ok ? "" : ": NOT as it should be");
}

void summary_print(const struct summary *s, FILE *to)
{
	bool pass = !s->outcome.status;

	putc('\n', to);
	if (s->boot)
		guest_rows(s, to);
	iommu_row(s, to);
	disk_rows(s, to);
	if (s->wiring.disk == DISK_VHOST_USER)
		disk_process_rows(s, to);
	else if (s->wiring.disk == DISK_VFIO_USER)
		dma_rows(s, to);
	if (s->boot) {
		if (s->wiring.disk == DISK_VFIO_USER)
			attack_rows(s, to);
		row(to, "Time", "%.1f s, of which %.1f s to boot", s->seconds,
		    s->guest.boot_seconds);
		row(to, "Result", "%s%s%s",
		    pass ? "PASS" : "FAIL: ", pass ? "" : s->outcome.reason,
		    "");
	}
}

/* ---------------------------------------------------------- for programs */

static void put(struct json_object *to, const char *key,
		struct json_object *value)
{
	json_object_object_add(to, key, value);
}

static void put_count(struct json_object *to, const char *key, uint64_t v)
{
	put(to, key, json_object_new_uint64(v));
}

/* Three decimals, whatever the locale thinks of the point. */
static void put_real(struct json_object *to, const char *key, double v)
{
	char text[64];

	snprintf(text, sizeof(text), "%.3f", v);
	put(to, key, json_object_new_double_s(v, text));
}

/* null where nothing is known. */
static void put_text(struct json_object *to, const char *key, const char *v)
{
	put(to, key, v && *v ? json_object_new_string(v) : NULL);
}

static void put_bool(struct json_object *to, const char *key, bool v)
{
	put(to, key, json_object_new_boolean(v));
}

static void guest_put(struct json_object *to, const struct summary *s)
{
	const struct report *r = &s->guest.report;

	put_text(to, "kernel",
		 r->kernel[0] ? r->kernel : s->kit.kernel_version);
	put_text(to, "qemu", s->kit.qemu_version);
	put_text(to, "accel", s->accel);
	put_text(to, "iommu_group_type", r->group_type);
	put_bool(to, "strict", s->wiring.strict);
	put_text(to, "disk_by", wiring_disk_name(s->wiring.disk));
	if (s->wiring.disk == DISK_VHOST_USER) {
		put_count(to, "disk_process_kills", s->kills);
		put_count(to, "rounds", r->rounds);
		put(to, "disk_process",
		    s->disk_process && *s->disk_process
			    ? json_tokener_parse(s->disk_process)
			    : NULL);
	}
	put_count(to, "files", s->image.content.files);
	put_count(to, "files_verified", r->files_verified);
	put_count(to, "files_mismatched", r->files_mismatched);
	put_count(to, "files_written", r->files_written);
	put_count(to, "files_written_verified", s->image.files_checked);
	if (s->disk)
		put_bool(to, "disk_verified", s->disk_same);
	put_count(to, "attacks", r->attacks);
	put_count(to, "attacks_refused", r->attacks_refused);
	put_count(to, "controls", r->controls);
	put_count(to, "controls_passed", r->controls_ok);
	put_count(to, "guest_faults", r->guest_faults);
	put_real(to, "live_map_unmap_us", (double)r->live_unmap_us);
	put_real(to, "live_map_hold_us", (double)r->live_hold_us);
	put_real(to, "plain_unmap_us", (double)r->live_plain_us);
	put_real(to, "boot_seconds", s->guest.boot_seconds);
	put_real(to, "guest_seconds", s->guest.seconds);
}

static void stats_put(struct json_object *to, const struct summary *s)
{
	const struct viommu_stats *c = &s->stats.core;

	put_count(to, "dma_bytes", dma_bytes(s));
	put_count(to, "dma_bytes_read", c->bytes_read);
	put_count(to, "dma_bytes_written", c->bytes_written);
	put_count(to, "dma_maps", c->maps);
	put_count(to, "dma_accesses", c->accesses);
	put_count(to, "disk_requests", s->stats.blk.requests);
	put_count(to, "disk_errors", s->stats.blk.errors);
	put_count(to, "disk_bytes_read", s->stats.blk.bytes_read);
	put_count(to, "disk_bytes_written", s->stats.blk.bytes_written);
	put_count(to, "maps", s->stats.virtio.maps);
	put_count(to, "unmaps", s->stats.virtio.unmaps);
	put_count(to, "dma_map_messages", s->stats.disk_client.dma_maps);
	put_count(to, "dma_unmap_messages", s->stats.disk_client.dma_unmaps);
	put_count(to, "fences", c->fences);
	put_count(to, "fences_waited", c->fences_waited);
	put_count(to, "fences_failed", c->fences_failed);
	put_count(to, "expired", c->expired);
	put_count(to, "revokes", c->revokes);
	put_real(to, "fence_wait_us_p50", us(c->fence_wait_ns_p50));
	put_real(to, "fence_wait_us_p99", us(c->fence_wait_ns_p99));
	put_real(to, "fence_wait_us_max", us(c->fence_wait_ns_max));
	put_count(to, "faults", c->faults);
}

void summary_json(const struct summary *s)
{
	struct json_object *to = json_object_new_object();

	put_text(to, "result", s->outcome.status ? "fail" : "pass");
	if (s->outcome.status)
		put_text(to, "reason", s->outcome.reason);
	put_count(to, "status", (uint64_t)s->outcome.status);
	put_text(to, "iommu",
		 s->boot    ? wiring_iommu_name(s->wiring.iommu)
		 : s->iommu ? "virtio"
			    : "none");
	if (s->boot)
		guest_put(to, s);
	stats_put(to, s);
	put_real(to, "seconds", s->seconds);
	printf("%s\n", json_object_to_json_string_ext(
			       to, JSON_C_TO_STRING_SPACED |
					   JSON_C_TO_STRING_NOSLASHESCAPE));
	fflush(stdout);
	json_object_put(to);
}
