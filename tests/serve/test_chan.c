/* SPDX-License-Identifier: BSD-2-Clause */

/* Channels: what goes out arrives, whole and in order, however it is read. */

#include "client.h"

#include "serve/chan.h"

static uint32_t seed;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)(seed >> 8) * n >> 24);
}

/* Take up to @len bytes; they continue the stream at @at. */
static size_t take(int fd, uint64_t at, size_t len)
{
	static uint8_t buf[1 << 16];
	ssize_t n = recv(fd, buf, len, MSG_DONTWAIT);

	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return 0;
	}
	for (ssize_t i = 0; i < n; i++)
		assert_int_equal(buf[i],
				 (uint8_t)((at + (uint64_t)i) * 7 >> 3));
	return (size_t)n;
}

static void stream_is_kept(void **state)
{
	uint64_t in = 0, out = 0, most = 0, refused = 0;
	struct vs_chan c;
	int p[2];

	(void)state;
	seed = 5;
	assert_int_equal(vs_chan_init(&c), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p),
			 0);
	vs_chan_open(&c, p[0]);
	while (in < 64u << 20) {
		size_t len = 1 + rnd(rnd(8) ? 5000 : VU_MAX_LEN);
		uint8_t *at = vs_chan_reserve(&c, len);

		if (at) {
			for (size_t i = 0; i < len; i++)
				at[i] = (uint8_t)((in + i) * 7 >> 3);
			vs_chan_commit(&c, len);
			in += len;
		} else {
			refused++;
		}
		most = c.out_len > most ? c.out_len : most;
		assert_int_equal(vs_chan_flush(&c), 0);
		/* no faster than it comes, so that it is hardly ever empty */
		for (uint32_t n = rnd(at ? 6 : 40); n; n--)
			out += take(p[1], out, 1 + rnd(1 << 16));
	}
	while (out < in) {
		assert_int_equal(vs_chan_flush(&c), 0);
		out += take(p[1], out, 1 << 16);
	}
	assert_int_equal(c.out_len, 0);
	/* it was full, and no fuller */
	assert_true(refused > 10);
	assert_in_range(most, VU_MAX_LEN, 2 * VU_MAX_LEN);
	vs_chan_fini(&c);
	close(p[1]);
}

static void peer_that_is_gone(void **state)
{
	struct vs_chan c;
	int p[2];

	(void)state;
	assert_int_equal(vs_chan_init(&c), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p),
			 0);
	vs_chan_open(&c, p[0]);
	assert_int_equal(vs_chan_recv(&c), 0);
	close(p[1]);
	assert_int_equal(vs_chan_recv(&c), -ECONNRESET);
	memset(vs_chan_reserve(&c, 100), 0, 100);
	vs_chan_commit(&c, 100);
	/* no SIGPIPE */
	assert_int_equal(vs_chan_flush(&c), -EPIPE);
	vs_chan_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stream_is_kept),
		cmocka_unit_test(peer_that_is_gone),
	};

	return cmocka_run_group_tests_name("chan", tests, NULL, NULL);
}
