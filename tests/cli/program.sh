#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# program.sh VIOMMU: the program's manners, without a guest. Prints TAP.
set -u

viommu=$1
work=$(mktemp -d /tmp/cli.XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
export TMPDIR=$work/tmp
mkdir "$TMPDIR"
n=0

# run STATUS ARG...: what it prints is in $work/out and $work/err.
run()
{
	want=$1
	shift
	timeout 10 "$viommu" "$@" >"$work/out" 2>"$work/err" </dev/null
	got=$?
	if [ "$got" -ne "$want" ]; then
		echo "# viommu $*: exit $got, not $want"
		sed 's/^/# /' "$work/out" "$work/err"
		return 1
	fi
}

# says TEXT: on standard error.
says()
{
	grep -qF -- "$1" "$work/err" && return
	echo "# nothing said of: $1"
	sed 's/^/# /' "$work/err"
	return 1
}

# clean: nothing was left behind.
clean()
{
	left=$(ls -A "$TMPDIR")
	[ -z "$left" ] && return
	echo "# left behind: $left"
	return 1
}

# check NAME: runs the function of that name, dashes for underscores.
check()
{
	n=$((n + 1))
	skip=
	if "$1" && clean; then
		echo "ok $n - $1${skip:+ # SKIP $skip}"
	else
		echo "not ok $n - $1"
		rm -rf "${TMPDIR:?}"/*
	fi
}

help()
{
	run 0 --help && grep -q boot "$work/out" &&
	run 0 help && grep -q serve "$work/out" &&
	run 0 boot --help && grep -q -- --folder "$work/out" &&
	grep -q 'Exit status' "$work/out" && [ ! -s "$work/err" ] &&
	run 0 serve -h && grep -q -- --socket-dir "$work/out" &&
	run 0 serve vhost-user-blk -h && grep -q -- --socket "$work/out" &&
	run 0 help boot && grep -q -- --timeout "$work/out"
}

# Every option of --help is one, and every one is in --help.
help_is_whole()
{
	for command in boot bench serve "serve vhost-user-blk"; do
		# shellcheck disable=SC2086 # two words
		run 0 $command --help || return
		grep -o '^  --[a-z-]*' "$work/out" | sort >"$work/told"
		while read -r option; do
			# shellcheck disable=SC2086
			timeout 10 "$viommu" $command "$option=x" --wrong \
				2>"$work/err" </dev/null
			grep -q "unrecognized option '$option" "$work/err" || continue
			echo "# $command knows no $option"
			return 1
		done <"$work/told"
	done
}

version()
{
	run 0 version && grep -q '^viommu [0-9]*\.[0-9]*\.[0-9]*$' "$work/out" &&
	run 0 --version && run 2 version x
}

unknown()
{
	run 2 && grep -q usage "$work/err" &&
	run 2 fly && says "no such command: fly" && says "--help" &&
	run 2 help fly && says "no such command" &&
	run 2 boot --fly && says "--fly" && says "viommu boot --help" &&
	run 2 serve --fly && says "viommu serve --help" &&
	run 2 boot x && says "unexpected argument: x" &&
	run 2 serve x && says "unexpected argument: x" &&
	run 2 boot --disk && says "requires an argument"
}

values()
{
	run 2 boot --folder / --memory 5 && says "--memory 5" &&
	run 2 boot --folder / --memory lots && says "--memory lots" &&
	run 2 boot --folder / --memory -1 && says "--memory -1" &&
	run 2 boot --folder / --memory 2T && says "--memory 2T" &&
	run 2 boot --folder / --memory 99999999999999999999 &&
	run 2 serve --memory 64M && says "--memory 64M" &&
	run 2 boot --folder / --timeout 0 && says "--timeout 0" &&
	run 2 boot --folder / --timeout 5s && says "--timeout 5s" &&
	run 2 boot --folder / --iommu fast && says "--iommu fast" &&
	run 2 boot --folder / --disk-by fast && says "--disk-by fast" &&
	run 2 boot --folder / --kill-disk 9 && says "want 0 to 8" &&
	run 2 boot --folder / --accel fast && says "--accel fast" &&
	run 2 serve --iommu fast && says "--iommu fast" &&
	run 2 serve --fence-timeout -1 && says "--fence-timeout -1" &&
	run 2 serve --fence-timeout 5s && says "milliseconds" &&
	run 2 boot --folder / --fence-timeout x && says "--fence-timeout x"
}

combinations()
{
	truncate -s 1M "$work/disk"
	run 2 boot && says "--folder DIR" &&
	run 2 boot --folder / --disk "$work/disk" && says "choose one" &&
	run 2 boot --folder / --strict --iommu none && says "--strict" &&
	run 2 boot --folder / --modules / && says "--modules" &&
	run 2 boot --folder / --shell --json && says "choose one" &&
	run 2 boot --folder / --shell && says "terminal" &&
	run 2 boot --folder / --disk-by vhost-user --iommu virtio &&
	says "qemu-virtio" &&
	run 2 boot --folder / --disk-by qemu --kill-disk 1 &&
	says "--kill-disk needs" &&
	run 2 boot --disk "$work/disk" --disk-by vhost-user --kill-disk 1 &&
	says "--kill-disk needs" &&
	run 2 boot --folder / --debian12-qemu && says "vfio-user"
}

bench()
{
	run 0 bench --help && grep -q 'viommu bench guest' "$work/out" &&
	run 0 help bench && grep -q -- --svg "$work/out" &&
	run 2 bench && says "There is: guest" &&
	run 2 bench disk && says "unexpected argument: disk" &&
	run 2 bench guest twice && says "unexpected argument: twice" &&
	run 2 bench guest --fly && says "viommu bench --help" &&
	run 2 bench guest --size 1 && says "want 8 to 4096" &&
	run 2 bench guest --size 32x && says "--size 32x" &&
	run 2 bench guest --runs 0 && says "want 1 to 25" &&
	run 2 bench guest --only qemu-none,fast && says "there is no fast" &&
	run 2 bench guest --only "" && says "--only"
}

files()
{
	run 2 boot --disk "$work/none" && says "No such file" &&
	run 2 boot --disk "$work" && says "Is a directory" &&
	run 2 boot --folder "$work/none" && says "No such file" &&
	run 2 boot --folder "$0" && says "Not a directory" &&
	run 2 boot --folder / --qemu "$work/none" && says "No such file" &&
	run 2 boot --folder / --qemu no-such-qemu && says "PATH" &&
	run 2 boot --folder / --kernel "$work/none" && says "No such file" &&
	run 2 serve --disk "$work/none" && says "No such file"
}

# As somebody who may not read it: root may read everything.
unreadable()
{
	: >"$work/secret"
	chmod 000 "$work/secret"
	if [ "$(id -u)" -ne 0 ]; then
		run 2 serve --disk "$work/secret" && says "Permission denied"
		return
	fi
	command -v setpriv >/dev/null || { skip="no setpriv" && return; }
	chmod 755 "$work"
	timeout 20 setpriv --reuid 65534 --clear-groups -- "$viommu" \
		serve --disk "$work/secret" >"$work/out" 2>"$work/err"
	got=$?
	# a program below a folder that others may not enter
	[ "$got" -ne 126 ] && [ "$got" -ne 127 ] ||
		{ skip="other users cannot run $viommu" && return; }
	[ "$got" -eq 2 ] && says "Permission denied"
}

bad_images()
{
	printf x >"$work/odd"
	run 2 serve --disk "$work/odd" && says "not a raw image" &&
	: >"$work/empty" && run 2 serve --disk "$work/empty" &&
	mkfifo "$work/fifo" && run 2 serve --disk "$work/fifo"
}

old_qemu()
{
	cat >"$work/qemu" <<'END'
#!/bin/sh
echo "QEMU emulator version 7.2.0"
END
	chmod +x "$work/qemu"
	run 3 boot --folder "$work" --offline --cache "$work/cache" \
		--qemu "$work/qemu" && says "QEMU 7.2.0; 10.1 or newer"
}

# Nothing cached and nothing to be fetched: what is on the machine by chance
# is kept out of PATH, but a kernel may be there.
nothing_here()
{
	mkdir "$work/bin"
	for tool in sh sed grep dd od tr tar find sort head flock mkdir rm \
		dirname readlink sha256sum xargs cut timeout awk df uname; do
		ln -s "$(command -v $tool)" "$work/bin/$tool"
	done
	PATH=$work/bin run 3 boot --folder "$work" --offline --json \
		--cache "$work/cache" && says "--offline forbids" || return
	tail -n 1 "$work/out" | grep -q '"result": "fail".*"status": 3'
}

no_scripts()
{
	VIOMMU_LIBEXEC=$work/none run 3 boot --folder "$work" --offline \
		--cache "$work/cache" && says VIOMMU_LIBEXEC
}

# serve_start ARG...: in the background, until it serves.
serve_start()
{
	: >"$work/out" # what the last one said must not be found
	: >"$work/err"
	"$viommu" serve "$@" >"$work/out" 2>"$work/err" </dev/null &
	pid=$!
	for _ in $(seq 100); do
		grep -q 'Interrupt' "$work/out" "$work/err" && return
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	echo "# does not serve"
	sed 's/^/# /' "$work/out" "$work/err"
	return 1
}

# serve_stop SIGNAL: it ends with 0, soon.
serve_stop()
{
	kill -s "$1" "$pid"
	for _ in $(seq 50); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	if kill -0 "$pid" 2>/dev/null; then
		echo "# still there 5 s after SIG$1"
		kill -KILL "$pid"
	fi
	wait "$pid"
	got=$?
	[ "$got" -eq 0 ] || echo "# exit $got"
	[ "$got" -eq 0 ]
}

serves()
{
	truncate -s 1M "$work/disk"
	before=$(sha256sum <"$work/disk")
	for signal in INT TERM HUP; do
		serve_start --disk "$work/disk" || return
		[ "$(find "$TMPDIR" -name '*.sock' | wc -l)" -eq 3 ] &&
		grep -q 'acpitable file=.*viot.aml' "$work/out" &&
		grep -q 'vfio-user-pci.*virtio-blk.sock.*"addr":"4"' \
			"$work/out" &&
		[ "$(find "$TMPDIR" -name viot.aml -size 88c | wc -l)" -eq 1 ]
		ok=$?
		serve_stop $signal && [ $ok -eq 0 ] && clean || return
	done
	[ "$(sha256sum <"$work/disk")" = "$before" ]
}

serves_without_iommu()
{
	serve_start --iommu none --json --fence-timeout 0 || return
	[ "$(find "$TMPDIR" -name '*.sock' | wc -l)" -eq 1 ] &&
	! grep -q acpitable "$work/err"
	ok=$?
	serve_stop INT && [ $ok -eq 0 ] &&
	[ "$(wc -l <"$work/out")" -eq 1 ] &&
	grep -q '"result": "pass".*"iommu": "none"' "$work/out" &&
	grep -q '"fences_failed": 0, "expired": 0, "revokes": 0' "$work/out"
}

socket_dir()
{
	serve_start --socket-dir "$work/sock" || return
	cp "$work/err" "$work/err.first"
	run 2 serve --socket-dir "$work/sock" && says "in use"
	ok=$?
	[ -S "$work/sock/dmatest.sock" ] || ok=1
	serve_stop INT && [ $ok -eq 0 ] && [ ! -e "$work/sock" ] || return
	# One that was there stays, a stale socket in it does not matter.
	mkdir "$work/sock"
	serve_start --socket-dir "$work/sock" || return
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null
	serve_start --socket-dir "$work/sock" && serve_stop INT &&
	[ -d "$work/sock" ] && [ -z "$(ls "$work/sock")" ] || return
	run 2 serve --socket-dir "$work/none/sock" && says "No such file" &&
	run 2 serve --socket-dir "$work/disk" && says "Not a directory" &&
	long=$work/$(printf '%0100d' 0) &&
	run 2 serve --socket-dir "$long" && says "too long" && [ ! -e "$long" ]
}

serves_vhost()
{
	truncate -s 1M "$work/disk"
	before=$(sha256sum <"$work/disk")
	for signal in INT TERM HUP; do
		serve_start vhost-user-blk --socket "$work/sock.vhost" \
			--disk "$work/disk" --json || return
		[ -S "$work/sock.vhost" ]
		ok=$?
		serve_stop $signal && [ $ok -eq 0 ] &&
		[ ! -e "$work/sock.vhost" ] &&
		[ "$(wc -l <"$work/out")" -eq 1 ] &&
		grep -q '"result": "pass".*"misses": 0.*"disk_errors": 0' \
			"$work/out" || return
	done
	[ "$(sha256sum <"$work/disk")" = "$before" ] || return
	# one that was killed leaves its socket behind; two are one too many
	serve_start vhost-user-blk --socket "$work/sock.vhost" \
		--disk "$work/disk" --queues 1 --serial x || return
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null
	[ -S "$work/sock.vhost" ] &&
	serve_start vhost-user-blk --socket "$work/sock.vhost" --readonly \
		--disk "$work/disk" || return
	run 2 serve vhost-user-blk --socket "$work/sock.vhost" \
		--disk "$work/disk" --readonly && says "in use" &&
	run 2 serve vhost-user-blk --socket "$work/sock.other" \
		--disk "$work/disk" && says "busy"
	ok=$?
	serve_stop INT && [ $ok -eq 0 ] && [ ! -e "$work/sock.vhost" ] || return
	# whoever was killed lets go of the image a moment later
	flock -x "$work/disk" sleep 0.5 &
	holder=$!
	until ! flock -n "$work/disk" true; do sleep 0.01; done
	serve_start vhost-user-blk --socket "$work/sock.vhost" \
		--disk "$work/disk"
	ok=$?
	wait "$holder"
	[ $ok -eq 0 ] && serve_stop INT
}

vhost_values()
{
	set -- serve vhost-user-blk --socket "$work/s" --disk "$work/disk"
	run 2 "$1" "$2" --disk "$work/disk" && says "--socket is missing" &&
	run 2 "$1" "$2" --socket "$work/s" && says "--disk is missing" &&
	run 2 "$1" "$2" x && says "viommu serve vhost-user-blk --help" &&
	run 2 "$@" --disk "$work/none" && says "No such file" &&
	run 2 "$@" --socket "$work/none/s" && says "No such file" &&
	run 2 "$@" --queues 0 && says "from 1 to 16" &&
	run 2 "$@" --queues 17 && run 2 "$@" --queues -1 &&
	run 2 "$@" --serial 123456789012345678901 && says "20 bytes" &&
	run 2 "$@" --delay-us 1s && says "--delay-us 1s" &&
	run 2 "$@" --delay-sectors 5 && says "as in 2048-4095" &&
	run 2 "$@" --delay-sectors 5-4 && run 2 "$@" --delay-sectors 0-0 &&
	run 2 "$@" --delay-sectors 1-2x && run 2 "$@" --delay-sectors -1-2 &&
	run 2 "$@" --miss-timeout 0 && says "--miss-timeout 0" &&
	run 2 "$@" --fence-timeout x && says "milliseconds"
}

checks="help help_is_whole version unknown values combinations bench files unreadable
	bad_images old_qemu nothing_here no_scripts serves serves_without_iommu
	socket_dir serves_vhost vhost_values"
echo "1..$(echo "$checks" | wc -w)"
for name in $checks; do
	check "$name"
done
