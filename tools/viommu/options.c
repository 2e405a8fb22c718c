/* SPDX-License-Identifier: BSD-2-Clause */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "outcome.h"
#include "say.h"

#define MIB_MIN 256 /* Debian's kernel and what it verifies */
#define MIB_MAX (1u << 20)

int option_hint(const char *command)
{
	fprintf(stderr, "Try 'viommu %s%s--help'.\n", command,
		*command ? " " : "");
	return EXIT_USAGE;
}

bool option_memory(const char *value, uint64_t *mib)
{
	char *unit;
	unsigned long long v;

	errno = 0;
	v = strtoull(value, &unit, 10);
	if (!errno && isdigit((unsigned char)*value) && v <= MIB_MAX) {
		if (!strcasecmp(unit, "g") || !strcasecmp(unit, "gib"))
			v *= 1024;
		else if (*unit && strcasecmp(unit, "m") &&
			 strcasecmp(unit, "mib"))
			v = 0;
		if (v >= MIB_MIN && v <= MIB_MAX) {
			*mib = v;
			return true;
		}
	}
	complain("--memory %s: want %uM to %uM, such as 512M or 2G", value,
		 MIB_MIN, MIB_MAX);
	return false;
}

bool option_seconds(const char *value, unsigned *seconds)
{
	char *rest;
	long v;

	errno = 0;
	v = strtol(value, &rest, 10);
	if (errno || *rest || !isdigit((unsigned char)*value) || v < 1 ||
	    v > 1000000) {
		complain("--timeout %s: want a number of seconds", value);
		return false;
	}
	*seconds = (unsigned)v;
	return true;
}

bool option_fence_timeout(const char *value, uint64_t *ns)
{
	char *rest;
	long v;

	errno = 0;
	v = strtol(value, &rest, 10);
	if (errno || *rest || !isdigit((unsigned char)*value) ||
	    v > 1000000000) {
		complain("--fence-timeout %s: want a number of milliseconds",
			 value);
		return false;
	}
	*ns = v ? (uint64_t)v * 1000000 : UINT64_MAX;
	return true;
}

bool option_iommu(const char *value, bool *iommu)
{
	*iommu = !strcmp(value, "virtio");
	if (*iommu || !strcmp(value, "none"))
		return true;
	complain("--iommu %s: want virtio or none", value);
	return false;
}

bool option_accel(const char *value, const char **accel)
{
	*accel = !strcmp(value, "kvm") ? "kvm" : "tcg";
	if (!strcmp(value, *accel))
		return true;
	complain("--accel %s: want tcg or kvm", value);
	return false;
}

bool option_file(const char *name, const char *value)
{
	struct stat st;

	if (!stat(value, &st)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : 0;
		if (!errno && !access(value, R_OK))
			return true;
	}
	complain("%s %s: %s", name, value, strerror(errno));
	return false;
}

/* Where it is opened a FIFO is not to catch us. */
static const char *image_fault(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	off_t len;

	if (fd < 0)
		return strerror(errno);
	len = lseek(fd, 0, SEEK_END);
	if (fstat(fd, &st))
		st.st_mode = 0;
	close(fd);
	if (S_ISDIR(st.st_mode))
		return strerror(EISDIR);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return "not a file or block device";
	if (len <= 0 || len % 512)
		return "not a raw image (its size is no multiple of 512)";
	return NULL;
}

bool option_image(const char *name, const char *value)
{
	const char *fault = image_fault(value);

	if (fault)
		complain("%s %s: %s", name, value, fault);
	return !fault;
}

bool option_folder(const char *name, const char *value)
{
	struct stat st;

	if (!stat(value, &st)) {
		errno = S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
		if (!errno && !access(value, R_OK | X_OK))
			return true;
	}
	complain("%s %s: %s", name, value, strerror(errno));
	return false;
}

static char *path_find(const char *program)
{
	const char *at = getenv("PATH");
	size_t n;
	char *path;

	for (; at && *at; at += n + (at[n] == ':')) {
		n = strcspn(at, ":");
		if (asprintf(&path, "%.*s/%s", (int)n, at, program) < 0)
			return NULL;
		if (n && !access(path, X_OK))
			return path;
		free(path);
	}
	return NULL;
}

bool option_program(const char *name, const char *value, char **path)
{
	free(*path);
	*path = strchr(value, '/') ? strdup(value) : path_find(value);
	if (*path)
		return option_file(name, *path);
	complain("%s %s: no such program in PATH", name, value);
	return false;
}
