#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# run.sh clean|planted FUZZER CORPUS: a fuzzer's short run, from the corpus in
# the tree.  clean: it must find nothing.  planted: it must find what was
# planted.  FUZZ_SECONDS: how long (8, and 30 to find); FUZZ_SEED: 0 is chosen
set -u
mode=$1 fuzzer=$2 corpus=$3
TMPDIR=$(mktemp -d) || exit 1
# instances come and go: what is freed need not be kept for long
ASAN_OPTIONS=${ASAN_OPTIONS:-}:quarantine_size_mb=16
export TMPDIR ASAN_OPTIONS
trap 'rm -rf "$TMPDIR"' EXIT
mkdir "$TMPDIR/new" "$TMPDIR/found"
seconds=${FUZZ_SECONDS:-8}
[ "$mode" = clean ] || seconds=${FUZZ_SECONDS:-30}

"$fuzzer" -seed="${FUZZ_SEED:-0}" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=1024 \
	-max_len=2048 -print_final_stats=1 -verbosity=1 \
	-artifact_prefix="$TMPDIR/found/" \
	"$TMPDIR/new" "$corpus" >"$TMPDIR/log" 2>&1
rc=$?
runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$TMPDIR/log")
if [ "$mode" = clean ]; then
	if [ $rc -ne 0 ]; then
		tail -n 80 "$TMPDIR/log"
		for f in "$TMPDIR"/found/*; do
			echo "$(basename "$f"), base64:"
			base64 "$f"
		done
		exit 1
	fi
	if [ "${runs:-0}" -lt 100 ]; then
		echo "only ${runs:-0} inputs were run"
		exit 1
	fi
	echo "$runs inputs, nothing found"
	exit 0
fi
if [ $rc -eq 0 ]; then
	echo "what was planted was not found, in ${runs:-0} inputs"
	exit 1
fi
# not by running out of time or memory
if ! ls "$TMPDIR"/found/crash-* >/dev/null 2>&1; then
	tail -n 40 "$TMPDIR/log"
	exit 1
fi
grep -m 1 -E 'ERROR: |runtime error|not so|not to be expected|viommu_' \
	"$TMPDIR/log"
echo "found"
