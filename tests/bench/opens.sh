#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
#     opens.sh BREAK_BENCH KEEPER OPENS MIB...
#
# In the guest: how long opens of a staged file take, for each size.
set -eu
program=$1 keeper=$2 opens=$3
shift 3
for mib; do
	"$program" "$keeper" "$DAX" "$mib" "$opens"
done
