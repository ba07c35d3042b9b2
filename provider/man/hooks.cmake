# SPDX-License-Identifier: BSD-2-Clause
# Writes PAGE to OUTPUT with the list of hooks (HOOKS) where it has the comments
# ".. hooks.def verbs", ".. hooks.def files", ".. hooks.def pmem",
# ".. hooks.def cm" and ".. hooks.def dv".
file(STRINGS ${HOOKS} lines REGEX "^DAXMR_(HOOK|PASS|FILE|FILE_PASS|PMEM|PMEM_PASS|CM|DV)\\(")
set(verbs "")
set(files "")
set(pmem "")
set(cm "")
set(dv "")
foreach(line IN LISTS lines)
    if(line MATCHES "^DAXMR_HOOK\\(([a-z0-9_]+), ([A-Z0-9_.]+), \"([0-9]+)\"\\)")
        string(APPEND verbs "``${CMAKE_MATCH_1}``\n"
            "    hooked (${CMAKE_MATCH_2}, rdma-core ${CMAKE_MATCH_3})\n\n")
    elseif(line MATCHES "^DAXMR_PASS\\(([a-z0-9_]+), \"(.*)\"\\)")
        string(APPEND verbs "``${CMAKE_MATCH_1}``\n"
            "    passed on: ${CMAKE_MATCH_2}\n\n")
    elseif(line MATCHES "^DAXMR_FILE\\(([a-z0-9_]+), \"(.*)\"\\)")
        string(APPEND files "``${CMAKE_MATCH_1}``\n"
            "    hooked: ${CMAKE_MATCH_2}\n\n")
    elseif(line MATCHES "^DAXMR_FILE_PASS\\(([a-z0-9_]+), \"(.*)\"\\)")
        string(APPEND files "``${CMAKE_MATCH_1}``\n"
            "    passed on: ${CMAKE_MATCH_2}\n\n")
    elseif(line MATCHES "^DAXMR_PMEM\\(([a-z0-9_]+), [A-Z0-9_.]+, \"(.*)\"\\)")
        string(APPEND pmem "``${CMAKE_MATCH_1}``\n"
            "    hooked: ${CMAKE_MATCH_2}\n\n")
    elseif(line MATCHES "^DAXMR_PMEM_PASS\\(([a-z0-9_]+), \"(.*)\"\\)")
        string(APPEND pmem "``${CMAKE_MATCH_1}``\n"
            "    passed on: ${CMAKE_MATCH_2}\n\n")
    elseif(line MATCHES "^DAXMR_CM\\(([a-z0-9_]+), [A-Z0-9_.]+, \"(.*)\"\\)")
        string(APPEND cm "``${CMAKE_MATCH_1}``\n"
            "    hooked: ${CMAKE_MATCH_2}\n\n")
    elseif(line MATCHES "^DAXMR_DV\\(([a-z0-9_]+), [A-Z0-9_.]+, \"(.*)\"\\)")
        string(APPEND dv "``${CMAKE_MATCH_1}``\n"
            "    hooked: ${CMAKE_MATCH_2}\n\n")
    else()
        message(FATAL_ERROR "${HOOKS}: cannot read: ${line}")
    endif()
endforeach()
file(READ ${PAGE} text)
foreach(list verbs files pmem cm dv)
    string(FIND "${text}" "\n.. hooks.def ${list}\n" found)
    if(found LESS 0)
        message(FATAL_ERROR "${PAGE} has no place for the list of ${list}")
    endif()
    string(REPLACE "\n.. hooks.def ${list}\n" "\n${${list}}\n" text "${text}")
endforeach()
file(WRITE ${OUTPUT} "${text}")
