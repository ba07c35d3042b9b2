# SPDX-License-Identifier: BSD-2-Clause
#
# What daemons hear of their files. The engine looks for the keeper beside the
# program.
add_executable(unit-api-news api_news_test.c)
target_link_libraries(unit-api-news PRIVATE daxmr-engine unit-lease-file)
add_dependencies(unit-api-news daxmr-keeper)
add_test(NAME unit-api-news COMMAND unit-api-news)
set_tests_properties(unit-api-news PROPERTIES LABELS unit ENVIRONMENT "${TSAN_ENVIRONMENT}" SKIP_RETURN_CODE 77 TIMEOUT 400)
