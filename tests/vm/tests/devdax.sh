#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Device-dax is recognised and passed through: the kernel pins it, a peer writes into it.
# on: 6.1-stock-ext4 new-stock-ext4
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

nd=/sys/bus/nd
region=$nd/devices/region0

# put WORD FILE: a device that a driver is just being tried on is busy.
put() {
	local n
	for n in $(seq 50); do
		if echo "$1" 2>/dev/null >"$2"; then
			return
		fi
		sleep 0.1
	done
	fail "$2 did not take '$1' in $n tenths of a second"
}

# make_namespace pfn|dax DRIVER: mode fsdax or devdax over all of the region.
make_namespace() {
	local seed
	seed=$(cat "$region/$1_seed")
	put ram "$nd/devices/$seed/mode"
	put 2097152 "$nd/devices/$seed/align"
	put "$(cat /proc/sys/kernel/random/uuid)" "$nd/devices/$seed/uuid"
	put namespace0.0 "$nd/devices/$seed/namespace"
	put "$seed" "$nd/drivers/$2/bind"
}

# end_namespace pfn|dax DRIVER: the device that has the region lets it go.
end_namespace() {
	local file
	file=$(grep -l namespace0.0 "$nd/devices/$1"*/namespace | head -n 1)
	put "$(basename "${file%/namespace}")" "$nd/drivers/$2/unbind"
	put '' "$file"
}

give_back() {
	end_namespace dax dax_pmem
	make_namespace pfn nd_pmem
	mkfs.ext4 -q -F -b 4096 -E nodiscard,lazy_itable_init=1 /dev/pmem0
	mount -o dax=always /dev/pmem0 "$DAX"
	chmod 1777 "$DAX"
}

umount "$DAX"
end_namespace pfn nd_pmem
modprobe -a dax_pmem device_dax
make_namespace dax dax_pmem
trap give_back EXIT

out=$("$daxmr" run --log info -- "$programs/rdma_devdax" /dev/dax0.0 2>&1) || fail "$out"
has_not "$out" 'daxmr\['
out=$("$daxmr" check /dev/dax0.0) || fail "$out"
has "$out" 'passthrough'
has "$out" 'device-dax'
