# SPDX-License-Identifier: BSD-2-Clause
#
# Of lease/: on real files of the build folder, which has to be on ext4 or xfs.
add_library(unit-lease-file STATIC ${CMAKE_CURRENT_LIST_DIR}/lease_file.c
    ${CMAKE_CURRENT_LIST_DIR}/lease_stage.c)
target_include_directories(unit-lease-file PUBLIC ${CMAKE_CURRENT_LIST_DIR})
target_link_libraries(unit-lease-file PUBLIC daxmr-lease PkgConfig::CMOCKA)

add_library(unit-lease-listener STATIC ${CMAKE_CURRENT_LIST_DIR}/lease_listener.c)
target_link_libraries(unit-lease-listener PUBLIC unit-lease-file)
target_compile_definitions(unit-lease-listener PUBLIC KEEPER_PATH="$<TARGET_FILE:daxmr-keeper>")
add_dependencies(unit-lease-listener daxmr-keeper)

foreach(name recall recall_owner late grant remap description limit keeper engine guest death fate listen outside own own_change settle swap staged staged_alone staged_read lent cases private shadow_places book policy_staged regions sleepers stopped talk unsent moved heap errand)
    add_executable(unit-lease-${name} ${CMAKE_CURRENT_LIST_DIR}/lease_${name}_test.c)
    target_link_libraries(unit-lease-${name} PRIVATE unit-lease-file)
    add_test(NAME unit-lease-${name} COMMAND unit-lease-${name})
    set_tests_properties(unit-lease-${name} PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" SKIP_RETURN_CODE 77 TIMEOUT 400)
endforeach()
foreach(name description limit keeper engine guest own own_change staged staged_alone staged_read lent cases policy_staged regions sleepers)
    target_compile_definitions(unit-lease-${name} PRIVATE KEEPER_PATH="$<TARGET_FILE:daxmr-keeper>")
    add_dependencies(unit-lease-${name} daxmr-keeper)
endforeach()
foreach(name death listen outside settle)
    target_link_libraries(unit-lease-${name} PRIVATE unit-lease-listener)
endforeach()

foreach(name stopped talk moved)
    target_sources(unit-lease-${name} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/lease_fake_keeper.c)
endforeach()

# A sanitizer has a malloc() of its own.
if(NOT DAXMR_SANITIZE)
    add_executable(unit-lease-malloc ${CMAKE_CURRENT_LIST_DIR}/lease_malloc_test.c)
    target_compile_options(unit-lease-malloc PRIVATE -fno-builtin)
    target_compile_definitions(unit-lease-malloc PRIVATE KEEPER_PATH="$<TARGET_FILE:daxmr-keeper>")
    target_link_libraries(unit-lease-malloc PRIVATE unit-lease-file)
    add_dependencies(unit-lease-malloc daxmr-keeper)
    add_test(NAME unit-lease-malloc COMMAND unit-lease-malloc)
    set_tests_properties(unit-lease-malloc PROPERTIES LABELS unit SKIP_RETURN_CODE 77 TIMEOUT 400)
endif()

add_executable(unit-lease-self-maps ${CMAKE_CURRENT_LIST_DIR}/lease_self_maps_test.c)
target_link_libraries(unit-lease-self-maps PRIVATE unit-lease-file)
add_test(NAME unit-lease-self-maps COMMAND unit-lease-self-maps)
set_tests_properties(unit-lease-self-maps PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" TIMEOUT 400)
# A kernel without the query is brought about in the system call.
target_link_options(unit-lease-self-maps PRIVATE -Wl,--wrap=syscall)

add_executable(unit-lease-room ${CMAKE_CURRENT_LIST_DIR}/lease_room_test.c)
target_link_libraries(unit-lease-room PRIVATE unit-lease-file)
target_link_options(unit-lease-room PRIVATE -Wl,--wrap=syscall,--wrap=fstatfs,--wrap=ioctl)
add_test(NAME unit-lease-room COMMAND unit-lease-room)
set_tests_properties(unit-lease-room PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" TIMEOUT 400)

# The engine's looks at what is mapped are counted there.
target_link_options(unit-lease-regions PRIVATE -Wl,--wrap=syscall)

# No thread is brought about in the call for one.
target_link_options(unit-lease-errand PRIVATE -Wl,--wrap=pthread_create)

# A file that cannot be read is brought about in the system call.
target_link_options(unit-lease-swap PRIVATE -Wl,--wrap=syscall)

# The trouble that a file makes between two steps of the flush is made in its
# system calls.
add_library(unit-lease-flush-file STATIC ${CMAKE_CURRENT_LIST_DIR}/lease_flush.c)
target_link_libraries(unit-lease-flush-file PUBLIC unit-lease-file daxmr-flush)
foreach(name flush flush_part flush_trouble taken_back)
    string(REPLACE "_" "-" target unit-lease-${name})
    add_executable(${target} ${CMAKE_CURRENT_LIST_DIR}/lease_${name}_test.c)
    target_link_libraries(${target} PRIVATE unit-lease-flush-file)
    add_test(NAME ${target} COMMAND ${target})
    set_tests_properties(${target} PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" TIMEOUT 400)
endforeach()
target_link_options(unit-lease-flush-trouble PRIVATE -Wl,--wrap=syscall,--wrap=pwrite,--wrap=sync_file_range)
target_link_options(unit-lease-taken-back PRIVATE -Wl,--wrap=extent_digest,--wrap=flush_file_store,--wrap=flush_file_exchange)

add_executable(unit-lease-block ${CMAKE_CURRENT_LIST_DIR}/lease_block_test.c)
target_link_libraries(unit-lease-block PRIVATE daxmr-lease PkgConfig::CMOCKA)
add_test(NAME unit-lease-block COMMAND unit-lease-block)
set_tests_properties(unit-lease-block PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" TIMEOUT 400)

add_executable(unit-lease-merge ${CMAKE_CURRENT_LIST_DIR}/lease_merge_test.c)
target_link_libraries(unit-lease-merge PRIVATE unit-lease-file daxmr-flush)
add_test(NAME unit-lease-merge COMMAND unit-lease-merge)
set_tests_properties(unit-lease-merge PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" TIMEOUT 400)

# A file system that is full for one range is brought about in the call.
add_executable(unit-lease-extents ${CMAKE_CURRENT_LIST_DIR}/lease_extents_test.c
    ${PROJECT_SOURCE_DIR}/lease/extents.c)
target_link_libraries(unit-lease-extents PRIVATE unit-lease-file daxmr-flush)
target_link_options(unit-lease-extents PRIVATE -Wl,--wrap=allocate_range,--wrap=futimens)
add_test(NAME unit-lease-extents COMMAND unit-lease-extents)
set_tests_properties(unit-lease-extents PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" TIMEOUT 400)

add_library(unit-lease-kept STATIC ${CMAKE_CURRENT_LIST_DIR}/lease_kept.c)
target_link_libraries(unit-lease-kept PUBLIC unit-lease-file)
target_compile_definitions(unit-lease-kept PUBLIC KEEPER_PATH="$<TARGET_FILE:daxmr-keeper>")
add_dependencies(unit-lease-kept daxmr-keeper)
target_link_libraries(unit-lease-keeper PRIVATE unit-lease-kept)
foreach(name adopt changes ranges writeback)
    add_executable(unit-lease-${name} ${CMAKE_CURRENT_LIST_DIR}/lease_${name}_test.c)
    target_link_libraries(unit-lease-${name} PRIVATE unit-lease-kept)
    add_test(NAME unit-lease-${name} COMMAND unit-lease-${name})
    set_tests_properties(unit-lease-${name} PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" SKIP_RETURN_CODE 77 TIMEOUT 400)
endforeach()

add_executable(unit-lease-policy ${CMAKE_CURRENT_LIST_DIR}/lease_policy_test.c
    ${PROJECT_SOURCE_DIR}/lease/extents.c)
target_link_libraries(unit-lease-policy PRIVATE unit-lease-file daxmr-flush)
add_test(NAME unit-lease-policy COMMAND unit-lease-policy)
set_tests_properties(unit-lease-policy PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" TIMEOUT 400)

# Beside a table with a clock of its own.
add_executable(unit-lease-news ${CMAKE_CURRENT_LIST_DIR}/lease_news_test.c
    ${PROJECT_SOURCE_DIR}/lease/due.c ${PROJECT_SOURCE_DIR}/lease/leased_news.c
    ${PROJECT_SOURCE_DIR}/lease/watch.c)
target_link_libraries(unit-lease-news PRIVATE daxmr-lease PkgConfig::CMOCKA)
add_test(NAME unit-lease-news COMMAND unit-lease-news)
set_tests_properties(unit-lease-news PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" TIMEOUT 400)

foreach(name recall recall_owner news late adopt writeback)
    target_sources(unit-lease-${name} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/lease_recall_world.c)
endforeach()

add_executable(unit-lease-outbox ${CMAKE_CURRENT_LIST_DIR}/lease_outbox_test.c
    ${PROJECT_SOURCE_DIR}/lease/outbox.c)
target_link_libraries(unit-lease-outbox PRIVATE unit-lease-file)
add_test(NAME unit-lease-outbox COMMAND unit-lease-outbox)
set_tests_properties(unit-lease-outbox PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" TIMEOUT 400)

# Transfers of the program on a file with shadows.
foreach(name io io_model)
    add_executable(unit-lease-${name} ${CMAKE_CURRENT_LIST_DIR}/lease_${name}_test.c)
    target_link_libraries(unit-lease-${name} PRIVATE unit-lease-file)
    target_compile_definitions(unit-lease-${name} PRIVATE KEEPER_PATH="$<TARGET_FILE:daxmr-keeper>")
    add_dependencies(unit-lease-${name} daxmr-keeper)
    add_test(NAME unit-lease-${name} COMMAND unit-lease-${name})
    set_tests_properties(unit-lease-${name} PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" SKIP_RETURN_CODE 77 TIMEOUT 400)
endforeach()
