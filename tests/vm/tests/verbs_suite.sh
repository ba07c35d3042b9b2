#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# rdma-core's own tests with all their memory in DAX files: each ends as it does without daxmr and with ordinary memory.
# So they do in pinned files of the page cache, where the kernel pins those, but for ibv_rereg_mr(), which rxe does not have by itself.
# on: 6.1-stock-xfs new-fixed-ext4
# limit: 300
# short
# soak 900
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

parts=(test_mr test_atomic) least=10
if test -n "${DAXMR_TEST_LONG:-}"; then
	parts+=(test_addr test_cq test_cq_events test_cqex test_device test_fork test_odp test_parent_domain test_pd test_qp
		test_qpex test_relaxed_ordering test_shared_pd)
	least=70
fi

mkdir tests
for file in /usr/share/doc/rdma-core/tests/*.py*; do
	case $file in
	*.gz) gunzip -c "$file" >tests/"$(basename "$file" .gz)" ;;
	*) cp "$file" tests ;;
	esac
done
suite=("/usr/bin/python3" "$SRC/tests/vm/programs/verbs_suite.py" "$PWD" rxe0)

"${suite[@]}" - "${parts[@]}" >plain 2>plain.log || fail "without daxmr: $(cat plain.log)"
"$daxmr" run --log info -- "${suite[@]}" "$DAX" "${parts[@]}" >ours 2>ours.log ||
	fail "under daxmr: $(tail -n 20 ours.log)"
diff plain ours >differ || fail "what rdma-core's tests say without daxmr (<) and with (>): $(cat differ)"

# It is about files, and about tests that pass.
passed=$(grep -c "	ok$" ours)
test "$passed" -ge "$least" || fail "only $passed tests passed: $(cat ours)"
strategy=staged
case $CONFIG in
*-fixed-*) strategy=odp ;;
esac
registered=$(grep -c " $strategy: fs-dax file" ours.log)
test "$registered" -ge "$least" || fail "only $registered MRs were on DAX files: $(tail -n 20 ours.log)"
# One of the tests asks for what no device has.
has_not "$(grep -E 'daxmr\[[0-9]+\] (error|warn)' ours.log | grep -v 'failed: Invalid argument$')" .
test -z "$(ls "$DAX")" || fail "left: $(ls "$DAX")"

case $CONFIG in
6.1-*)
	mount_cached
	"$daxmr" run --strategy pinned --log info -- "${suite[@]}" "$cached" "${parts[@]}" >on_pinned 2>pinned.log ||
		fail "pinned: $(tail -n 20 pinned.log)"
	diff <(grep -v test_mr_rereg_ plain) <(grep -v test_mr_rereg_ on_pinned) >differ ||
		fail "what rdma-core's tests say without daxmr (<) and on pinned files (>): $(cat differ)"
	pinned=$(grep -c ' pinned: page-cache file' pinned.log)
	test "$pinned" -ge "$least" || fail "only $pinned MRs were pinned: $(tail -n 20 pinned.log)"
	has_not "$(grep -E 'daxmr\[[0-9]+\] (error|warn)' pinned.log | grep -vE 'ibv_rereg_mr|Invalid argument')" .
	echo "the same, with $pinned MRs on pinned files"
	;;
esac
echo "$passed of rdma-core's tests passed as they do on ordinary memory, with $registered MRs on DAX files"
