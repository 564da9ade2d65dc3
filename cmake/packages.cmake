# SPDX-License-Identifier: MIT
# Debian packages, made by CPack (make deb): libneoq0, libneoq-dev and neoq, of the three components.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME neoq)
set(CPACK_PACKAGE_VENDOR "The neoq authors")
set(CPACK_PACKAGE_CONTACT "The neoq authors <neoq@users.noreply.github.com>" CACHE STRING "maintainer of the packages")
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
  WORLD_READ WORLD_EXECUTE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL library development command)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR})
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS ON)

# The first line of a description is the project's. It wraps at 80.
set(about "A job is stored, then run by one of the workers on its store: threads of a
program's own, or any command. Stores are memory, an SQLite file, PostgreSQL,
and Redis beside asynq. Jobs are retried, scheduled and unique as they ask for.
")

# What tells others of the library: dpkg-shlibdeps what to depend on, and libc to look for it.
file(WRITE ${CMAKE_BINARY_DIR}/debian/shlibs "libneoq 0 libneoq0 (>= ${PROJECT_VERSION})\n")
file(WRITE ${CMAKE_BINARY_DIR}/debian/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME libneoq0)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA ${CMAKE_BINARY_DIR}/debian/shlibs ${CMAKE_BINARY_DIR}/debian/triggers)
set(CPACK_POST_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/drop_scripts.cmake)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_RECOMMENDS libpq5) # loaded when it is needed
set(CPACK_COMPONENT_LIBRARY_DESCRIPTION "${about}
This package has the shared library.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libneoq-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_COMPONENT_DEVELOPMENT_DEPENDS library)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libsqlite3-dev, libhiredis-dev, libssl-dev") # of the static library
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SUGGESTS "libpq-dev, libcmocka-dev, libjansson-dev")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "${about}
This package has what programs are built with, and the conformance suite for
stores of one's own.")

set(CPACK_DEBIAN_COMMAND_PACKAGE_NAME neoq)
set(CPACK_DEBIAN_COMMAND_PACKAGE_SECTION admin)
set(CPACK_COMPONENT_COMMAND_DEPENDS library)
set(CPACK_COMPONENT_COMMAND_DESCRIPTION "${about}
This package has the command, which enqueues, works, looks and steers.")

# ---- /usr/share/doc/PACKAGE -----------------------------------------------------------------
find_program(GZIP gzip)
if(GZIP)
  add_custom_command(OUTPUT changelog.Debian.gz VERBATIM DEPENDS packaging/changelog
    COMMAND ${GZIP} -9cn ${PROJECT_SOURCE_DIR}/packaging/changelog > changelog.Debian.gz)
  add_custom_command(OUTPUT changelog.gz VERBATIM DEPENDS CHANGELOG.md
    COMMAND ${GZIP} -9cn ${PROJECT_SOURCE_DIR}/CHANGELOG.md > changelog.gz)
  add_custom_target(package_documents ALL DEPENDS changelog.Debian.gz changelog.gz)
  foreach(component library development command)
    string(TOUPPER ${component} upper)
    install(FILES packaging/copyright ${CMAKE_BINARY_DIR}/changelog.Debian.gz ${CMAKE_BINARY_DIR}/changelog.gz
      DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${CPACK_DEBIAN_${upper}_PACKAGE_NAME} COMPONENT ${component}
      EXCLUDE_FROM_ALL)
  endforeach()
endif()

include(CPack)
