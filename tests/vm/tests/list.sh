#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A staged region of a running program is listed as a table, as JSON and as metrics; what it stores is flushed, and counted; its file is recalled, and that is counted. It is gone with the program, killed.
# on: 6.1-stock-xfs
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# json PATTERN...: of the process, all on one line, without spaces.
json() {
	local said pattern
	said=$("$daxmr" list --json "$pid" | tr -d ' \n')
	for pattern; do
		grep -Eq "$pattern" <<<"$said" || return
	done
}

make_file "$DAX/file" 1
DAXMR_STRATEGY=staged "$programs/register" "$DAX/file" >register.out 2>&1 &
pid=$!
until_is registered grep -q rkey register.out
has "$("$daxmr" list "$pid")" "^ *$pid register +staged +held +1048576 +0 +- +- +- rxe0 +$DAX/file\$"
json "\"file\":\"$DAX/file\"" '"length":1048576,"strategy":"staged"' '"recalls":0' '"state":"held"' '"staged":1' '"odp":0' ||
	fail "$("$daxmr" list --json)"

# a store as the program would do it
address=$("$daxmr" list --json "$pid" | sed -n 's/.*"address": *\([0-9]*\).*/\1/p')
printf x | dd of="/proc/$pid/mem" bs=1 seek="$address" conv=notrunc status=none
until_is flushed json '"compared":[1-9]' '"flushed":[1-9]'
has "$("$daxmr" list --prometheus "$pid")" "^daxmr_file_flushed_total\\{.*\\} [1-9]\$"

has "$("$daxmr" recall "$DAX/file")" "^$DAX/file: free after [0-9]+ us\$"
until_is merged json '"state":"held","age_us"' '"merged":[1-9]'
json '"recalls":[1-9]' '"yielded":[1-9]' '"breaking":[1-9]' '"max_us":[1-9]' || fail "$("$daxmr" list --json)"
said=$("$daxmr" list --prometheus "$pid")
has "$said" "^daxmr_file_recalls_total\\{pid=\"$pid\",command=\"register\",file=\"$DAX/file\",.*\\} [1-9]\$"
has "$said" "^daxmr_file_state\\{.*,state=\"held\"\\} 1\$"
has "$said" "^daxmr_file_recall_seconds_count\\{.*\\} [1-9]\$"

kill -KILL "$pid"
wait "$pid" || true
is_gone() {
	! "$daxmr" list "$pid" >/dev/null 2>&1
}
until_is gone is_gone
