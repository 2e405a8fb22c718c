#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# long.sh RACE [OPERATIONS [SUBJECT...]]: all subjects, or those, with each
# barrier in turn, until there were that many operations, 100,000,000 if not
# told.  RACE is tests/race/race of a build directory.  Ends with one line,
# "N operations, 0 stale, in S s".  Some minutes with two processors.
set -eu
race=${1:?"usage: long.sh RACE [OPERATIONS [SUBJECT...]]"}
operations=${2:-100000000}
shift $(($# > 2 ? 2 : $#))
[ $# -gt 0 ] || set -- all
exec "$race" --operations "$operations" --threads 2 --seconds 2 "$@"
