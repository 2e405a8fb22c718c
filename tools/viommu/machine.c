/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine: the PCI functions that a guest gets from us, on its root bus.
 *
 *      00:03.0  virtio-iommu   (not with --iommu none)
 *      00:04.0  virtio-blk     behind it
 *      00:05.0  dmatest        behind it
 *
 * One instance for all.  Each function has a socket, a view of RAM (each
 * client brings its own), a loop and a thread to run it: one that waits for
 * its disk keeps no other from answering.  The machine itself is the main
 * thread's; what the functions' threads tell goes through a pipe.
 */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <viommu/serve/loop.h>
#include <viommu/serve/vfio_user.h>
#include <viommu/serve/virtio_iommu.h>

#include "say.h"

#define REQUESTER(slot) ((slot) << 3)

/*
 * As far as Linux walks four levels on hardware.  All of 2^64 would do for
 * Linux, too; but real IOMMUs reach no further, and with less a device with
 * 64-bit addresses tries what hardware never sees.
 */
#define INPUT_LAST ((1ull << 48) - 1)

/* Where x86 interrupts are writes. */
#define MSI_START 0xfee00000u
#define MSI_LAST  0xfeefffffu

enum {
	IOMMU,
	BLK,
	DMATEST,
	FUNCTIONS,
};

struct function {
	const char *name;
	unsigned slot;
	bool wanted;
	struct machine *machine;
	char path[108];
	struct viommu_loop *loop;
	struct viommu_memory *memory;
	struct viommu_endpoint *endpoint; /* not the IOMMU's */
	struct viommu_vfio_user *server;
	pthread_t thread;
	bool running;
};

struct machine {
	struct viommu *vi;
	struct viommu_space *identity; /* without an IOMMU */
	struct viommu_virtio_iommu *iommu;
	struct viommu_blk *blk;
	struct viommu_dmatest *dmatest;
	struct function f[FUNCTIONS];
	int events[2];
};

/* What goes through the pipe: one write, so it arrives whole. */
struct note {
	unsigned function;
	bool connected, broken;
	char why[200];
};

static void note_send(struct function *f, bool connected, bool broken,
		      const char *why)
{
	struct note n;

	memset(&n, 0, sizeof(n));
	n.function = (unsigned)(f - f->machine->f);
	n.connected = connected;
	n.broken = broken;
	snprintf(n.why, sizeof(n.why), "%s", why ? why : "");
	/* Full: hundreds are waiting, and one more tells nothing new. */
	if (write(f->machine->events[1], &n, sizeof(n)) < 0)
		return;
}

static void function_state(void *arg, bool connected, const char *why)
{
	note_send(arg, connected, false, why);
}

__attribute__((format(printf, 3, 0))) static void
log_write(void *arg, enum viommu_log_level level, const char *fmt, va_list ap)
{
	char line[512];

	(void)arg;
	if (level > VIOMMU_LOG_WARN && !say_verbose())
		return;
	vsnprintf(line, sizeof(line), fmt, ap);
	relay(stderr, "viommu:", line);
}

/* Refused accesses go to the guest, through its IOMMU if it has one. */
static void function_fault(void *arg, const struct viommu_fault *fault)
{
	struct function *f = arg;

	say_detail("%s: fault (%s) at 0x%llx", f->name,
		   viommu_fault_name(fault->reason),
		   (unsigned long long)fault->start);
	if (f->machine->iommu)
		viommu_virtio_fault(
			viommu_virtio_iommu_device(f->machine->iommu), fault);
}

static struct viommu_pci *function_pci(struct machine *m, int index);

/* It does not let go.  The guest is told that its IOMMU failed it, and can
 * reset the function; there is nothing better for us to do. */
static enum viommu_verdict function_expire(void *arg,
					   const struct viommu_expiry *e)
{
	struct function *f = arg;

	complain("%s: still touches 0x%llx to 0x%llx, %llu ms after it was "
		 "taken away: no more DMA until it is reset",
		 f->name, (unsigned long long)e->start,
		 (unsigned long long)e->last,
		 (unsigned long long)(e->waited_ns / 1000000));
	viommu_pci_give_up(function_pci(f->machine, (int)(f - f->machine->f)));
	return VIOMMU_GIVE_UP;
}

static void *function_run(void *arg)
{
	struct function *f = arg;
	int rc;

	pthread_setname_np(pthread_self(), f->name);
	rc = viommu_loop_run(f->loop);
	if (rc)
		note_send(f, false, true, strerror(-rc));
	return NULL;
}

/* -------------------------------------------------------------- making */

static int instance_make(struct machine *m, uint64_t fence_timeout_ns)
{
	const struct viommu_env env = {
		.size = sizeof(env),
		.log = log_write,
	};
	const struct viommu_config cfg = {
		.size = sizeof(cfg),
		.env = &env,
		.fence_timeout_ns = fence_timeout_ns,
	};

	return viommu_create(&cfg, &m->vi);
}

static int identity_make(struct machine *m)
{
	const struct viommu_space_config cfg = {
		.size = sizeof(cfg),
		.kind = VIOMMU_SPACE_IDENTITY,
		.page_sizes = ~0ull << 12,
	};

	return viommu_space_create(m->vi, &cfg, &m->identity);
}

/* Without bypass functions can do no DMA at all until Linux attaches them.
 * The firmware finds the disk, but must not be made to read it: SeaBIOS waits
 * for the answer for ever. */
static int iommu_make(struct machine *m, bool bypass)
{
	struct function *f = &m->f[IOMMU];
	const struct viommu_virtio_config virtio = {
		.size = sizeof(virtio),
		.input_last = INPUT_LAST,
		.bypass = bypass,
	};
	const struct viommu_virtio_iommu_config cfg = {
		.size = sizeof(cfg),
		.name = f->name,
		.loop = f->loop,
		.vi = m->vi,
		.memory = f->memory,
		.id = REQUESTER(f->slot),
		.virtio = &virtio,
	};

	return viommu_virtio_iommu_create(&cfg, &m->iommu);
}

static int endpoint_attach(struct machine *m, struct viommu_endpoint *ep)
{
	struct viommu_fence fence;
	int rc;

	if (m->iommu)
		return viommu_virtio_add(viommu_virtio_iommu_device(m->iommu),
					 ep);
	viommu_fence_init(&fence);
	rc = viommu_endpoint_attach(ep, m->identity, &fence);
	viommu_fence_commit(&fence, NULL, NULL);
	if (viommu_fence_wait(&fence, -1))
		return -ETIMEDOUT;
	return rc;
}

static int endpoint_make(struct machine *m, struct function *f)
{
	const struct viommu_endpoint_config cfg = {
		.size = sizeof(cfg),
		.id = REQUESTER(f->slot),
		.pasid = VIOMMU_NO_PASID,
		.memory = f->memory,
		.fault = function_fault,
		.expire = function_expire,
		.arg = f,
	};
	const struct viommu_reserved msi = {
		.start = MSI_START,
		.last = MSI_LAST,
		.kind = VIOMMU_RESERVED_MSI,
	};
	int rc = viommu_endpoint_create(m->vi, &cfg, &f->endpoint);

	if (!rc && m->iommu)
		rc = viommu_endpoint_reserve(f->endpoint, &msi);
	return rc ? rc : endpoint_attach(m, f->endpoint);
}

static int blk_make(struct machine *m, const char *disk)
{
	struct function *f = &m->f[BLK];
	const struct viommu_blk_config cfg = {
		.size = sizeof(cfg),
		.name = f->name,
		.loop = f->loop,
		.vi = m->vi,
		.memory = f->memory,
		.endpoint = f->endpoint,
		.path = disk,
		.serial = "viommu",
	};

	return viommu_blk_create(&cfg, &m->blk);
}

static int dmatest_make(struct machine *m)
{
	struct function *f = &m->f[DMATEST];
	const struct viommu_dmatest_config cfg = {
		.size = sizeof(cfg),
		.name = f->name,
		.loop = f->loop,
		.vi = m->vi,
		.memory = f->memory,
		.endpoint = f->endpoint,
	};

	return viommu_dmatest_create(&cfg, &m->dmatest);
}

static struct viommu_pci *function_pci(struct machine *m, int index)
{
	switch (index) {
	case IOMMU:
		return viommu_virtio_iommu_pci(m->iommu);
	case BLK:
		return viommu_blk_pci(m->blk);
	default:
		return viommu_dmatest_pci(m->dmatest);
	}
}

static int server_make(struct machine *m, int index)
{
	struct function *f = &m->f[index];
	const struct viommu_vfio_user_config cfg = {
		.size = sizeof(cfg),
		.path = f->path,
		.pci = function_pci(m, index),
		.state = function_state,
		.arg = f,
	};

	return viommu_vfio_user_create(&cfg, &f->server);
}

static int function_make(struct machine *m, int index,
			 const struct machine_config *cfg)
{
	struct function *f = &m->f[index];
	int rc = viommu_loop_create(&f->loop);

	if (!rc)
		rc = viommu_memory_create(m->vi, &f->memory);
	if (!rc && index == IOMMU)
		rc = iommu_make(m, cfg->bypass);
	else if (!rc)
		rc = endpoint_make(m, f);
	if (!rc && index == BLK)
		rc = blk_make(m, cfg->disk);
	if (!rc && index == DMATEST)
		rc = dmatest_make(m);
	return rc;
}

static void machine_describe(struct machine *m,
			     const struct machine_config *cfg)
{
	m->f[IOMMU] = (struct function){
		.name = "virtio-iommu",
		.slot = 3,
		.wanted = cfg->iommu,
	};
	m->f[BLK] = (struct function){
		.name = "virtio-blk",
		.slot = 4,
		.wanted = cfg->disk != NULL,
	};
	m->f[DMATEST] = (struct function){
		.name = "dmatest",
		.slot = 5,
		.wanted = true,
	};
	for (int i = 0; i < FUNCTIONS; i++)
		m->f[i].machine = m;
}

/* Why a function could not be made, for people. */
static bool function_failed(const struct function *f, int rc,
			    const struct machine_config *cfg, struct outcome *o)
{
	if (f == &f->machine->f[BLK] && rc == -EBUSY)
		return outcome_fail(o, EXIT_USAGE,
				    "%s: another process is using it",
				    cfg->disk);
	if (f == &f->machine->f[BLK] && (rc == -ENOSYS || rc == -EPERM))
		return outcome_fail(o, EXIT_MISSING,
				    "%s: this kernel or container does not "
				    "allow io_uring",
				    f->name);
	if (f == &f->machine->f[BLK] && rc == -EINVAL)
		return outcome_fail(o, EXIT_USAGE, "%s: not a raw image",
				    cfg->disk);
	if (f == &f->machine->f[BLK] && rc != -ENOMEM)
		return outcome_fail(o, EXIT_USAGE, "%s: %s", cfg->disk,
				    strerror(-rc));
	return outcome_fail(o, EXIT_WORK, "%s: %s", f->name, strerror(-rc));
}

static bool functions_make(struct machine *m, const struct machine_config *cfg,
			   struct outcome *o)
{
	for (int i = 0; i < FUNCTIONS; i++) {
		struct function *f = &m->f[i];
		int rc;

		if (!f->wanted)
			continue;
		rc = function_make(m, i, cfg);
		if (rc)
			return function_failed(f, rc, cfg, o);
	}
	return true;
}

static bool servers_make(struct machine *m, const struct machine_config *cfg,
			 struct outcome *o)
{
	for (int i = 0; i < FUNCTIONS; i++) {
		struct function *f = &m->f[i];
		int n, rc;

		if (!f->wanted)
			continue;
		n = snprintf(f->path, sizeof(f->path), "%s/%s.sock",
			     cfg->folder, f->name);
		if ((size_t)n >= sizeof(f->path))
			return outcome_fail(o, EXIT_USAGE,
					    "%s: too long a name for a socket",
					    cfg->folder);
		rc = server_make(m, i);
		if (rc == -EADDRINUSE)
			return outcome_fail(o, EXIT_USAGE,
					    "%s is in use: is another viommu "
					    "serving there?",
					    f->path);
		if (rc)
			return outcome_fail(o, EXIT_USAGE, "%s: %s", f->path,
					    strerror(-rc));
	}
	return true;
}

static bool threads_make(struct machine *m, struct outcome *o)
{
	for (int i = 0; i < FUNCTIONS; i++) {
		struct function *f = &m->f[i];
		int rc;

		if (!f->wanted)
			continue;
		rc = pthread_create(&f->thread, NULL, function_run, f);
		if (rc)
			return outcome_fail(o, EXIT_WORK, "a thread: %s",
					    strerror(rc));
		f->running = true;
	}
	return true;
}

bool machine_create(const struct machine_config *cfg, struct machine **out,
		    struct outcome *o)
{
	struct machine *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return outcome_fail(o, EXIT_WORK, "no memory");
	m->events[0] = m->events[1] = -1;
	machine_describe(m, cfg);
	rc = pipe2(m->events, O_NONBLOCK | O_CLOEXEC) ? -errno : 0;
	if (!rc)
		rc = instance_make(m, cfg->fence_timeout_ns);
	if (!rc && !cfg->iommu)
		rc = identity_make(m);
	if (rc)
		outcome_fail(o, EXIT_WORK, "the instance: %s", strerror(-rc));
	if (rc || !functions_make(m, cfg, o) || !servers_make(m, cfg, o) ||
	    !threads_make(m, o)) {
		machine_destroy(m);
		return false;
	}
	*out = m;
	return true;
}

/* ------------------------------------------------------------- unmaking */

static void threads_stop(struct machine *m)
{
	for (int i = 0; i < FUNCTIONS; i++)
		if (m->f[i].running)
			viommu_loop_stop(m->f[i].loop);
	for (int i = 0; i < FUNCTIONS; i++)
		if (m->f[i].running)
			pthread_join(m->f[i].thread, NULL);
}

/* Those behind the IOMMU first: nothing holds a map when it goes. */
static void functions_destroy(struct machine *m, struct viommu_fence *fence)
{
	struct viommu_virtio *device;

	viommu_vfio_user_destroy(m->f[BLK].server);
	viommu_blk_destroy(m->blk);
	viommu_vfio_user_destroy(m->f[DMATEST].server);
	viommu_dmatest_destroy(m->dmatest);
	viommu_vfio_user_destroy(m->f[IOMMU].server);
	if (!m->iommu)
		return;
	device = viommu_virtio_iommu_device(m->iommu);
	for (int i = 0; i < FUNCTIONS; i++)
		if (m->f[i].endpoint)
			viommu_virtio_remove(device, m->f[i].endpoint, fence);
}

/* Once given up on, it comes to its end all the same. */
static void fence_end(struct viommu_fence *fence)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	viommu_fence_commit(fence, NULL, NULL);
	while (viommu_fence_wait(fence, -1))
		nanosleep(&moment, NULL);
	viommu_fence_init(fence);
}

static void instance_destroy(struct machine *m)
{
	struct viommu_fence fence;

	viommu_fence_init(&fence);
	functions_destroy(m, &fence);
	fence_end(&fence);
	viommu_virtio_iommu_destroy(m->iommu);
	for (int i = 0; i < FUNCTIONS; i++)
		if (m->f[i].endpoint)
			viommu_endpoint_destroy(m->f[i].endpoint, &fence);
	if (m->identity)
		viommu_space_destroy(m->identity, &fence);
	fence_end(&fence);
	for (int i = 0; i < FUNCTIONS; i++)
		if (m->f[i].memory)
			viommu_memory_destroy(m->f[i].memory, &fence);
	fence_end(&fence);
	for (int i = 0; i < FUNCTIONS; i++)
		viommu_loop_destroy(m->f[i].loop);
	viommu_destroy(m->vi);
}

void machine_destroy(struct machine *m)
{
	if (!m)
		return;
	threads_stop(m);
	if (m->vi)
		instance_destroy(m);
	for (int i = 0; i < 2; i++)
		if (m->events[i] >= 0)
			close(m->events[i]);
	free(m);
}

/* -------------------------------------------------------------- looking */

void machine_read_stats(struct machine *m, struct machine_stats *s)
{
	memset(s, 0, sizeof(*s));
	viommu_read_stats(m->vi, &s->core);
	if (m->iommu)
		viommu_virtio_read_stats(viommu_virtio_iommu_device(m->iommu),
					 &s->virtio);
	if (m->blk)
		viommu_blk_read_stats(m->blk, &s->blk);
	viommu_dmatest_read_stats(m->dmatest, &s->dmatest);
	if (m->f[BLK].server)
		viommu_vfio_user_read_stats(m->f[BLK].server, &s->disk_client);
	if (m->f[IOMMU].server)
		viommu_vfio_user_read_stats(m->f[IOMMU].server,
					    &s->iommu_client);
}

int machine_event_fd(const struct machine *m)
{
	return m->events[0];
}

bool machine_next_event(struct machine *m, struct machine_event *e)
{
	struct note n;

	if (read(m->events[0], &n, sizeof(n)) != (ssize_t)sizeof(n))
		return false;
	e->function = m->f[n.function].name;
	e->connected = n.connected;
	e->broken = n.broken;
	memcpy(e->why, n.why, sizeof(e->why));
	return true;
}

bool machine_function(const struct machine *m, unsigned index,
		      const char **socket, unsigned *slot)
{
	for (int i = 0; i < FUNCTIONS; i++) {
		if (!m->f[i].wanted || index--)
			continue;
		*socket = m->f[i].path;
		*slot = m->f[i].slot;
		return true;
	}
	return false;
}

void machine_viot(const struct machine *m, struct viot *v)
{
	*v = (struct viot){
		.iommu = (uint16_t)REQUESTER(m->f[IOMMU].slot),
		.start = (uint16_t)REQUESTER(
			m->f[m->f[BLK].wanted ? BLK : DMATEST].slot),
		.last = (uint16_t)REQUESTER(m->f[DMATEST].slot),
	};
}
