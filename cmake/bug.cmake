# SPDX-License-Identifier: MIT
# -DNEOQ_BUG=NAME builds the library from a copy of its sources that has the deliberate bug of
# tests/chaos/bugs/NAME.patch, to prove that the chaos harness finds it. Sets `sources` to that copy. The sources
# themselves have no switch for any of this, and nothing that was built so can be installed.
find_program(NEOQ_PATCH patch REQUIRED)
set(bug_patch ${CMAKE_CURRENT_SOURCE_DIR}/tests/chaos/bugs/${NEOQ_BUG}.patch)
if(NOT EXISTS ${bug_patch})
  message(FATAL_ERROR "there is no bug \"${NEOQ_BUG}\": no file ${bug_patch}")
endif()

# What is the same as before keeps its time, so that the next bug in the same folder builds only what differs.
file(GLOB_RECURSE originals RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS src/*)
foreach(original ${originals})
  configure_file(${original} ${CMAKE_BINARY_DIR}/bug/${original} COPYONLY)
endforeach()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${bug_patch})
execute_process(COMMAND ${NEOQ_PATCH} -p1 --batch --forward --fuzz=0 --reject-file=- -i ${bug_patch}
  WORKING_DIRECTORY ${CMAKE_BINARY_DIR}/bug RESULT_VARIABLE patched OUTPUT_VARIABLE words ERROR_VARIABLE words)
if(NOT patched EQUAL 0)
  message(FATAL_ERROR "${bug_patch} does not apply:\n${words}")
endif()

set(sources ${CMAKE_BINARY_DIR}/bug/src)
set(bug_mark "+bug")
message(WARNING "the library is built with the deliberate bug \"${NEOQ_BUG}\": it loses or repeats jobs")
install(CODE "message(FATAL_ERROR \"a library with a deliberate bug is not to be installed\")")
