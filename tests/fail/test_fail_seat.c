/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libc cannot remember a thread's seat (it allocates for that, in a process
 * with many keys): the access says so, and the seat is not lost with the
 * thread.  Or there is no key left to remember it by: then there is no
 * instance.
 */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "world.h"

int __wrap_pthread_setspecific(pthread_key_t key, const void *val);
int __real_pthread_setspecific(pthread_key_t key, const void *val);

int __wrap_pthread_key_create(pthread_key_t *key, void (*fini)(void *));
int __real_pthread_key_create(pthread_key_t *key, void (*fini)(void *));

static int fails;
/* made last: a sanitizer has some of its own, and makes them first */
static pthread_key_t ours;

int __wrap_pthread_key_create(pthread_key_t *key, void (*fini)(void *))
{
	int rc = fails ? EAGAIN : __real_pthread_key_create(key, fini);

	if (!rc)
		ours = *key;
	return rc;
}

int __wrap_pthread_setspecific(pthread_key_t key, const void *val)
{
	return fails && key == ours ? ENOMEM
				    : __real_pthread_setspecific(key, val);
}

static void *read_a_byte(void *arg)
{
	struct world *w = arg;
	char c;

	return (void *)(intptr_t)viommu_dma_read(w->ep, 0, &c, 1);
}

static intptr_t in_a_thread(struct world *w)
{
	pthread_t t;
	void *rc;

	assert_int_equal(pthread_create(&t, NULL, read_a_byte, w), 0);
	assert_int_equal(pthread_join(t, &rc), 0);
	return (intptr_t)rc;
}

static void seat_is_not_lost(void **state)
{
	struct viommu_config cfg = { .size = sizeof(cfg), .max_threads = 1 };
	struct world w;

	(void)state;
	world_make(&w, &cfg, 4096);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	fails = 1;
	assert_int_equal(in_a_thread(&w), -EAGAIN);
	fails = 0;
	/* the one seat there is goes from thread to thread */
	for (int i = 0; i < 3; i++)
		assert_int_equal(in_a_thread(&w), 0);
	world_free(&w);
}

/* In a process of its own: the key is made once.  First of all tests. */
static void no_key_no_instance(void **state)
{
	struct viommu *vi = NULL;
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		fails = 1;
		_exit(viommu_create(NULL, &vi) == -ENOMEM && !vi ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_key_no_instance),
		cmocka_unit_test(seat_is_not_lost),
	};

	return cmocka_run_group_tests_name("seat", tests, NULL, NULL);
}
