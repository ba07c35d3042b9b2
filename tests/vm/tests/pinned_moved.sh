#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# ibv_rereg_mr() moves a pinned region within its file, to another file, to ordinary memory and back: a peer reaches what it is in, and nothing of what it was in; others have that one at once, without a recall, and the one it is in by one. With keys=window all by the first rkey.
# On files of the page cache, and of fs-dax where the kernel would pin them.
# on: 6.1-stock-xfs 6.1-stock-ext4
# limit: 300
# pin-dax
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# moved DIRECTORY KEYS HOW
moved() {
	"$daxmr" run --strategy pinned --keys "$2" --quiesce-ms 20000 --log info -- "$programs/pinned_moved" "$1/from" "$1/to" "$3" >said 2>log ||
		fail "$(cat said) $(tail -n 60 log)"
	has_not "$(cat log)" '/from: others want it'
	test "$(grep -c '/to: others want it: .*, 0 QPs severed' log)" -eq 2 || fail "not two recalls: $(cat log)"
	has_not "$(grep -E 'daxmr\[[0-9]+\] (error|warn)' log | grep -v '/to: it is back: ')" .
	rm "$1/from" "$1/to"
	echo "$(stat -f -c %T "$1"): $(cat said)"
}

mount_cached
moved "$cached" change change
moved "$cached" window stay
unmount "$cached"

insmod /run/daxmr-vm/pin_dax.ko
trap 'rmmod pin_dax' EXIT
moved "$DAX" change change
moved "$DAX" window stay
