/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_MODEL_MUTANT_H
#define TESTS_MODEL_MUTANT_H

/* Which step is left out: VI_MUTANT in this build of the library. */
extern int vi_mutant;

#endif
