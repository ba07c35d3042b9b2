# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# In the guest: Debian's perftest, unchanged, once with its
# server's buffer in DRAM without daxmr, and once in a DAX file under daxmr, in
# each of daxmr's ways. The file, $DAX/f, is the caller's, with room for two
# messages; for `pinned` also the module that lets devices pin it.
# shellcheck source-path=SCRIPTDIR source=../vm/tests/lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# The number that perftest prints: average MB/s, or the typical latency in us.
result() { # PROGRAM
	case $1 in
	*_bw) awk '/^ *[0-9]+ +[0-9]+ / { print $4 }' "$client_log" ;;
	*_lat) awk '/^ *[0-9]+ +[0-9]+ / { print $5 }' "$client_log" ;;
	esac
}

# run_once DRAM|WAY PROGRAM OPTIONS...
run_once() {
	local way=$1 program=$2 options=()
	shift 2
	case $way in
	DRAM)
		server_options=()
		perftest "$program" env : "$@"
		return
		;;
	odp | pinned) options=(--strategy="$way") ;;
	staged) options=(--strategy=staged --flush-ms=0) ;;
	staged+write-back) options=(--strategy=staged) ;;
	*) fail "DRAM, odp, pinned, staged or staged+write-back, not '$way'" ;;
	esac
	server_options=(--mmap="$DAX/f")
	perftest "$program" "$daxmr" run "${options[@]}" -- : "$@"
}

# A clock that counts instructions leaps to the next timer whenever nobody has
# anything to do, as while a program is read from the host: a time limit may be
# over at once.  So it is a long one (a run that hangs leaps there as well),
# everything has run once before it counts, and a run that fails all the same is
# told and done again, nine times at most.
# shellcheck disable=SC2034  # of perftest, in lib.sh
limit=(timeout 600)
warm_up() { # DRAM|WAY PROGRAM OPTIONS...
	local n
	for n in $(seq 20); do
		! run_once "$@" || return 0
	done
	fail "$2 on $1, $n times: $(cat "$server_log" "$client_log")"
}

# once DRAM|WAY PROGRAM OPTIONS...: into $measured
once() {
	local n
	for n in $(seq 10); do
		! run_once "$@" || break
		echo "# once more: $2 on $1"
		test "$n" != 10 || fail "$2 on $1, $n times: $(cat "$server_log" "$client_log")"
	done
	measured=$(result "$2")
	test -n "$measured" || fail "$2 on $1 printed no result: $(cat "$client_log")"
}
