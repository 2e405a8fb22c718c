/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QEMU's command line.  RAM has to be a memfd that can be shared: functions in
 * another process see it by mapping the same file.
 */
#include "qemu.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The same as our functions have (machine.c). */
#define IOMMU_ADDR "3"
#define DISK_ADDR  "4"

/* As JSON, since a socket is a structure and its name may hold anything. */
static void device_add(struct args *a, const char *socket, unsigned slot)
{
	struct json_object *device = json_object_new_object();
	struct json_object *address = json_object_new_object();
	char addr[8];

	snprintf(addr, sizeof(addr), "%u", slot);
	json_object_object_add(address, "type", json_object_new_string("unix"));
	json_object_object_add(address, "path", json_object_new_string(socket));
	json_object_object_add(device, "driver",
			       json_object_new_string("vfio-user-pci"));
	json_object_object_add(device, "socket", address);
	json_object_object_add(device, "addr", json_object_new_string(addr));
	args_add(a, "-device");
	args_add(a, "%s",
		 json_object_to_json_string_ext(
			 device, JSON_C_TO_STRING_PLAIN |
					 JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(device);
}

/* Before all that is to be behind it. */
static void iommu_add(struct args *a, const struct wiring *w)
{
	if (w->iommu == IOMMU_QEMU_VIRTIO) {
		args_add(a, "-device");
		args_add(a, "virtio-iommu-pci,addr=" IOMMU_ADDR);
	} else if (w->iommu == IOMMU_QEMU_VTD) {
		/* caching mode: or nobody outside QEMU is told of maps */
		args_add(a, "-device");
		args_add(a, "intel-iommu,caching-mode=on");
	}
}

/* As ours: the host's page cache, io_uring, and a thread of its own. */
static void disk_add_own(struct args *a, const char *image,
			 const char *platform)
{
	char *name = qemu_escape(image);

	args_add(a, "-object");
	args_add(a, "iothread,id=t0");
	args_add(a, "-drive");
	args_add(a,
		 "if=none,id=d0,format=raw,cache=writeback,aio=io_uring,"
		 "file=%s",
		 name ? name : "");
	args_add(a, "-device");
	args_add(a,
		 "virtio-blk-pci,drive=d0,iothread=t0,addr=" DISK_ADDR
		 ",disable-legacy=on%s",
		 platform);
	a->failed |= !name;
	free(name);
}

static void disk_add_vhost(struct args *a, const struct qemu_config *cfg,
			   const char *platform)
{
	char *name = qemu_escape(cfg->disk);

	args_add(a, "-chardev");
	args_add(a, "socket,id=d0,path=%s,%s", name ? name : "",
		 cfg->old ? "reconnect=1" : "reconnect-ms=100");
	args_add(a, "-device");
	args_add(a,
		 "vhost-user-blk-pci,chardev=d0,addr=" DISK_ADDR
		 ",disable-legacy=on%s",
		 platform);
	a->failed |= !name;
	free(name);
}

static void wiring_add(struct args *a, const struct qemu_config *cfg)
{
	const struct wiring *w = cfg->wiring;
	const char *platform =
		w->iommu != IOMMU_NONE ? ",iommu_platform=on" : "";

	iommu_add(a, w);
	if (w->disk == DISK_QEMU)
		disk_add_own(a, cfg->disk, platform);
	else if (w->disk == DISK_VHOST_USER)
		disk_add_vhost(a, cfg, platform);
}

/* Old QEMU's emulation of cmpxchg16b spoils the flags, and with them now and
 * then the kernel's memory allocator. */
static const char *cpu(const struct qemu_config *cfg)
{
	if (!strcmp(cfg->accel, "kvm"))
		return "host";
	return cfg->old ? "max,cx16=off" : "max";
}

void qemu_args_machine(struct args *a, const struct qemu_config *cfg)
{
	unsigned long long memory = cfg->memory;
	const char *socket;
	unsigned slot;
	char *viot;

	args_add(a, "%s", cfg->program);
	args_add(a, "-M");
	args_add(a, "q35,memory-backend=m0");
	args_add(a, "-accel");
	args_add(a, "%s", cfg->accel);
	args_add(a, "-cpu");
	args_add(a, "%s", cpu(cfg));
	args_add(a, "-m");
	args_add(a, "%lluM", memory);
	args_add(a, "-object");
	args_add(a, "memory-backend-memfd,id=m0,size=%lluM,share=on", memory);
	if (cfg->viot) {
		viot = qemu_escape(cfg->viot);
		args_add(a, "-acpitable");
		args_add(a, "file=%s", viot ? viot : "");
		a->failed |= !viot;
		free(viot);
	}
	if (cfg->wiring)
		wiring_add(a, cfg);
	for (unsigned i = 0;
	     cfg->machine && machine_function(cfg->machine, i, &socket, &slot);
	     i++)
		device_add(a, socket, slot);
}

void qemu_args_guest(struct args *a, const char *kernel, const char *initrd,
		     const char *append)
{
	args_add(a, "-no-user-config");
	args_add(a, "-nodefaults");
	args_add(a, "-display");
	args_add(a, "none");
	args_add(a, "-no-reboot");
	args_add(a, "-chardev");
	args_add(a, "socket,id=console,fd=3");
	args_add(a, "-serial");
	args_add(a, "chardev:console");
	args_add(a, "-chardev");
	args_add(a, "socket,id=report,fd=4");
	args_add(a, "-serial");
	args_add(a, "chardev:report");
	args_add(a, "-kernel");
	args_add(a, "%s", kernel);
	args_add(a, "-initrd");
	args_add(a, "%s", initrd);
	args_add(a, "-append");
	args_add(a, "%s", append);
}
