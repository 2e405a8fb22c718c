/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_BASE_PROBE_H
#define VI_BASE_PROBE_H

/*
 * Static probes (USDT, provider "viommu"): a nop each until somebody traces,
 * nothing where the header is missing.  Names and arguments: docs/probes.md.
 */

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#endif
#endif

#ifdef DTRACE_PROBE1
/* its macros are GNU C, wherever they are used */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#endif
#define VI_PROBE1(name, a)	 DTRACE_PROBE1(viommu, name, a)
#define VI_PROBE2(name, a, b)	 DTRACE_PROBE2(viommu, name, a, b)
#define VI_PROBE3(name, a, b, c) DTRACE_PROBE3(viommu, name, a, b, c)
#else
#define VI_PROBE1(name, a)	 ((void)(a))
#define VI_PROBE2(name, a, b)	 ((void)(a), (void)(b))
#define VI_PROBE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#endif

#endif
