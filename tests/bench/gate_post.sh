#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# gate_post.sh PROGRAM: how many instructions a post costs more when its context's table is patched and the gate is open.
# Fails where it is more than 12. Callgrind counts; twice so many posts, so that what starting costs is not among it.
set -eu

# shellcheck source=tests/bench/budget.sh
. "${BASH_SOURCE[0]%/*}/budget.sh"

instructions() { # COUNT [patched]
	LC_ALL=C valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$@" 2>&1 |
		sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

program=$1
open=$(($(instructions 20000 patched) - $(instructions 10000 patched)))
plain=$(($(instructions 20000) - $(instructions 10000)))
added=$(((open - plain) / 10000))
budget_point post "of a provider that does nothing" 1 "$((plain / 10000))"
budget_point post "the same through the open gate" 2 "$((open / 10000))"
# Nothing at all: then nothing was patched, and this has measured nothing.
((added >= 1))
budget_line "a post through the open gate, added" instructions "the goal" "at most" 1 "$added" , 12
