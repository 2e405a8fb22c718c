/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One guest, from the initramfs to its end: whatever the wiring asks for is
 * started before QEMU and ended after it, so that the image is nobody's when
 * this returns.
 */
#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu.h"
#include "say.h"
#include "viot.h"

struct run {
	const struct run_config *cfg;
	struct run_result *r;
	struct outcome *o;
	struct machine *machine;   /* NULL: none */
	struct disk_process *disk; /* NULL: none */
	char *viot, *initrd;
};

static const char *config_iommu(enum wiring_iommu iommu)
{
	switch (iommu) {
	case IOMMU_NONE:
		return "none";
	case IOMMU_QEMU_VTD:
		return "vtd"; /* no module to load */
	default:
		return "virtio";
	}
}

static bool config_write(const struct run_config *cfg, const char *path)
{
	const struct wiring *w = &cfg->wiring;
	FILE *to = fopen(path, "we");
	unsigned limit = cfg->timeout_s;

	if (!to)
		return false;
	fprintf(to, "mode=%s\niommu=%s\n", cfg->mode, config_iommu(w->iommu));
	if (w->iommu != IOMMU_NONE)
		fprintf(to, "strict=%d\n", !strcmp(wiring_group(w), "DMA"));
	/* QEMU's IOMMU is not told of what our device may not do, and QEMU lets
	 * a device read what it may write. */
	if (w->iommu != IOMMU_OURS)
		fprintf(to, "faults=0\nwriteonly=0\n");
	if (cfg->bench_mib)
		fprintf(to, "size=%u\n", cfg->bench_mib);
	fprintf(to, "attack=%d\nshell=%d\nrounds=%u\n", cfg->attack, cfg->shell,
		cfg->rounds);
	/* Sooner than we do, so that it can still tell what it waits for. */
	fprintf(to, "limit=%u\n",
		limit > 45 ? limit - 15
		: limit	   ? limit
			   : 300);
	return !fclose(to);
}

static bool initrd_make(struct run *r)
{
	const struct run_config *cfg = r->cfg;
	char *config = workdir_file(cfg->work, "config");

	if (!config || !config_write(cfg, config))
		outcome_fail(r->o, EXIT_WORK, "no room in %s", cfg->work->path);
	else
		r->initrd = kit_initrd(cfg->kit, cfg->work, config,
				       cfg->manifest, r->o);
	free(config);
	return r->initrd != NULL;
}

static char *append_make(const struct run_config *cfg)
{
	char *append;

	/*
	 * edd=off: else the kernel's real-mode code has the firmware read the
	 * disk's first sector, long before there is an IOMMU driver.
	 * iommu.strict is told either way: a kernel may be built otherwise.
	 */
	if (asprintf(&append,
		     "console=ttyS0 panic=-1 %s edd=off cryptomgr.notests "
		     "rcupdate.rcu_expedited=1 iommu.passthrough=0 "
		     "iommu.strict=%d%s%s%s",
		     say_verbose() ? "loglevel=7" : "quiet", cfg->wiring.strict,
		     cfg->wiring.iommu == IOMMU_QEMU_VTD ? " intel_iommu=on"
							 : "",
		     cfg->append ? " " : "",
		     cfg->append ? cfg->append : "") < 0)
		return NULL;
	return append;
}

static bool machine_make(struct run *r)
{
	const struct run_config *cfg = r->cfg;
	const struct machine_config machine = {
		.folder = cfg->work->path,
		.disk = cfg->disk,
		.iommu = cfg->wiring.iommu == IOMMU_OURS,
		.fence_timeout_ns = cfg->fence_timeout_ns,
	};
	struct viot v;
	int rc;

	if (!machine_create(&machine, &r->machine, r->o))
		return false;
	if (!machine.iommu)
		return true;
	r->viot = workdir_file(cfg->work, "viot.aml");
	machine_viot(r->machine, &v);
	rc = r->viot ? viot_write(&v, r->viot) : -ENOMEM;
	return !rc || outcome_fail(r->o, EXIT_WORK, "writing the VIOT: %s",
				   strerror(-rc));
}

/* Before 9.2: sockets are reconnected after whole seconds only. */
static bool is_old(const char *version)
{
	char *rest;
	unsigned long major = strtoul(version, &rest, 10);

	return major < 9 ||
	       (major == 9 && *rest == '.' && strtoul(rest + 1, NULL, 10) < 2);
}

static bool run_qemu(struct run *r, const char *append)
{
	const struct run_config *cfg = r->cfg;
	const struct qemu_config qemu = {
		.program = cfg->kit->qemu,
		.viot = r->viot,
		.memory = cfg->memory_mib,
		.accel = cfg->accel,
		.machine = r->machine,
		.wiring = &cfg->wiring,
		.disk = r->disk ? r->disk->socket : cfg->disk,
		.old = is_old(cfg->kit->qemu_version),
	};
	struct args args = { .n = 0 };
	const struct guest_config guest = {
		.qemu = &args,
		.machine = r->machine,
		.disk = r->disk,
		.timeout_s = cfg->timeout_s,
		.shell = cfg->shell,
		.silent = cfg->silent,
	};
	bool ok;

	qemu_args_machine(&args, &qemu);
	qemu_args_guest(&args, cfg->kit->kernel, r->initrd, append);
	if (args.failed) {
		args_free(&args);
		return outcome_fail(r->o, EXIT_WORK, "no memory");
	}
	if (say_verbose())
		args_print(&args, stderr);
	ok = guest_run(&guest, &r->r->guest, r->o);
	args_free(&args);
	return ok;
}

static bool run_parts(struct run *r)
{
	char *append;
	bool ok;

	if (!initrd_make(r) ||
	    (r->cfg->wiring.disk == DISK_VFIO_USER && !machine_make(r)))
		return false;
	append = append_make(r->cfg);
	if (!append)
		return outcome_fail(r->o, EXIT_WORK, "no memory");
	ok = run_qemu(r, append);
	free(append);
	return ok;
}

bool run_guest(const struct run_config *cfg, struct run_result *result,
	       struct outcome *o)
{
	struct run r = { .cfg = cfg, .r = result, .o = o };
	struct disk_process disk = {
		.image = cfg->disk,
		.rounds = cfg->rounds,
		.kills = cfg->kills,
		.o = o,
	};
	char *socket = workdir_file(cfg->work, "disk.sock");
	bool ok;

	memset(result, 0, sizeof(*result));
	disk.socket = socket;
	if (cfg->wiring.disk == DISK_VHOST_USER)
		r.disk = &disk;
	ok = socket ? run_parts(&r) : outcome_fail(o, EXIT_WORK, "no memory");
	if (r.machine) {
		machine_read_stats(r.machine, &result->stats);
		/* Closes the image: what the guest wrote is in it from here. */
		machine_destroy(r.machine);
	}
	result->kills = disk.killed;
	memcpy(result->disk_process, disk.summary, sizeof(disk.summary));
	free(r.viot);
	free(r.initrd);
	free(socket);
	return ok;
}
