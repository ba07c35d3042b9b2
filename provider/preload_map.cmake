# SPDX-License-Identifier: BSD-2-Clause
# Writes the symbol map of the preload (MAP) from the list of hooks (HOOKS): one
# node for each of rdma-core's, libpmem's and librdmacm's versions. The hooks on
# files, dlsym and dlvsym stay in the base version, which every program's reference accepts.
file(STRINGS ${HOOKS} lines REGEX "^DAXMR_(HOOK|PMEM|CM)\\(")
foreach(line IN LISTS lines)
    if(NOT line MATCHES "^DAXMR_[A-Z]+\\(([a-z0-9_]+), ([A-Z0-9]+_[0-9.]+), ")
        message(FATAL_ERROR "${HOOKS}: cannot read: ${line}")
    endif()
    list(APPEND versions ${CMAKE_MATCH_2})
    list(APPEND symbols_${CMAKE_MATCH_2} ${CMAKE_MATCH_1})
endforeach()
list(REMOVE_DUPLICATES versions)
set(map "")
foreach(version IN LISTS versions)
    list(JOIN symbols_${version} "; " symbols)
    string(APPEND map "${version} { global: ${symbols}; };\n")
endforeach()
file(WRITE ${MAP} "${map}")
