/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * witness - runs in the guest and lets the dmatest device (docs/dmatest.md)
 * misbehave, through nothing but the guest kernel's own VFIO.
 *
 *	function  finds it and gives it to vfio-pci
 *	vfio      opens it
 *	iova      what is mapped, and where
 *	arena     all memory the device is ever given, watched
 *	command   lets the device do an access
 *	control   good DMA works, so that a refusal means something
 *	irq       so do interrupts
 *	attack    accesses the device has no right to
 *	live_map  an unmap waits for the access it races with
 *
 * Single-threaded; nothing blocks without a bound but a system call that the
 * kernel itself hangs in, and for that there is an alarm.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "attack.h"
#include "clock.h"
#include "command.h"
#include "control.h"
#include "function.h"
#include "iova.h"
#include "irq.h"
#include "live_map.h"
#include "say.h"
#include "vfio.h"

#define RUN_TIMEOUT_S 170

/* Binding, mapping and interrupt set-up, on any function: no register. */
static void probe_only(void)
{
	map_all();
	note("%s: mapped 6 pages at 0x%llx, unmapping one took %llu us",
	     function.bdf, (unsigned long long)base,
	     (unsigned long long)unmap(AT_RO, 1));
	irq_info();
	printf("control name=probe ok=1\n");
	control_count(true);
}

static void run_all(const char *irqs)
{
	command_open();
	map_all();
	run_controls();
	run_attacks();
	run_interrupts(irqs);
	run_live_map();
	run_attacks_after_unmap();
	control_read("read-at-the-end", AT_RW, 0, 2 * page);
}

static void usage(FILE *f)
{
	fprintf(f,
		"usage: witness [--device VVVV:DDDD] [--irqs LIST] "
		"[--no-write-only]\n"
		"               [--no-pace] [--probe-only] [--now]\n"
		"\n"
		"Lets the dmatest PCI function misbehave, through this "
		"kernel's VFIO, and\n"
		"tells whether its IOMMU kept it in. Needs root, the modules "
		"vfio_pci and\n"
		"vfio_iommu_type1 (with allow_unsafe_interrupts=1 where the "
		"IOMMU does not\n"
		"remap interrupts), and the function behind an IOMMU.\n"
		"\n"
		"  --device VVVV:DDDD  the function's ids, default 1234:da7e\n"
		"  --irqs LIST         of msix,msi,intx (the default), or "
		"none\n"
		"  --no-write-only     whoever passes mappings on lets what "
		"may "
		"be written be read\n"
		"  --no-pace           do not space attacks for the kernel to "
		"log them all\n"
		"  --probe-only        only bind, map and unmap; works on any "
		"function\n"
		"  --now               tell the time in microseconds, do no "
		"more: busybox's\n"
		"                      clocks are coarse\n"
		"\n"
		"Prints a line per control and attack, then attacks= refused= "
		"controls=\n"
		"controls_ok=. Exit: 0 every attack was refused and every "
		"control passed,\n"
		"1 not so, 2 bad arguments.\n");
}

static void timed_out(int sig)
{
	static const char text[] = "witness: timed out\n";

	(void)sig;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(3);
	_exit(1);
}

int main(int argc, char **argv)
{
	const char *irqs = "msix,msi,intx";
	bool probe = false;
	char end;
	int i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			usage(stdout);
			return 0;
		} else if (!strcmp(argv[i], "--now")) {
			printf("%llu\n", (unsigned long long)now_us());
			return 0;
		} else if (!strcmp(argv[i], "--no-write-only")) {
			write_only = false;
		} else if (!strcmp(argv[i], "--no-pace")) {
			paced = false;
		} else if (!strcmp(argv[i], "--probe-only")) {
			probe = true;
		} else if (!strcmp(argv[i], "--irqs") && i + 1 < argc) {
			irqs = argv[++i];
		} else if (!strcmp(argv[i], "--device") && i + 1 < argc &&
			   sscanf(argv[i + 1], "%4x:%4x%c", &function.vendor,
				  &function.device, &end) == 2) {
			i++;
		} else {
			fprintf(stderr, "witness: bad argument: %s\n", argv[i]);
			usage(stderr);
			return 2;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, timed_out);
	alarm(RUN_TIMEOUT_S);

	function_find();
	function_bind();
	vfio_open();
	function_enable();
	iova_choose();
	arena_create();
	if (probe)
		probe_only();
	else
		run_all(irqs);

	printf("faults_expected=%u\n", faults);
	printf("attacks=%u refused=%u controls=%u controls_ok=%u\n", attacks,
	       refused, controls, controls_ok);
	return !(refused == attacks && controls_ok == controls && controls);
}
