#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The power is cut under a staged file: all that was made durable before, in any way, is in it, and the rest up to the last write-back.
# on: host
# limit: 800
# short
# soak 3000
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

cycles=1 cuts=(6.1-xfs new-ext4)
# Cut right after one thing, with no write-back: of the calls that libpmem2 hands
# out, and of the ends of the program, one at a time here, and all in the long form.
calls=(persist2 copy) ends=(exit term kill)
alone=("${calls[RANDOM % 2]}" "${ends[RANDOM % 3]}") alone_on=(6.1-xfs)
if test -n "${DAXMR_TEST_LONG:-}"; then
	cycles=3 cuts=(6.1-xfs 6.1-xfs 6.1-xfs new-ext4 new-ext4 6.1-ext4 new-xfs)
	alone=("${calls[@]}" "${ends[@]}") alone_on=(6.1-xfs new-ext4)
fi
# First without the program's own fsync(), which writes the file system's log.
ways=(unasked persist msync)
at_once=1
flush_ms=200
# As often rdma_durable tells how far it is, and as much again for its thread.
told_ms=100

run=''
# All that was started ends with its run.
trap 'test -z "$run" || kill "$run"' EXIT
trap 'exit 1' HUP INT TERM

# guest ARGUMENT...: the rig, with the NVDIMM that stays.
guest() {
	exec "$SRC/tests/vm/run" --kernel "${config%-*}" --fs "${config#*-}" --pmem-file "$PWD/dimm" "$@"
}

# lines HOW: so many times it was made durable.
lines() {
	grep -c "^durable $1 .* \.$" told
}

has_gone_round() {
	test "$(lines "${ways[-1]}")" -ge "$cycles"
}

# cut_power COMMAND...: while it runs in the guest.
cut_power() {
	local qemu status=0
	rm -f dimm
	: >told
	(guest --pmem-size 512M --timeout 200 -- "$daxmr" run --flush-ms "$flush_ms" --flush-cpu 100 --strategy staged -- \
		"$@") >told 2>complaints &
	run=$!
	until has_gone_round; do
		kill -0 "$run" || fail "$config: it ended before the cut: $(cat complaints)"
		sleep 0.1
	done
	# Any moment is as good, but for the first, that finds the log as it was.
	test -n "$at_once" || sleep "0.$((RANDOM % 900 + 100))"
	qemu=$(pgrep -P "$run" -f qemu-system) || fail "there is no machine"
	kill -KILL "$qemu"
	wait "$run" || status=$?
	run=
	test "$status" = 125 || fail "$config: the rig ended with $status, not for want of power: $(cat complaints)"
}

# The file system recovers, and nobody has unmounted it.
look() {
	local durable found at last pass bound times
	# shellcheck disable=SC2016  # the guest's shell
	local recovers='dmesg | grep -E "pmem0.*(Starting recovery|recovery complete)" && exec "$@"'
	durable=$(grep '^durable .* \.$' told | tail -n 1)
	durable=${durable#durable * }
	# shellcheck disable=SC2086  # numbers
	(guest --timeout 100 -- sh -c "$recovers" sh "$programs/rdma_durable" check /mnt/pmem/f ${durable% .}) \
		>found 2>complaints || fail "$config: after the cut: $(cat found complaints)"
	found=$(sed -n 's/^in the file //p' found)
	times=$(lines '[a-z0-9]*')
	if test "$flush_ms" = 0; then
		echo "$config: cut right after ${ways[*]}, $times times durable, $found counted"
		return
	fi
	# What had been counted that far back is in the file.
	at=$(awk -v found="$found" '/^counted [0-9]+ [0-9]+$/ && $3 <= found { at = $2 } END { print at }' told)
	last=$(awk '/^counted [0-9]+ [0-9]+$/ { at = $2 } END { print at }' told)
	# All in the guest's own time. A write-back begins every flush_ms, with
	# nothing to pay for (--flush-cpu 100), and takes what a flush takes that
	# is asked for, on this machine, which does other things as well; the one
	# that was cut off lost what the one before had not.
	pass=$(awk '/^took / && $2 != "unasked" && $3 > most { most = $3 } END { print most + 0 }' told)
	bound=$((flush_ms + 2 * pass + 2 * told_ms))
	echo "$config: $times times durable, $found counted; the cut took the last $((last - at)) ms, at most $bound"
	test $((last - at)) -le "$bound" || fail "$config: that is more than one write-back"
}

for config in "${cuts[@]}"; do
	cut_power "$programs/rdma_durable" /mnt/pmem/f /dev/pmem0 "${ways[@]}"
	look
	at_once=''
	ways=(fsync dereg fdatasync unasked persist msync)
done

# The end of a program comes once.
at_once=1
cycles=1
flush_ms=0
for config in "${alone_on[@]}"; do
	for way in "${alone[@]}"; do
		ways=("$way")
		case " ${ends[*]} " in
		*" $way "*) cut_power "$programs/rdma_ended" /mnt/pmem/f "$way" ;;
		*) cut_power "$programs/rdma_durable" /mnt/pmem/f /dev/pmem0 "$way" ;;
		esac
		look
	done
done
