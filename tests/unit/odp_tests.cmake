# SPDX-License-Identifier: BSD-2-Clause
#
# Of odp/: against a fake device, without libibverbs.
add_library(unit-odp-fake STATIC
    ${CMAKE_CURRENT_LIST_DIR}/odp_fake_move.c
    ${CMAKE_CURRENT_LIST_DIR}/odp_fake_sysfs.c
    ${CMAKE_CURRENT_LIST_DIR}/odp_fake_verbs.c)
target_include_directories(unit-odp-fake PUBLIC ${CMAKE_CURRENT_LIST_DIR})
target_link_libraries(unit-odp-fake PUBLIC daxmr-odp PkgConfig::CMOCKA Threads::Threads)

foreach(name caps mr trust ports cache)
    add_executable(unit-odp-${name} ${CMAKE_CURRENT_LIST_DIR}/odp_${name}_test.c)
    target_link_libraries(unit-odp-${name} PRIVATE unit-odp-fake)
    add_test(NAME unit-odp-${name} COMMAND unit-odp-${name})
    set_tests_properties(unit-odp-${name} PROPERTIES LABELS unit SKIP_RETURN_CODE 77 TIMEOUT 400)
endforeach()

# Of provider/, against the same device.
unit_test(window window_fake.c)
target_link_libraries(unit-window PRIVATE unit-odp-fake)
# What is around these is the test's own.
set(WINDOW window.c window_bind.c window_key.c window_lock.c window_pd.c window_reach.c window_view.c window_watch.c)
list(TRANSFORM WINDOW PREPEND ${PROJECT_SOURCE_DIR}/provider/window/)
foreach(name region trouble)
    unit_test(window_${name} window_fake.c window_world.c ${WINDOW})
    target_link_libraries(unit-window-${name} PRIVATE unit-odp-fake)
endforeach()
