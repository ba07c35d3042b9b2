#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# While two peers write, read and do atomics, others read, hold, overwrite, punch, cut off, grow, replace and delete the file: nobody sees an error, and every word is as a model says.
# on: 6.1-stock-xfs new-stock-ext4 new-stock-xfs
# limit: 180
# soak 900
# short
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# counted WHAT: the sum of all that the log says of it.
counted() {
	sed -nE "s/.* ([0-9]+) $1.*/\1/p" log | awk '{ sum += $1 } END { print sum + 0 }'
}

keeper_ends() {
	local n
	for n in $(seq 200); do
		pgrep -x daxmr-keeper >/dev/null || return 0
		sleep 0.1
	done
	fail "a keeper is left after $n tenths of a second"
}

# story NAME OPTION...: leaves in theirs and conflicts how many blocks the log says were merged, and how many must have been.
story() {
	local name=$1
	shift
	"$daxmr" run --log info "$@" -- "$programs/rdma_outsiders" "$DAX/$name" "$name" "$programs/outsider" >said 2>log ||
		fail "$name: $(cat said) $(tail -n 60 log)"
	echo "$name: $(cat said)"
	has "$(cat log)" 'staged: fs-dax file'
	# Whoever waited got all of it, and nobody went past daxmr.
	has_not "$(cat log)" 'before all was flushed|the kernel took it|is tried again|past daxmr|states in between'
	theirs=$(counted 'blocks of others taken') conflicts=$(counted 'conflicts: ')
	read -r must_merge must_conflict < <(sed -nE 's/.* operations, ([0-9]+) blocks to be merged, ([0-9]+) of.*/\1 \2/p' said)
	test "$conflicts" -ge "$must_conflict" || fail "$name: $conflicts conflicts were counted, and not $must_conflict"
	keeper_ends
}

# all_counted: neither block was forgotten, and none counted twice.
all_counted() {
	test $((theirs + conflicts)) = "$must_merge" ||
		fail "$theirs blocks of others and $conflicts conflicts, of $must_merge: $(cat log)"
}

story_ours() {
	story ours
	all_counted
	has "$(cat log)" 'has grown for it, [0-9]+ blocks'
	test "$(cat "$DAX/ours")" = 'another file' || fail "the file that replaced the region's is not what it was"
}

story_clone() {
	story clone
	all_counted
}

story_theirs() {
	story theirs --on-conflict theirs --on-shrink discard
	has "$(cat log)" 'which is dropped, [0-9]+ blocks'
	has_not "$(cat log)" 'has grown for it'
}

story_error() {
	story error --on-conflict error
	all_counted
	test "$conflicts" = "$must_conflict" || fail "$conflicts conflicts were counted, and not $must_conflict"
}

# Other kernels, other file systems; what is done in a conflict is not theirs.
case ${DAXMR_TEST_LONG:-}$CONFIG in
6.1-stock-xfs) stories=(ours theirs) ;;
new-stock-ext4) stories=(ours error) ;;
new-stock-xfs) stories=(clone) ;;
yesnew-stock-xfs) stories=(ours clone) ;;
*) stories=(ours theirs error) ;;
esac
for name in "${stories[@]}"; do
	"story_$name"
done
