/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's parts, by the scripts of tools/guest: they are beside this
 * program in the build tree, in libexec/viommu when installed, or where
 * VIOMMU_LIBEXEC says.
 *
 * The base of the initramfs depends on nothing but the scripts and the kernel,
 * so it is cached under a digest of those.
 */
#include "kit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "process.h"
#include "say.h"
#include "sha256.h"

#define BASES_KEPT 3

static bool kit_broke(struct outcome *o, int error)
{
	if (error == -EINTR)
		return outcome_fail(o, EXIT_STOPPED, "interrupted");
	return outcome_fail(o, EXIT_WORK, "%s", strerror(-error));
}

/* -------------------------------------------------------- the scripts */

/* where and below, if the scripts are there; malloc'd. */
static char *folder_try(const char *where, const char *below)
{
	char *path, *script;

	if (asprintf(&path, "%s%s", where, below) < 0)
		return NULL;
	if (asprintf(&script, "%s/mkinitramfs", path) < 0) {
		free(path);
		return NULL;
	}
	if (access(script, X_OK)) {
		free(path);
		path = NULL;
	}
	free(script);
	return path;
}

static char *scripts_find(void)
{
	const char *given = getenv("VIOMMU_LIBEXEC");
	char self[PATH_MAX], *slash, *found = NULL;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (given && *given)
		return folder_try(given, "");
	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash)
			*slash = '\0';
		found = folder_try(self, "/guest");
		if (!found)
			found = folder_try(self, "/../libexec/viommu");
	}
	return found ? found : folder_try(VIOMMU_LIBEXECDIR, "");
}

/* --------------------------------------------------------------- parts */

/* key=value into the part of that name. */
static void part_take(void *arg, const char *line)
{
	struct kit *k = arg;
	const struct {
		const char *key;
		char **to;
	} parts[] = {
		{ "qemu=", &k->qemu },
		{ "qemu_version=", &k->qemu_version },
		{ "kernel=", &k->kernel },
		{ "kernel_version=", &k->kernel_version },
		{ "modules=", &k->modules },
		{ "busybox=", &k->busybox },
	};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		size_t n = strlen(parts[i].key);

		if (!strncmp(line, parts[i].key, n)) {
			free(*parts[i].to);
			*parts[i].to = strdup(line + n);
		}
	}
}

/* The end of what the kit said: its reason, if it fails. */
struct kit_run {
	struct kit *kit;
	char last[400];
};

static void kit_out(void *arg, const char *line)
{
	struct kit_run *run = arg;

	part_take(run->kit, line);
}

static void kit_err(void *arg, const char *line)
{
	struct kit_run *run = arg;

	say("%s", line);
	/* Indented lines explain the one before them. */
	if (!strncmp(line, "kit: ", 5) && line[5] != ' ')
		snprintf(run->last, sizeof(run->last), "%s", line + 5);
}

static bool kit_run(struct kit *k, const struct args *args, struct outcome *o)
{
	struct kit_run run = { .kit = k };
	struct process_config cfg = {
		.argv = args->v,
		.out = kit_out,
		.err = kit_err,
		.arg = &run,
	};
	int rc = process_run(&cfg);

	if (rc < 0)
		return kit_broke(o, rc);
	switch (rc) {
	case 0:
		break;
	case 2: /* something given does not fit */
	case 3: /* something is missing */
		return outcome_note(o, EXIT_MISSING, run.last);
	default:
		if (run.last[0])
			return outcome_note(o, EXIT_WORK, run.last);
		return outcome_fail(o, EXIT_WORK, "the kit failed");
	}
	if (!k->qemu || !k->qemu_version || !k->kernel || !k->kernel_version ||
	    !k->modules || !k->busybox)
		return outcome_fail(o, EXIT_WORK, "the kit told too little");
	return true;
}

static char *cache_find(const char *given)
{
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char *path = NULL;
	int n = -1;

	if (given)
		n = asprintf(&path, "%s", given);
	else if (xdg && *xdg)
		n = asprintf(&path, "%s/viommu", xdg);
	else if (home && *home)
		n = asprintf(&path, "%s/.cache/viommu", home);
	return n < 0 ? NULL : path;
}

bool kit_find(struct kit *k, const struct kit_config *cfg, struct outcome *o)
{
	struct args args = { .n = 0 };
	bool ok;

	memset(k, 0, sizeof(*k));
	k->scripts = scripts_find();
	if (!k->scripts)
		return outcome_fail(o, EXIT_MISSING,
				    "the guest's scripts are missing: set "
				    "VIOMMU_LIBEXEC to the folder they are in");
	k->cache = cache_find(cfg->cache);
	args_add(&args, "%s/kit", k->scripts);
	if (k->cache)
		args_add(&args, "--cache"), args_add(&args, "%s", k->cache);
	if (cfg->qemu)
		args_add(&args, "--qemu"), args_add(&args, "%s", cfg->qemu);
	if (cfg->kernel)
		args_add(&args, "--kernel"), args_add(&args, "%s", cfg->kernel);
	if (cfg->modules)
		args_add(&args, "--modules"),
			args_add(&args, "%s", cfg->modules);
	if (cfg->offline)
		args_add(&args, "--offline");
	if (cfg->debian12)
		args_add(&args, "--debian12-qemu");
	if (args.failed)
		ok = kit_broke(o, -ENOMEM);
	else
		ok = kit_run(k, &args, o);
	args_free(&args);
	return ok;
}

/* ----------------------------------------------------------- initramfs */

static void words_keep(void *arg, const char *line)
{
	char *last = arg;

	say_detail("%s", line);
	snprintf(last, 256, "%s", line);
}

static bool script_run(const struct args *args, struct outcome *o)
{
	char last[256] = "";
	struct process_config cfg = {
		.argv = args->v,
		.out = words_keep,
		.err = words_keep,
		.arg = last,
	};
	int rc = args->failed ? -ENOMEM : process_run(&cfg);

	if (rc < 0)
		return kit_broke(o, rc);
	return !rc ||
	       outcome_fail(o, EXIT_WORK, "making the initramfs: %s", last);
}

static int digest_add(struct sha256_ctx *s, const char *folder,
		      const char *name)
{
	char hex[SHA256_HEX], *path;
	int rc;

	if (asprintf(&path, "%s/%s", folder, name) < 0)
		return -ENOMEM;
	rc = sha256_file(path, hex);
	free(path);
	if (!rc)
		sha256_update(s, sizeof(hex), (const uint8_t *)hex);
	return rc;
}

/* Of all that goes into the base. */
static int base_digest(const struct kit *k, char hex[SHA256_HEX])
{
	static const char *const scripts[] = { "mkinitramfs", "init",
					       "viommu-witness" };
	struct sha256_ctx s;
	struct stat st;
	int rc = 0;

	sha256_init(&s);
	sha256_update(&s, strlen(k->kernel_version) + 1,
		      (const uint8_t *)k->kernel_version);
	sha256_update(&s, strlen(k->modules) + 1, (const uint8_t *)k->modules);
	if (stat(k->modules, &st))
		return -errno;
	sha256_update(&s, sizeof(st.st_mtim), (const uint8_t *)&st.st_mtim);
	if (stat(k->kernel, &st))
		return -errno;
	sha256_update(&s, sizeof(st.st_size), (const uint8_t *)&st.st_size);
	sha256_update(&s, sizeof(st.st_mtim), (const uint8_t *)&st.st_mtim);
	for (size_t i = 0; !rc && i < sizeof(scripts) / sizeof(*scripts); i++)
		rc = digest_add(&s, k->scripts, scripts[i]);
	if (!rc)
		rc = digest_add(&s, "", k->busybox);
	sha256_hex(&s, hex);
	return rc;
}

static int base_filter(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return !strncmp(entry->d_name, "initramfs-", 10) && dot &&
	       !strcmp(dot, ".cpio");
}

/* Remove the oldest bases: scripts change, and nobody else cleans up. */
static void bases_prune(const char *cache)
{
	int dir = open(cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC), n, left;
	struct dirent **list;
	struct stat st;

	n = scandir(cache, &list, base_filter, NULL);
	for (left = n; dir >= 0 && left > BASES_KEPT; left--) {
		int oldest = -1;
		time_t age = 0;

		for (int i = 0; i < n; i++)
			if (list[i]->d_name[0] &&
			    !fstatat(dir, list[i]->d_name, &st, 0) &&
			    (oldest < 0 || st.st_mtime < age)) {
				oldest = i;
				age = st.st_mtime;
			}
		if (oldest < 0)
			break;
		unlinkat(dir, list[oldest]->d_name, 0);
		list[oldest]->d_name[0] = '\0';
	}
	for (int i = 0; i < n; i++)
		free(list[i]);
	if (n >= 0)
		free(list);
	if (dir >= 0)
		close(dir);
}

static bool base_make(const struct kit *k, const char *out, struct outcome *o)
{
	struct args args = { .n = 0 };
	bool ok;

	say("Making the guest's initramfs for Linux %s", k->kernel_version);
	args_add(&args, "%s/mkinitramfs", k->scripts);
	args_add(&args, "--modules"), args_add(&args, "%s", k->modules);
	args_add(&args, "--kernel-version");
	args_add(&args, "%s", k->kernel_version);
	args_add(&args, "--busybox"), args_add(&args, "%s", k->busybox);
	args_add(&args, "--witness"),
		args_add(&args, "%s/viommu-witness", k->scripts);
	args_add(&args, "--init"), args_add(&args, "%s/init", k->scripts);
	args_add(&args, "-o"), args_add(&args, "%s", out);
	ok = script_run(&args, o);
	args_free(&args);
	return ok;
}

/* The base's name, made if need be; in the workdir where there is no cache
 * to write to. */
static char *base_find(const struct kit *k, const struct workdir *w,
		       struct outcome *o)
{
	char hex[SHA256_HEX], *path = NULL;
	int rc = base_digest(k, hex);

	if (rc) {
		kit_broke(o, rc);
		return NULL;
	}
	if (k->cache && (!mkdir(k->cache, 0755) || errno == EEXIST) &&
	    asprintf(&path, "%s/initramfs-%s-%.16s.cpio", k->cache,
		     k->kernel_version, hex) < 0)
		path = NULL;
	if (path && !access(path, R_OK))
		return path;
	if (!path || access(k->cache, W_OK)) {
		free(path);
		path = workdir_file(w, "base.cpio");
	}
	if (!path) {
		kit_broke(o, -ENOMEM);
		return NULL;
	}
	if (!base_make(k, path, o)) {
		free(path);
		return NULL;
	}
	if (k->cache)
		bases_prune(k->cache);
	return path;
}

static bool overlay_make(const struct kit *k, const char *config,
			 const char *manifest, const char *out,
			 struct outcome *o)
{
	struct args args = { .n = 0 };
	bool ok;

	args_add(&args, "%s/mkinitramfs", k->scripts);
	args_add(&args, "--overlay");
	args_add(&args, "--add"), args_add(&args, "%s:/viommu/config", config);
	if (manifest) {
		args_add(&args, "--add");
		args_add(&args, "%s:/viommu/manifest.sha256", manifest);
	}
	args_add(&args, "-o"), args_add(&args, "%s", out);
	ok = script_run(&args, o);
	args_free(&args);
	return ok;
}

static int file_append(const char *from, const char *to)
{
	static char buf[1 << 18];
	int in = open(from, O_RDONLY | O_CLOEXEC), out, rc = 0;
	ssize_t n;

	if (in < 0)
		return -errno;
	out = open(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (out < 0)
		rc = -errno;
	while (!rc && (n = read(in, buf, sizeof(buf)))) {
		errno = ENOSPC;
		if (n < 0 || write(out, buf, (size_t)n) != n)
			rc = -errno;
	}
	close(in);
	if (out >= 0)
		close(out);
	return rc;
}

char *kit_initrd(const struct kit *k, const struct workdir *w,
		 const char *config, const char *manifest, struct outcome *o)
{
	char *base = base_find(k, w, o);
	char *overlay = workdir_file(w, "run.cpio");
	char *initrd = workdir_file(w, "initrd");
	bool ok = false;
	int rc;

	if (base && overlay && initrd &&
	    overlay_make(k, config, manifest, overlay, o)) {
		rc = file_append(base, initrd);
		if (!rc)
			rc = file_append(overlay, initrd);
		ok = !rc || kit_broke(o, rc);
	}
	free(base);
	free(overlay);
	if (!ok) {
		free(initrd);
		initrd = NULL;
	}
	return initrd;
}

void kit_free(struct kit *k)
{
	free(k->scripts);
	free(k->cache);
	free(k->qemu);
	free(k->qemu_version);
	free(k->kernel);
	free(k->kernel_version);
	free(k->modules);
	free(k->busybox);
	memset(k, 0, sizeof(*k));
}
