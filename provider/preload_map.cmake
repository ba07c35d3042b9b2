# SPDX-License-Identifier: BSD-2-Clause
# Writes the symbol map of the preload (MAP) from the list of hooks (HOOKS): one
# node for each of rdma-core's (its drivers' and librdmacm's too) and libpmem's versions. The hooks on
# files, dlsym and dlvsym stay in the base version, which every program's reference accepts.
file(STRINGS ${HOOKS} lines REGEX "^DAXMR_(HOOK|PMEM|CM|DV|DV_OLD)\\(")
foreach(line IN LISTS lines)
    if(NOT line MATCHES "^DAXMR_[A-Z_]+\\(([a-z0-9_]+), ([A-Z0-9]+_[0-9.]+)[,)]")
        message(FATAL_ERROR "${HOOKS}: cannot read: ${line}")
    endif()
    set(symbol ${CMAKE_MATCH_1})
    set(version ${CMAKE_MATCH_2})
    list(APPEND versions ${version})
    # an old version's symbol has its node from the code
    if(NOT line MATCHES "^DAXMR_DV_OLD")
        list(APPEND symbols_${version} ${symbol})
    endif()
endforeach()
list(REMOVE_DUPLICATES versions)
set(map "")
foreach(version IN LISTS versions)
    list(JOIN symbols_${version} "; " symbols)
    if(symbols)
        string(APPEND map "${version} { global: ${symbols}; };\n")
    else()
        string(APPEND map "${version} { };\n")
    endif()
endforeach()
file(WRITE ${MAP} "${map}")
