/* SPDX-License-Identifier: BSD-2-Clause */
#include "function.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "say.h"

struct function function = {
	.vendor = 0x1234,
	.device = 0xda7e,
};

static bool sysfs_read(const char *path, char *text, size_t size)
{
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	n = read(fd, text, size - 1);
	close(fd);
	if (n < 0)
		return false;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return true;
}

static void sysfs_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		die("open %s: %s", path, strerror(errno));
	if (write(fd, text, strlen(text)) < 0)
		die("write \"%s\" to %s: %s", text, path, strerror(errno));
	close(fd);
}

void function_link(const char *name, char *text, size_t size)
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t n;
	const char *last;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", function.bdf,
		 name);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0) {
		text[0] = '\0';
		return;
	}
	target[n] = '\0';
	last = strrchr(target, '/');
	last = last ? last + 1 : target;
	if (strlen(last) >= size)
		die("%s: a name too long: %s", path, last);
	strcpy(text, last);
}

static unsigned int pci_id(const char *bdf, const char *name)
{
	char path[PATH_MAX], text[32];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, name);
	if (!sysfs_read(path, text, sizeof(text)))
		return 0;
	return (unsigned int)strtoul(text, NULL, 16);
}

void function_find(void)
{
	struct dirent *entry;
	DIR *dir = opendir("/sys/bus/pci/devices");

	if (!dir)
		die("open /sys/bus/pci/devices: %s", strerror(errno));
	while ((entry = readdir(dir))) {
		if (pci_id(entry->d_name, "vendor") == function.vendor &&
		    pci_id(entry->d_name, "device") == function.device)
			snprintf(function.bdf, sizeof(function.bdf), "%.31s",
				 entry->d_name);
	}
	closedir(dir);
	if (!function.bdf[0])
		die("this guest has no PCI function %04x:%04x", function.vendor,
		    function.device);
}

void function_bind(void)
{
	char path[PATH_MAX], driver[64];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override",
		 function.bdf);
	sysfs_write(path, "vfio-pci");
	function_link("driver", driver, sizeof(driver));
	if (driver[0] && strcmp(driver, "vfio-pci")) {
		snprintf(path, sizeof(path),
			 "/sys/bus/pci/devices/%s/driver/unbind", function.bdf);
		sysfs_write(path, function.bdf);
	}
	if (strcmp(driver, "vfio-pci"))
		sysfs_write("/sys/bus/pci/drivers_probe", function.bdf);
	function_link("driver", driver, sizeof(driver));
	if (strcmp(driver, "vfio-pci"))
		die("%s is bound to \"%s\" instead of vfio-pci", function.bdf,
		    driver);
}
