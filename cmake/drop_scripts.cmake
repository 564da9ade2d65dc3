# SPDX-License-Identifier: MIT
# CPack gives a package with a shared library scripts that call ldconfig. Debian wants a trigger in their place, which is
# there already (packages.cmake); so the scripts are taken out of what was packed.
foreach(package IN LISTS CPACK_PACKAGE_FILES)
  if(package MATCHES "/libneoq[0-9]+_[^/]*\\.deb$")
    set(unpacked ${CPACK_TEMPORARY_DIRECTORY}/unpacked)
    execute_process(COMMAND dpkg-deb --raw-extract ${package} ${unpacked} COMMAND_ERROR_IS_FATAL ANY)
    file(REMOVE ${unpacked}/DEBIAN/postinst ${unpacked}/DEBIAN/postrm)
    execute_process(COMMAND dpkg-deb --root-owner-group --build ${unpacked} ${package} OUTPUT_QUIET
      COMMAND_ERROR_IS_FATAL ANY)
    file(REMOVE_RECURSE ${unpacked})
  endif()
endforeach()
