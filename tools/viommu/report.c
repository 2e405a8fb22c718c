/* SPDX-License-Identifier: BSD-2-Clause */
#include "report.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct number {
	const char *key;
	size_t at;
};

struct text {
	const char *key;
	size_t at, size;
};

#define NUMBER(key, member)                          \
	{                                            \
		key, offsetof(struct report, member) \
	}
#define TEXT(key, member)                                    \
	{                                                    \
		key, offsetof(struct report, member),        \
			sizeof(((struct report *)0)->member) \
	}

static const struct number numbers[] = {
	NUMBER("files", files),
	NUMBER("files_verified", files_verified),
	NUMBER("files_mismatched", files_mismatched),
	NUMBER("files_written", files_written),
	NUMBER("files_reread", files_reread),
	NUMBER("round", rounds),
	NUMBER("faults_expected", faults_expected),
	NUMBER("guest_faults", guest_faults),
};

static const struct text texts[] = {
	TEXT("kernel", kernel),
	TEXT("iommu_group_type", group_type),
	TEXT("sha256", sha256),
	TEXT("reason", reason),
};

/* The value of key= among the words of a line, or NULL. */
static const char *word(const char *line, const char *key)
{
	size_t n = strlen(key);
	const char *at = line;

	while ((at = strstr(at, key))) {
		if ((at == line || at[-1] == ' ') && at[n] == '=')
			return at + n + 1;
		at += n;
	}
	return NULL;
}

static uint64_t word_number(const char *line, const char *key)
{
	const char *value = word(line, key);

	return value ? strtoull(value, NULL, 10) : 0;
}

/* Keeps the first. */
static void name_keep(char *to, size_t size, const char *line)
{
	const char *name = word(line, "name");

	if (name && !*to)
		snprintf(to, size, "%.*s", (int)strcspn(name, " "), name);
}

/* The witness's own kinds of lines. */
static void witness_line(struct report *r, const char *line)
{
	if (!strncmp(line, "attack ", 7)) {
		if (!word_number(line, "refused"))
			name_keep(r->not_refused, sizeof(r->not_refused), line);
	} else if (!strncmp(line, "control ", 8)) {
		if (!word_number(line, "ok"))
			name_keep(r->control_failed, sizeof(r->control_failed),
				  line);
	} else if (!strncmp(line, "live_map ", 9)) {
		r->live_unmap_us = word_number(line, "unmap_us");
		r->live_plain_us = word_number(line, "plain_unmap_us");
		r->live_hold_us = word_number(line, "hold_us");
		r->live_ok = word_number(line, "ok") == 1;
	} else if (!strncmp(line, "attacks=", 8)) {
		r->attacks = word_number(line, "attacks");
		r->attacks_refused = word_number(line, "refused");
		r->controls = word_number(line, "controls");
		r->controls_ok = word_number(line, "controls_ok");
	}
}

static void bench_line(struct report *r, const char *line)
{
	const char *op = word(line, "op");

	if (r->benches == REPORT_BENCH || !op)
		return;
	r->bench[r->benches++] = (struct report_bench){
		.write = !strncmp(op, "write", 5),
		.kib = word_number(line, "kib"),
		.jobs = word_number(line, "jobs"),
		.bytes = word_number(line, "bytes"),
		.us = word_number(line, "us"),
	};
}

static void key_line(struct report *r, const char *line, const char *value)
{
	size_t n = (size_t)(value - line) - 1, i;
	char *base = (char *)r;

	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strlen(numbers[i].key) == n &&
		    !strncmp(line, numbers[i].key, n)) {
			uint64_t v = strtoull(value, NULL, 10);

			memcpy(base + numbers[i].at, &v, sizeof(v));
		}
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (strlen(texts[i].key) == n &&
		    !strncmp(line, texts[i].key, n) && !base[texts[i].at])
			snprintf(base + texts[i].at, texts[i].size, "%s",
				 value);
}

void report_line(struct report *r, const char *line)
{
	const char *value = strchr(line, '=');

	witness_line(r, line);
	if (!strncmp(line, "bench ", 6))
		bench_line(r, line);
	if (!value)
		return;
	key_line(r, line, value + 1);
	if (!strncmp(line, "init_seconds=", 13))
		r->init_seconds = strtod(line + 13, NULL);
	else if (!strncmp(line, "seconds=", 8))
		r->seconds = strtod(line + 8, NULL);
	else if (!strncmp(line, "guest_faults=", 13))
		r->has_faults = true;
	else if (!strcmp(line, "result=pass"))
		r->passed = true;
	else if (!strcmp(line, "result=fail"))
		r->passed = false;
	else if (!strcmp(line, "end=1"))
		r->ended = true;
}
