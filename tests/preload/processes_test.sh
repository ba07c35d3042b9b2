#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The preload in whole processes: with other interposers, in setuid programs,
# in programs without verbs.  Arguments: the build folder, the folder of the
# test's programs, what else is to be preloaded first (a sanitizer) or nothing.
set -u
build=$1 programs=$2 first=${3:+$3:}
preload=$build/libdaxmr-preload.so
passed=0 failed=0 skipped=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export DAXMR_STRATEGY=odp DAXMR_LOG=error ASAN_OPTIONS=detect_leaks=0

check() { # NAME EXPECTED ACTUAL
	if test "$2" = "$3"; then
		passed=$((passed + 1))
		echo "ok $1"
	else
		failed=$((failed + 1))
		printf 'not ok %s\n  wanted: %s\n  got:    %s\n' "$1" "$2" "$3"
	fi
}

skip() { # NAME REASON
	skipped=$((skipped + 1))
	echo "skip $1: $2"
}

one=$programs/one_registration
LD_PRELOAD=$first "$one" >/dev/null
if test $? = 77; then
	echo "no page-cache file can be made here"
	exit 77
fi
hooked='registered, calls 2, access 0x41'

check without_the_preload__kernel_refuses 'not registered: Bad address' \
	"$(LD_PRELOAD=$first "$one")"
check alone__hooked_once "$hooked" "$(LD_PRELOAD=$first$preload "$one")"
check library_under_another_name__hooked_once "$hooked" \
	"$(LD_PRELOAD=$first$preload "${one}_renamed")"
check preloaded_twice__hooked_once "$hooked" \
	"$(LD_PRELOAD=$first$preload:$preload "$one")"
check interposer_before__both_work "interposer: 1 registrations
$hooked" \
	"$(LD_PRELOAD=$first$programs/interposer.so:$preload "$one" 2>&1 | sort)"
# behind us it sees what reaches the library: the plain try and the ODP one
check interposer_behind__both_work "interposer: 2 registrations
$hooked" \
	"$(LD_PRELOAD=$first$preload:$programs/interposer.so "$one" 2>&1 | sort)"

# A program without verbs: nothing loaded, opened, started or said.
maps=$(LD_PRELOAD=$first$preload grep -c -e libibverbs -e libnl /proc/self/maps)
check without_verbs__no_verbs_library_is_loaded 0 "$maps"
before=$(LD_PRELOAD=$first ls /proc/self/fd)
after=$(LD_PRELOAD=$first$preload ls /proc/self/fd)
check without_verbs__no_descriptor_is_opened "$before" "$after"
if test -z "$first"; then
	check without_verbs__no_thread_is_started 1 \
		"$(LD_PRELOAD=$preload sh -c 'ls /proc/self/task | wc -l')"
else
	skip without_verbs__no_thread_is_started "a sanitizer may have a thread of its own"
fi
check without_verbs__silent "" "$(DAXMR_LOG=debug LD_PRELOAD=$first$preload true 2>&1)"

# Calls on files in a program without leases: not one system call more. strace
# counts those of one run, for a whole run of each and without the start.
if command -v strace >/dev/null && test -z "$first" && strace -o /dev/null true 2>/dev/null; then
	calls_of() { # ROUNDS PRELOAD
		strace -f -o "$scratch/trace" -E LD_PRELOAD="$2" "$programs/file_calls" "$1" "$programs/file-calls.$$" ||
			echo failed
		sed -E 's/^[0-9]+ +//; s/\(.*//' "$scratch/trace" | LC_ALL=C sort | uniq -c
	}
	calls_per_round() { # PRELOAD
		{
			calls_of 10 "$1" | awk '{ print -$1, $2 }'
			calls_of 20 "$1"
		} | awk '{ n[$2] += $1 } END { for (name in n) if (n[name]) print name, n[name] / 10 }' | LC_ALL=C sort
	}
	without=$(calls_per_round '')
	check file_calls__are_counted 'openat 8' "$(grep openat <<<"$without")"
	check file_calls_without_lease__no_system_call_more "$without" "$(calls_per_round "$preload")"
	rm -f "$programs/file-calls.$$"
else
	skip file_calls_without_lease__no_system_call_more "needs strace, and no sanitizer"
fi

# The loader leaves a preload with a slash out of a setuid program.
if test "$(id -u)" = 0 && test -z "$first"; then
	chmod 755 "$scratch"
	cp "$one" "$scratch/setuid"
	chown nobody "$scratch/setuid"
	chmod 4755 "$scratch/setuid"
	lib=$(dirname "$(ldd "$one" | sed -n 's/.*libibverbs.so.1 => \(.*\) (.*/\1/p')")
	if su -s /bin/sh nobody -c "test -x '$lib'" 2>/dev/null; then
		check setuid__runs_as_without_us 'not registered: Bad address' \
			"$(LD_PRELOAD=$preload "$scratch/setuid" 2>&1)"
	else
		skip setuid__runs_as_without_us "$lib cannot be entered by nobody"
	fi
else
	skip setuid__runs_as_without_us "needs root, and no sanitizer"
fi

# exec, shells and environment: children inherit it, nothing else changes.
check exec__preload_is_inherited "$hooked" \
	"$(LD_PRELOAD=$first$preload sh -c "exec env $one")"
check python__runs "7" "$(LD_PRELOAD=$first$preload python3 -c 'print(3 + 4)')"

echo "$passed passed, $failed failed, $skipped skipped"
test "$failed" = 0
