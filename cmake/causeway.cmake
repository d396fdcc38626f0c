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

# causeway_test(name SOURCES ... DEPS ... [LABELS ...] [TIMEOUT s]): one GoogleTest binary, one ctest entry.
# Tests run in the source folder of the repository, so data paths are relative to it.
function(causeway_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} causeway_flags GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()
