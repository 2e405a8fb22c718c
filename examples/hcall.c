/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VMM's vCPU threads and its I/O thread: a device holds a DMA map, one vCPU
 * takes the page back and is parked, the other one goes on, and the I/O
 * thread's unmap resumes the first.  Exits with 0 if that was the order.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <viommu.h>
#include <viommu/guest/tce.h>

#define LIOBN 0x80000000
#define PAGES 16

static char ram[PAGES << 12] __attribute__((aligned(4096))); /* at GPA 0 */
static struct viommu_tce *tce;
static _Atomic(int) wrong;

enum what {
	PARKED,
	WENT_ON,
	UNMAPPED,
	RESUMED
};

static const char *const names[] = {
	"vCPU 0 takes the page from the device, and is parked",
	"vCPU 1 maps, remaps and clears others",
	"the I/O thread is through with the page",
	"vCPU 0 is resumed",
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned happened;

static void happen(enum what what)
{
	pthread_mutex_lock(&lock);
	printf("%u: %s\n", happened, names[what]);
	wrong |= happened++ != what;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void await(enum what what)
{
	pthread_mutex_lock(&lock);
	while (happened <= what)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

struct vcpu {
	struct viommu_tce_call call;
	int64_t code; /* for R3; VIOMMU_PENDING: it must not run */
};

/* On the I/O thread as a rule: it must not block. */
static void resume(struct viommu_tce_call *call, int64_t code)
{
	pthread_mutex_lock(&lock);
	((struct vcpu *)call->arg)->code = code;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

/* A vCPU's exit handler.  The call has no release: this thread keeps it, and
 * waits as long as it takes. */
static int64_t put_tce(struct vcpu *v, uint64_t ioba, uint64_t entry)
{
	const uint64_t args[4] = { LIOBN, ioba, entry };
	int64_t code;

	v->code = VIOMMU_PENDING;
	v->call.done = resume;
	v->call.arg = v;
	code = viommu_tce_hcall(tce, VIOMMU_H_PUT_TCE, args, &v->call);
	if (code != VIOMMU_PENDING)
		return code;
	happen(PARKED);
	pthread_mutex_lock(&lock);
	while (v->code == VIOMMU_PENDING)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	happen(RESUMED);
	return v->code;
}

static void *vcpu0(void *arg)
{
	wrong |= put_tce(arg, 0, 0) != VIOMMU_H_SUCCESS;
	return NULL;
}

static void *vcpu1(void *arg)
{
	await(PARKED);
	for (uint64_t i = 0; i < 1000; i++)
		wrong |= put_tce(arg, (1 + i % 7) << 12, i % 3) != 0;
	happen(WENT_ON);
	return NULL;
}

int main(void)
{
	struct viommu_region r = { .size = sizeof(r),
				   .len = sizeof(ram),
				   .host = ram,
				   .prot = VIOMMU_READ | VIOMMU_WRITE };
	struct viommu_tce_bus bus = { .size = sizeof(bus), .liobn = LIOBN };
	struct viommu_endpoint_config ec = { .size = sizeof(ec), .id = 8 };
	struct vcpu vcpus[2] = { 0 };
	pthread_t threads[2];
	struct iovec iov;
	struct viommu_dma d = {
		.len = 5, .prot = VIOMMU_WRITE, .iov = &iov, .max_iov = 1
	};
	struct viommu_fence f;
	struct viommu *vi;

	viommu_fence_init(&f);
	if (viommu_create(NULL, &vi) ||
	    viommu_memory_add(viommu_memory_of(vi), &r) ||
	    viommu_tce_create(vi, NULL, &tce) ||
	    viommu_tce_add_bus(tce, &bus) ||
	    viommu_endpoint_create(vi, &ec, &d.ep) ||
	    viommu_endpoint_attach(d.ep, viommu_tce_space(tce, 0), &f))
		return 1;

	/* the guest maps page 0, and a request of the device's is under way */
	if (put_tce(&vcpus[0], 0, 0x3003) || viommu_dma_map(&d))
		return 1;
	pthread_create(&threads[0], NULL, vcpu0, &vcpus[0]);
	pthread_create(&threads[1], NULL, vcpu1, &vcpus[1]);
	await(WENT_ON);
	memcpy(iov.iov_base, "hello", 5);
	happen(UNMAPPED);
	viommu_dma_unmap(&d, 5);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	wrong |= !viommu_dma_write(d.ep, 0, "late!", 5);

	viommu_endpoint_destroy(d.ep, &f);
	viommu_tce_destroy(tce, &f);
	viommu_fence_commit(&f, NULL, NULL);
	viommu_destroy(vi);
	return wrong || memcmp(ram + 0x3000, "hello", 5) != 0;
}
