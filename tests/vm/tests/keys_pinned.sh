#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# keys=window: a peer that was told one rkey of a pinned region goes on by it while others read the file, cut it off and let it grow; while they have it, its access fails with a remote access error and nothing else, and no acknowledged write is lost. Without it the rkey changes each time.
# On a file of the page cache (by the preload), on fs-dax where the kernel would pin it (by the preload), and by the library's option on tmpfs.
# on: 6.1-stock-xfs 6.1-stock-ext4
# limit: 400
# soak 1500
# short
# pin-dax
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

rounds=3
test -z "${DAXMR_TEST_LONG:-}" || rounds=100

run() { # OPTION... -- FILE ROUNDS HOW
	"$daxmr" run --strategy pinned --quiesce-ms 20000 --log info "$@" >said 2>log || fail "$(cat said) $(tail -n 60 log)"
	has_not "$(cat log)" 'lost|cannot be|still have it|the kernel took it'
	tail -n 1 said
}

stays() { # FILE HOW
	run --keys window -- "$programs/rdma_keys" "$1" "$rounds" "$2"
	has "$(cat log)" 'pinned, by a window'
	test "$(sed -nE 's/.*rkey (0x[0-9a-f]+).*/\1/p' said log | sort -u | wc -l)" = 1 ||
		fail "more rkeys than one: $(cat said log)"
}

mount_cached
stays "$cached/f" stay
run -- "$programs/rdma_keys" "$cached/g" "$rounds" change
has_not "$(cat log)" 'by a window'
unmount "$cached"

insmod /run/daxmr-vm/pin_dax.ko
trap 'rmmod pin_dax' EXIT
stays "$DAX/f" stay

"$daxmr" run --quiesce-ms 20000 --log info -- "$programs/rdma_keys" /dev/shm/keys "$rounds" library >said 2>log ||
	fail "$(cat said) $(tail -n 60 log)"
has "$(cat log)" 'pinned, by a window: tmpfs'
tail -n 1 said
