#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What a full disk, or a quota, has no room for is an error of those blocks alone: the others are flushed, and those when there is room. To allocate more than a quota leaves is refused before anything is.
# on: 6.1-stock-xfs new-stock-ext4
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# On DAX, and on the page cache of a file system without.
"$programs/flush_full" "$DAX" full || fail "on $DAX"

modprobe loop
truncate -s 64M image
mkfs.ext4 -q -b 4096 image
mkdir plain
mount -o loop image plain
trap 'umount plain' EXIT
has "$(grep " $PWD/plain " /proc/mounts)" ' ext4 '
"$programs/flush_full" plain full || fail "on a page cache"

# As the user himself: on ext4 root is exempt.
umount "$DAX"
case $CONFIG in
*ext4)
	tune2fs -O quota -Q usrquota /dev/pmem0
	trap 'umount plain "$DAX"; tune2fs -O ^quota /dev/pmem0' EXIT
	;;
*) trap 'umount plain "$DAX"' EXIT ;;
esac
mount -o dax=always,usrquota /dev/pmem0 "$DAX"
"$programs/quota" "$DAX" 1000 65536
setpriv --reuid 1000 --regid 1000 --clear-groups "$programs/flush_full" "$DAX" quota || fail "with a quota"
