/* SPDX-License-Identifier: BSD-2-Clause */
/* viommu: run a guest against libviommu, or serve the functions alone. */
#include <stdio.h>
#include <string.h>
#include <viommu.h>

#include "cmd.h"
#include "options.h"
#include "outcome.h"
#include "say.h"

static int cmd_version(int argc, char **argv);
static int cmd_help(int argc, char **argv);

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *about;
} commands[] = {
	{ "boot", cmd_boot,
	  "run a Linux guest whose disk is behind our IOMMU" },
	{ "serve", cmd_serve, "serve the functions alone, for your own QEMU" },
	{ "bench", cmd_bench, "measure the guest's disk, ours and QEMU's" },
	{ "version", cmd_version, "tell the version" },
	{ "help", cmd_help, "this, or a command's options" },
};

static void usage(FILE *to)
{
	fprintf(to, "usage: viommu COMMAND [OPTIONS]\n\n"
		    "A software IOMMU, and devices behind it, for stock QEMU "
		    "and stock Linux.\n\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].about);
	fprintf(to, "\n'viommu COMMAND --help' tells a command's options.\n");
}

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	return NULL;
}

static int cmd_version(int argc, char **argv)
{
	(void)argv;
	if (argc > 1) {
		complain("version takes no arguments");
		return option_hint("");
	}
	printf("viommu %s\n", viommu_version());
	return EXIT_PASS;
}

static int cmd_help(int argc, char **argv)
{
	const struct command *c = argc > 1 ? command_find(argv[1]) : NULL;
	char help[] = "--help", *args[] = { NULL, help, NULL };

	if (argc > 2 || (argc > 1 && !c)) {
		complain("no such command: %s", argv[argc > 2 ? 2 : 1]);
		return option_hint("");
	}
	if (c && c->run != cmd_version && c->run != cmd_help) {
		args[0] = argv[1];
		return c->run(2, args);
	}
	usage(stdout);
	return EXIT_PASS;
}

int main(int argc, char **argv)
{
	const struct command *c;
	char help[] = "help", *args[] = { help, NULL };

	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return cmd_help(1, args);
	if (!strcmp(argv[1], "--version"))
		return cmd_version(1, args);
	c = command_find(argv[1]);
	if (!c) {
		complain("no such command: %s", argv[1]);
		return option_hint("");
	}
	return c->run(argc - 1, argv + 1);
}
