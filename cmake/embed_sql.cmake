# SPDX-License-Identifier: MIT
# Turns the files that FOLDER/order.txt names into OUT, a C array of name and text:
#   cmake -DFOLDER=src/backend/postgres/sql -DOUT=sql.c -P cmake/embed_sql.cmake
file(STRINGS ${FOLDER}/order.txt names REGEX "^[a-z]")
set(texts "")
set(list "")
foreach(name ${names})
  string(MAKE_C_IDENTIFIER ${name} symbol)
  # As bytes, because a string literal longer than 4095 of them is not C11.
  file(READ ${FOLDER}/${name} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes
    "${bytes}")
  string(APPEND texts "static const char text_${symbol}[] = {\n${bytes}0};\n")
  string(APPEND list "    {\"${name}\", text_${symbol}},\n")
endforeach()
file(WRITE ${OUT} "/* Made of src/backend/postgres/sql/ by cmake/embed_sql.cmake. */
#include \"backend/postgres/schema.h\"

${texts}
const pg_sql_file pg_sql_files[] = {
${list}    {0},
};
")
