#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A daemon that links libdaxmr hears the story of each recall, event by event and in order: a reader, a writer, conflicts, truncates, its own calls; and what it agrees to is a snapshot to the point, of stores and of a peer's writes.
# On 6.1 also that of a pinned region in the page cache, whose program stops its work by itself. With ODP there is none but of its flushes.
# on: 6.1-stock-xfs new-stock-ext4 new-fixed-xfs
# limit: 180
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

export DAXMR_TEST_DAX_DIR=$DAX
case $CONFIG in
new-fixed-*)
	out=$("$programs/library_events" odp 2>&1) || fail "$out"
	has "$out" 'PASSED  \] 1 test'
	exit 0
	;;
esac
out=$("$programs/library_events" 2>&1) || fail "$out"
has_not "$out" 'SKIPPED'
has "$out" 'PASSED  \] 15 test'
has "$out" 'PASSED  \] 1 test'

# pinned, by a program that no hooks look after: the page cache, where the kernel pins it
case $CONFIG in
6.1-*)
	mount_cached
	out=$(DAXMR_TEST_DAX_DIR=$cached "$programs/library_events" pinned 2>&1) || fail "$out"
	has_not "$out" 'SKIPPED'
	has "$out" 'PASSED  \] 5 test'
	out=$(DAXMR_TEST_DAX_DIR=$cached "$daxmr" run "$programs/library_events" severed 2>&1) || fail "$out"
	has "$out" 'PASSED  \] 1 test'
	;;
esac

# examples/01-register, as its README says
make_file "$DAX/file" 1
DAXMR_STRATEGY=staged "$programs/register" "$DAX/file" >register.out 2>&1 &
pid=$!
# until it says so, or is gone
until_said() {
	local n
	for n in $(seq 600); do
		if grep -q "$1" register.out; then
			return
		fi
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	fail "'$1' was not said, $n times looked: $(cat register.out)"
}
until_said '1048576 bytes, rkey'
cat "$DAX/file" >/dev/null
until_said '^merged'
test "$(tail -n +2 register.out | tr '\n' ' ')" = "recall, 0 blocks yielded, 0 blocks retaken, 0 blocks merged, 0 blocks " ||
	fail "$(cat register.out)"
kill "$pid"
