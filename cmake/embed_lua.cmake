# SPDX-License-Identifier: MIT
# Turns the scripts in FOLDER into OUT, a C string each, with what its line "-- uses: ..." names in front of it:
#   cmake -DFOLDER=src/backend/redis/lua -DOUT=lua.c -P cmake/embed_lua.cmake
file(GLOB paths ${FOLDER}/*.lua)
set(texts "")
foreach(path ${paths})
  get_filename_component(name ${path} NAME_WE)
  file(STRINGS ${path} uses REGEX "^-- uses: ")
  string(REGEX REPLACE "^-- uses: *" "" uses "${uses}")
  separate_arguments(uses)
  set(bytes "")
  foreach(part ${uses} ${name})
    # As bytes, because a string literal longer than 4095 of them is not C11.
    file(READ ${FOLDER}/${part}.lua hex HEX)
    string(APPEND bytes "${hex}")
  endforeach()
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes
    "${bytes}")
  string(APPEND texts "const char rd_lua_${name}[] = {\n${bytes}0};\n")
endforeach()
file(WRITE ${OUT} "/* Made of src/backend/redis/lua/ by cmake/embed_lua.cmake. */
#include \"backend/redis/scripts.h\"

${texts}")
