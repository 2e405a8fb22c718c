#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# long.sh RACE [OPERATIONS]: all subjects, with each barrier in turn, until
# there were that many operations, 100,000,000 if not told.  RACE is
# tests/race/race of a build directory.  Ends with one line,
# "N operations, 0 stale, in S s".  Some minutes with two processors.
set -eu
race=${1:?"usage: long.sh RACE [OPERATIONS]"}
exec "$race" --operations "${2:-100000000}" --threads 2 --seconds 2 all
