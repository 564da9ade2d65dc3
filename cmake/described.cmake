# SPDX-License-Identifier: MIT
# What the command tells of itself, from the tables that drive it: completions and the manual page, in ${described}.
set(described ${CMAKE_CURRENT_BINARY_DIR}/described)
file(MAKE_DIRECTORY ${described}/bash ${described}/zsh ${described}/fish)
set(described_files)
foreach(pair bash:bash/neoq zsh:zsh/_neoq fish:fish/neoq.fish)
  string(REPLACE ":" ";" pair ${pair})
  list(GET pair 0 shell)
  list(GET pair 1 file)
  add_custom_command(OUTPUT ${described}/${file} COMMAND neoq_command completion ${shell} > ${described}/${file}
    DEPENDS neoq_command VERBATIM)
  list(APPEND described_files ${described}/${file})
endforeach()

find_program(SCDOC scdoc)
if(SCDOC)
  add_custom_command(OUTPUT ${described}/neoq.1 ${described}/neoq.1.gz
    COMMAND neoq_command help --scdoc > ${described}/neoq.1.scd
    COMMAND ${SCDOC} < ${described}/neoq.1.scd > ${described}/neoq.1
    COMMAND gzip -9nkf ${described}/neoq.1
    DEPENDS neoq_command VERBATIM)
  list(APPEND described_files ${described}/neoq.1)
else()
  message(STATUS "scdoc is missing: without the manual page neoq(1)")
endif()
add_custom_target(neoq_described ALL DEPENDS ${described_files})
