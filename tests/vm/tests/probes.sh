#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The probes are in the library, as readelf lists them, and perf, used as daxmr(7) says, sees each of them: a staged file is recalled, handed over before all could be written, merged; a pinned one goes and comes back.
# on: new-stock-xfs
# packages: linux-perf binutils
# limit: 300
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"
library=$BUILD/libdaxmr.so.0
file=$DAX/file

is_listed() { # PATTERN
	"$daxmr" list --json "$pid" | tr -d ' \n' | grep -Eq "$1"
}

story() {
	local address
	"$daxmr" run --quiesce-ms 20000 -- "$programs/pinned_asked" /dev/shm/pinned || fail "no pinned region"

	DAXMR_STRATEGY=staged "$programs/register" "$file" >said 2>&1 &
	pid=$!
	until_is registered grep -q rkey said
	# While we have it: its blocks are shared, there is room for few
	# others, and all of it is stored to.
	exec 8<"$file"
	cp --reflink=always "$file" "$DAX/copy"
	fallocate -l "$(($(stat -fc "%a * %S" "$DAX") - 1048576))" "$DAX/filler"
	address=$("$daxmr" list --json "$pid" | sed -n 's/.*"address": *\([0-9]*\).*/\1/p')
	dd if=/dev/urandom of="/proc/$pid/mem" bs=4096 seek=$((address / 4096)) count=1024 conv=notrunc status=none
	exec 8<&-
	until_is out-of-room is_listed '"flush_errors":[1-9]'
	cat "$file" >/dev/null
	until_is forced is_listed '"forced":[1-9]'
	rm "$DAX/filler"
	until_is merged is_listed '"state":"held","age_us".*"merged":[1-9]'
	kill "$pid"
}

# As its own child: perf sees what happens while that runs.
if test "${1:-}" = story; then
	story
	exit
fi

has "$(readelf -n "$library" | grep -A1 'Provider: daxmr')" 'Name: registration'
make_file "$file" 4
inode=$(stat -c %i "$file")
# perf looks at each module of the running kernel, one after another, though
# none is asked about: over 9p that takes it a minute.
mount -t tmpfs none /lib/modules
trap 'umount /lib/modules' EXIT
perf buildid-cache --add "$library"
perf probe --quiet --add 'sdt_daxmr:*'
perf record --quiet --no-buildid --output hits -a -e 'sdt_daxmr:*' -- "$0" story || fail "$(cat said)"
perf probe --quiet --del 'sdt_daxmr:*'
hits=$(perf script --input hits --fields trace:comm,pid,event,trace)
echo "$hits"

# Device, inode, and how long it was in the state before, but for the first.
of_file="arg1=[0-9]+ arg2=$inode arg3=[0-9]+"
has "$hits" 'sdt_daxmr:registration: .* arg2=1048576 .* arg4=0$'
has "$hits" 'sdt_daxmr:registration: .* arg2=4194304 .* arg4=0$'
has "$hits" "sdt_daxmr:break: .* $of_file"
has "$hits" "sdt_daxmr:flushed: .* $of_file arg4=3\$"
has "$hits" "sdt_daxmr:yielded: .* $of_file arg4=0\$"
has "$hits" "sdt_daxmr:retaken: .* $of_file"
has "$hits" "sdt_daxmr:forced: .* $of_file arg4=28\$"
has "$hits" "sdt_daxmr:merged: .* $of_file arg4=0\$"
has "$hits" 'sdt_daxmr:quiesced: .* arg4=0$'
has "$hits" 'sdt_daxmr:resumed: .* arg4=[1-9][0-9]*$'
