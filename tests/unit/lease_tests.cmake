# SPDX-License-Identifier: BSD-2-Clause
#
# Of lease/: on real files of the build folder, which has to be on ext4 or xfs.
foreach(name recall)
    add_executable(unit-lease-${name} ${CMAKE_CURRENT_LIST_DIR}/lease_${name}_test.c)
    target_link_libraries(unit-lease-${name} PRIVATE daxmr-lease PkgConfig::CMOCKA)
    add_test(NAME unit-lease-${name} COMMAND unit-lease-${name})
    set_tests_properties(unit-lease-${name} PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" SKIP_RETURN_CODE 77 TIMEOUT 120)
endforeach()
