# causeway_library(name SOURCES ... DEPS ...): a static library causeway_<name>, aliased causeway::<name>.
# DEPS are public: they carry the layering rule (an upward include does not compile for lack of a target,
# and tests/tidy fails on it).
function(causeway_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(causeway_${name} STATIC ${ARG_SOURCES})
  add_library(causeway::${name} ALIAS causeway_${name})
  target_link_libraries(causeway_${name} PUBLIC ${ARG_DEPS} PRIVATE causeway_flags)
  target_include_directories(causeway_${name} PUBLIC ${PROJECT_SOURCE_DIR})
endfunction()

# The tests whose sanitized run is part of every CI run: all that is small with `./dev asan --quick`, and those that hold
# threads or simulate what threads do (label `threads`) with `./dev tsan --quick`.
add_custom_target(sanitize_tests)
add_custom_target(threads_tests)

# causeway_test_entry(name LABELS ... TIMEOUT s TARGET t COMMAND ...): one ctest entry that runs in the source folder of
# the repository, so that data paths are relative to it. Labels are those given, the kind and the module of its folder
# (tests/unit/memory: unit, memory), and `sanitize` for the kinds that CI repeats with sanitizers.
function(causeway_test_entry name)
  cmake_parse_arguments(ARG "" "TIMEOUT;TARGET" "LABELS;COMMAND" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(CAUSEWAY_SANITIZE)
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 4")
  endif()
  file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR}/tests ${CMAKE_CURRENT_SOURCE_DIR})
  string(REPLACE "/" ";" labels "${folder}")
  list(APPEND labels ${ARG_LABELS})
  if(folder MATCHES "^(unit|fuzz)" AND NOT "slow" IN_LIST labels)
    list(APPEND labels sanitize)
  endif()
  foreach(kind sanitize threads)
    if(kind IN_LIST labels AND ARG_TARGET)
      add_dependencies(${kind}_tests ${ARG_TARGET})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES labels)
  add_test(NAME ${name} COMMAND ${ARG_COMMAND} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS "${labels}" TIMEOUT ${ARG_TIMEOUT})
  if(CAUSEWAY_SANITIZE MATCHES "thread")
    set_tests_properties(${name} PROPERTIES
      ENVIRONMENT "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp")
  endif()
endfunction()

# causeway_test(name SOURCES ... DEPS ... [LABELS ...] [TIMEOUT s]): one GoogleTest binary, one ctest entry.
function(causeway_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} causeway_flags GTest::gmock GTest::gtest_main)
  causeway_test_entry(${name} TARGET ${name} LABELS ${ARG_LABELS} TIMEOUT "${ARG_TIMEOUT}" COMMAND ${name})
endfunction()
