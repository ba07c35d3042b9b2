#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# daxmr.h alone, in C11 and in C++, without a warning.
#
# usage: api_header_test.sh FOLDER-OF-DAXMR.H C-COMPILER
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/header.c" <<-'C'
	#include <daxmr.h>
	int main(void)
	{
		struct daxmr_options options = {0};
		struct daxmr_region *region;
		options.size = sizeof(options);
		options.strategy = DAXMR_STRATEGY_STAGED;
		options.on_recall = DAXMR_ON_RECALL_ASK;
		return daxmr_reg_mr(NULL, NULL, 0, 0, &options, &region);
	}
C
cp "$work/header.c" "$work/header.cc"
"$2" -std=c11 -Wall -Wextra -Wconversion -pedantic -Werror -I"$1" -c -o "$work/c.o" "$work/header.c"
for standard in c++11 c++17; do
	g++ -std=$standard -Wall -Wextra -Wno-missing-field-initializers -pedantic -Werror -I"$1" \
		-c -o "$work/cc.o" "$work/header.cc"
	# no name of C++ is asked for
	nm "$work/cc.o" | grep -q 'U daxmr_reg_mr$'
done
