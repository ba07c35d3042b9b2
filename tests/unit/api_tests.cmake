# SPDX-License-Identifier: BSD-2-Clause
#
# What daemons hear of their files. The engine looks for the keeper beside the
# program.
add_executable(unit-api-news api_news_test.c)
target_link_libraries(unit-api-news PRIVATE daxmr-engine unit-lease-file)
add_dependencies(unit-api-news daxmr-keeper)
add_test(NAME unit-api-news COMMAND unit-api-news)
set_tests_properties(unit-api-news PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" SKIP_RETURN_CODE 77 TIMEOUT 400)

# Daemons: against the library itself, and a stand-in for libibverbs.
add_library(unit-api-daemon STATIC api_daemon.c api_pinned_stories.c api_stories.c)
target_include_directories(unit-api-daemon PUBLIC ${CMAKE_CURRENT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/provider
    ${IBVERBS_INCLUDE_DIRS})
target_link_libraries(unit-api-daemon PUBLIC daxmr PkgConfig::CMOCKA)
add_test(NAME unit-api-header COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/api_header_test.sh
    ${PROJECT_SOURCE_DIR}/provider ${CMAKE_C_COMPILER})
set_tests_properties(unit-api-header PROPERTIES LABELS unit TIMEOUT 400)

foreach(name events flush options pinned process)
    add_executable(unit-api-${name} api_${name}_test.c)
    target_link_libraries(unit-api-${name} PRIVATE standin unit-api-daemon)
    add_dependencies(unit-api-${name} daxmr-keeper)
    add_test(NAME unit-api-${name} COMMAND unit-api-${name})
    set_tests_properties(unit-api-${name} PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" SKIP_RETURN_CODE 77 TIMEOUT 400)
endforeach()
# Its numbers by themselves: the library shows them to nobody.
target_sources(unit-api-flush PRIVATE ${PROJECT_SOURCE_DIR}/provider/api_flushes.c)
target_include_directories(unit-api-flush PRIVATE ${PROJECT_SOURCE_DIR}/lease)

# All that registers is the test's own.
set(API api.c api_change.c api_flushes.c api_news.c api_options.c api_region.c event.c)
list(TRANSFORM API PREPEND ${PROJECT_SOURCE_DIR}/provider/)
unit_test(api_window ${API})
target_link_options(unit-api-window PRIVATE
    -Wl,--wrap=region_register,--wrap=region_deregister,--wrap=mr_record_get,--wrap=window_listen,--wrap=pinned_listen,--wrap=pinned_lease,--wrap=lease_news_listen,--wrap=lease_news_unlisten)
