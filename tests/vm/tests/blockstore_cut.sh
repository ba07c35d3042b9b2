#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The power is cut under the block store: what it had said is committed is there afterwards.
# Nothing is written back unasked, so it is there by its commits' flushes only.
# on: host
# limit: 300
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

store=$BUILD/examples/02-blockstore address=10.0.0.1:7471 blocks=16

# In the guest, until its end.
if test "${1:-}" = serve; then
	"$store/daxmr-blockd" --format --windows 1 --window-size "$((blocks * 64))K" /mnt/pmem/store
	DAXMR_STRATEGY=staged DAXMR_FLUSH_MS=3600000 "$store/daxmr-blockd" --listen "$address" /mnt/pmem/store >&2 &
	for ((rounds = 0; ; )); do
		# it may not listen yet
		if "$store/daxmr-block" --commit-every 4 "$address" write >&2; then
			rounds=$((rounds + 1))
			echo "committed $rounds ."
		fi
	done
fi

# guest ARGUMENT...: the rig, with the NVDIMM that stays.
guest() {
	exec "$SRC/tests/vm/run" --kernel 6.1 --fs xfs --pmem-file "$PWD/dimm" "$@"
}

run=''
trap 'test -z "$run" || kill "$run"' EXIT
trap 'exit 1' HUP INT TERM

: >told
(guest --pmem-size 512M --timeout 150 --env "SRC=$SRC" --env "BUILD=$BUILD" -- \
	"$SRC/tests/vm/tests/blockstore_cut.sh" serve) >told 2>complaints &
run=$!
until grep -q '^committed 5 \.' told; do
	kill -0 "$run" || fail "it ended before the cut: $(cat complaints)"
	sleep 0.1
done
qemu=$(pgrep -P "$run" -f qemu-system) || fail "there is no machine"
kill -KILL "$qemu"
wait "$run" && fail "the rig has not noticed"
run=

# shellcheck disable=SC2016  # the guest's shell
recovers='dmesg | grep -E "pmem0.*(Starting recovery|recovery complete)" >&2 && exec "$@"'
(guest --timeout 100 -- sh -c "$recovers" sh "$store/daxmr-blockd" --check /mnt/pmem/store) >found 2>complaints ||
	fail "after the cut: $(cat found complaints)"
rounds=$(sed -n 's/^committed \([0-9]*\) \.\r*$/\1/p' told | tail -n 1)
least=$(sed -nE "s/^window 0: $blocks blocks, $blocks committed, sequences ([0-9]+) to [0-9]+, 0 torn\r*$/\1/p" found)
echo "$rounds rounds were committed, $least are there"
test -n "$least" || fail "$(cat found)"
test "$least" -ge "$rounds" || fail "committed blocks are lost: $(cat found)"
