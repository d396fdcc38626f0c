# Every target of ours links causeway_flags (privately): the language level, the warnings, and the float
# rules that bit-identical answers rest on (no contraction the source does not spell, no reassociation).
add_library(causeway_flags INTERFACE)
target_compile_features(causeway_flags INTERFACE cxx_std_20)
target_compile_options(causeway_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:
  -Wall -Wextra -Werror -ffp-contract=off -fno-math-errno>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees overlapping copies and unset values inside std::string and std::optional that are not there (its bugs
  # 105329, 105651 and 105562); clang checks the same code without these two exceptions.
  target_compile_options(causeway_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict -Wno-maybe-uninitialized>)
endif()
if(CAUSEWAY_SANITIZE)
  target_compile_options(causeway_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:
    -fsanitize=${CAUSEWAY_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all>)
  target_link_options(causeway_flags INTERFACE -fsanitize=${CAUSEWAY_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ cannot see through its own instrumentation and warns of what is not there; the other presets keep these on.
    target_compile_options(causeway_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:
      -Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-array-bounds -Wno-tsan>)
  endif()
endif()
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
