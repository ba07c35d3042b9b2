#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What a full disk has no room for is an error of those blocks alone: the others are flushed, and those when there is room.
# on: 6.1-stock-xfs new-stock-ext4
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# On DAX, and on the page cache of a file system without.
"$programs/flush_full" "$DAX" || fail "on $DAX"

modprobe loop
truncate -s 64M image
mkfs.ext4 -q -b 4096 image
mkdir plain
mount -o loop image plain
trap 'umount plain' EXIT
has "$(grep " $PWD/plain " /proc/mounts)" ' ext4 '
"$programs/flush_full" plain || fail "on a page cache"
