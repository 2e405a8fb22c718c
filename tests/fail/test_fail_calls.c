/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System calls that fail for a reason, and what comes of it: files that cannot
 * be mapped, a kernel without membarrier(2), and one that takes it away.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc.h"
#include "core/instance.h"
#include "core/pin.h"
#include "world.h"

static struct viommu_config config(uint32_t barrier)
{
	return (struct viommu_config){ .size = sizeof(struct viommu_config),
				       .env = &alloc_env,
				       .barrier = barrier,
				       .max_threads = 2 };
}

/* ---- files ------------------------------------------------------------ */

static int add_file(struct viommu *vi, int fd, uint64_t gpa)
{
	return viommu_memory_add(
		viommu_memory_of(vi),
		&(struct viommu_region){ .size = sizeof(struct viommu_region),
					 .gpa = gpa,
					 .len = 4096,
					 .prot = VIOMMU_READ | VIOMMU_WRITE,
					 .fd = fd });
}

static void remove_file(struct viommu *vi, uint64_t gpa)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(
		viommu_memory_remove(viommu_memory_of(vi), gpa, 4096, &f), 0);
	fence_run(&f);
}

static void files_that_cannot_be_mapped(void **state)
{
	static const struct {
		enum alloc_call call;
		int err, rc;
	} row[] = {
		{ CALL_MADVISE, EINVAL, 0 }, /* not for its sake */
		{ CALL_MMAP, ENOMEM, -ENOMEM },
		{ CALL_MMAP, EACCES, -EACCES },
		{ CALL_MMAP, EPERM, -EACCES },
		{ CALL_MMAP, ENODEV, -EBADF },
		{ CALL_MMAP, EBADF, -EBADF },
		{ CALL_FSTAT, EBADF, -EBADF },
		{ CALL_GETFL, EBADF, -EBADF },
		{ CALL_GET_SEALS, EINVAL, 0 }, /* no memfd: not sealed */
	};
	struct viommu_config cfg = config(VIOMMU_BARRIER_AUTO);
	int fd = memfd_create("ram", MFD_CLOEXEC);
	struct world w;
	size_t live = 0;
	char c;

	(void)state;
	assert_int_equal(ftruncate(fd, 4096), 0);
	world_make(&w, &cfg, 4096);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		alloc_fail_call(row[i].call, row[i].err);
		assert_int_equal(add_file(w.vi, fd, 1 << 20), row[i].rc);
		alloc_fail_call(row[i].call, 0);
		assert_int_equal(viommu_memory_read(viommu_memory_of(w.vi),
						    1 << 20, &c, 1),
				 row[i].rc ? -EFAULT : 0);
		if (!row[i].rc)
			remove_file(w.vi, 1 << 20);
		/* tables that went to the pool are there from the first on */
		live = live ? live : alloc_live();
		assert_int_equal(alloc_live(), live);
	}
	world_free(&w);
	close(fd);
}

/* Where there is no room for all of it: what is needed. */
static void a_file_in_part(void **state)
{
	struct viommu_config cfg = config(VIOMMU_BARRIER_AUTO);
	int fd = memfd_create("ram", MFD_CLOEXEC);
	bool found = false;
	struct world w;
	uint64_t val = 0;

	(void)state;
	assert_int_equal(ftruncate(fd, 1 << 30), 0);
	world_make(&w, &cfg, 4096);
	for (unsigned n = 1; n < 100 && !found; n++) {
		int rc;

		alloc_fail(n, ALLOC_ONCE);
		rc = add_file(w.vi, fd, 1 << 20);
		found = alloc_failed_calls() & 1u << CALL_MMAP;
		alloc_fail(0, ALLOC_ONCE);
		if (rc)
			assert_false(found);
		else if (!found)
			remove_file(w.vi, 1 << 20);
	}
	assert_true(found);
	assert_int_equal(viommu_memory_write(viommu_memory_of(w.vi),
					     (1 << 20) + 4095, "x", 1),
			 0);
	assert_int_equal(pread(fd, &val, 1, 4095), 1);
	assert_int_equal(val, 'x');
	/* that part is mapped once, as ever */
	assert_int_equal(add_file(w.vi, fd, 2 << 20), 0);
	assert_int_equal(alloc_calls(CALL_MMAP), 0);
	remove_file(w.vi, 1 << 20);
	remove_file(w.vi, 2 << 20);
	world_free(&w);
	close(fd);
}

/* ---- no membarrier ---------------------------------------------------- */

static void asymmetric_needs_membarrier(void **state)
{
	struct viommu_config cfg = config(VIOMMU_BARRIER_ASYMMETRIC);
	size_t live = alloc_live();
	struct viommu *vi;

	(void)state;
	alloc_fail_call(CALL_MEMBARRIER, ENOSYS);
	assert_int_equal(viommu_create(&cfg, &vi), -EOPNOTSUPP);
	alloc_fail_call(CALL_MEMBARRIER, 0);
	assert_int_equal(alloc_live(), live);
	assert_int_equal(viommu_create(&cfg, &vi), 0);
	viommu_destroy(vi);
	assert_int_equal(alloc_live(), live);
}

static void hold(struct world *w, struct viommu_dma *d, struct iovec *iov)
{
	*d = (struct viommu_dma){ .ep = w->ep,
				  .len = 8,
				  .prot = VIOMMU_READ | VIOMMU_WRITE,
				  .max_iov = 1,
				  .iov = iov };
	assert_int_equal(viommu_dma_map(d), 0);
}

/* Without membarrier accesses publish fenced, however rare the fences. */
static void others_do_without(void **state)
{
	struct viommu_config cfg = config(VIOMMU_BARRIER_AUTO);
	struct viommu_fence f;
	struct viommu_dma d;
	struct iovec iov;
	struct world w;
	uint64_t val;

	(void)state;
	alloc_fail_call(CALL_MEMBARRIER, EPERM);
	world_make(&w, &cfg, 4096);
	alloc_fail_call(CALL_BARRIER, EPERM);
	alloc_fail(0, ALLOC_ONCE);
	assert_int_equal(map_rw(&w, 0, 4095, 0), 0);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(viommu_dma_load(w.ep, 0, 8, &val), 0);
	assert_false(atomic_load(&w.vi->seats[1].asymmetric));
	hold(&w, &d, &iov);
	viommu_fence_init(&f);
	assert_int_equal(
		viommu_memory_dirty_start(viommu_memory_of(w.vi), 0, &f), 0);
	assert_int_equal(viommu_space_unmap(w.space, 0, 4095, &f), 4096);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	viommu_dma_unmap(&d, 8);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(viommu_memory_dirty_fetch(viommu_memory_of(w.vi), 0,
						   4096, &val),
			 1);
	viommu_fence_init(&f);
	viommu_memory_dirty_stop(viommu_memory_of(w.vi), &f);
	fence_run(&f);
	assert_int_equal(alloc_calls(CALL_BARRIER), 0);
	alloc_fail_call(CALL_BARRIER, 0);
	alloc_fail_call(CALL_MEMBARRIER, 0);
	world_free(&w);
}

/* The same where there is one: it is used. */
static void auto_turns_asymmetric(void **state)
{
	struct viommu_config cfg = config(VIOMMU_BARRIER_AUTO);
	struct world w;
	uint64_t val;

	(void)state;
	world_make(&w, &cfg, 4096);
	assert_int_equal(map_rw(&w, 0, 4095, 0), 0);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(viommu_dma_load(w.ep, 0, 8, &val), 0);
	assert_true(atomic_load(&w.vi->seats[1].asymmetric));
	world_free(&w);
}

/* ---- membarrier taken away -------------------------------------------- */

static sem_t sits, leave;

static void *sit(void *arg)
{
	struct world *w = arg;
	uint64_t val;

	assert_int_equal(viommu_dma_load(w->ep, 0, 8, &val), 0);
	sem_post(&sits);
	sem_wait(&leave);
	return NULL;
}

/* In a process of its own: another thread's seat is asymmetric, and the barrier
 * fails.  What it says goes to @fd. */
static void take_without_barrier(int fd, int err)
{
	struct viommu_config cfg = config(VIOMMU_BARRIER_ASYMMETRIC);
	struct world w;
	pthread_t t;

	dup2(fd, STDERR_FILENO);
	world_make(&w, &cfg, 4096);
	if (map_rw(&w, 0, 4095, 0))
		_exit(1);
	sem_init(&sits, 0, 0);
	sem_init(&leave, 0, 0);
	if (pthread_create(&t, NULL, sit, &w))
		_exit(1);
	sem_wait(&sits);
	alloc_fail_call(CALL_BARRIER, err);
	unmap(&w, 0, 4095);
	_exit(0); /* done, and nobody knows whether it is so */
}

static void a_law_that_cannot_be_kept_is_not_broken(void **state)
{
	char said[256] = "";
	int status, fds[2];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		take_without_barrier(fds[1], EPERM);
	close(fds[1]);
	assert_true(read(fds[0], said, sizeof(said) - 1) > 0);
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_non_null(strstr(said, "membarrier"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_that_cannot_be_mapped),
		cmocka_unit_test(a_file_in_part),
		cmocka_unit_test(asymmetric_needs_membarrier),
		cmocka_unit_test(others_do_without),
		cmocka_unit_test(auto_turns_asymmetric),
		cmocka_unit_test(a_law_that_cannot_be_kept_is_not_broken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
