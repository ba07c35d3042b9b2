#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Ordinary memory costs at most two system calls a registration, and nothing on the data path; nor does a staged file.
# on: new-stock-xfs
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"
# shellcheck source=tests/bench/budget.sh
. "$SRC/tests/bench/budget.sh"

# System calls of so many registrations.
calls() { # COUNT PREFIX...
	local count=$1
	shift
	strace -f -o strace.log "$@" "$programs/rdma_ordinary" "$count" >/dev/null
	wc -l <strace.log
}
plain=$(($(calls 1100) - $(calls 100)))
ours=$(($(calls 1100 "$daxmr" run --) - $(calls 100 "$daxmr" run --)))
echo "1000 registrations: $plain system calls without daxmr, $ours with it"
test "$plain" -ge 2000 || fail "strace counted $plain calls for 1000 registrations"
budget_line "registering ordinary memory, added" "system calls" "the goal" "at most" 1 \
	"$(awk "BEGIN { print ($ours - $plain) / 1000 }")" , 2 || fail "more than two system calls were added to each"

# The functions that a post and a poll call are the same, byte for byte the
# same code: nothing is on the data path.
plain=$("$programs/rdma_ordinary" 10)
ours=$("$daxmr" run -- "$programs/rdma_ordinary" 10)
echo "$ours"
has "$plain" 'post_send librxe'
test "$plain" = "$ours" || fail "the data path is another under daxmr"

# Nor is it while a file is staged.
make_file "$DAX/f" 1
ours=$("$daxmr" run --strategy staged --log info -- "$programs/rdma_ordinary" 10 "$DAX/f" 2>log) || fail "$(cat log)"
has "$(cat log)" 'staged: fs-dax file'
test "$plain" = "$ours" || fail "the data path is another while a file is staged: $ours"
