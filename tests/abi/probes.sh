#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# probes.sh LIBRARY DOC: the static probes in LIBRARY are those that DOC names.
# Skipped where the compiler has no sys/sdt.h: there are none then.
lib=$1 doc=$2
printf '#include <sys/sdt.h>\n' | ${CC:-cc} -E - >/dev/null 2>&1 || {
	echo "no sys/sdt.h"
	exit 77
}
has=$(readelf -n "$lib" | awk '/Provider: viommu/ { p = 1 }
	/Name:/ && p { print $2; p = 0 }' | sort -u)
says=$(sed -n 's/^| `\([a-z_]*\)` |.*/\1/p' "$doc" | sort -u)
[ -n "$has" ] && [ "$has" = "$says" ] && exit
echo "in the library:" $has
echo "in the document:" $says
exit 1
