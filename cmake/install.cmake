# SPDX-License-Identifier: MIT
# What of the library is installed where. There are three components, each a Debian package (packages.cmake): library,
# development, and command, which has whatever names no other.
include(CMakePackageConfigHelpers)
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME command)
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/neoq)
set(suite_folder ${CMAKE_INSTALL_DATADIR}/neoq/conformance)

# ---- library, development -------------------------------------------------------------------
set_target_properties(neoq_static PROPERTIES EXPORT_NAME static)
install(TARGETS neoq EXPORT neoq INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library NAMELINK_COMPONENT development)
install(TARGETS neoq_static EXPORT neoq INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(FILES include/neoq.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
install(DIRECTORY include/neoq DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)

configure_file(packaging/neoq.pc.in neoq.pc @ONLY)
configure_package_config_file(packaging/neoqConfig.cmake.in neoqConfig.cmake INSTALL_DESTINATION ${package_folder})
# Before 1.0.0, each minor version is a promise of its own.
write_basic_package_version_file(neoqConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/neoq.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
install(EXPORT neoq NAMESPACE neoq:: FILE neoqTargets.cmake DESTINATION ${package_folder} COMPONENT development)
install(FILES ${CMAKE_BINARY_DIR}/neoqConfig.cmake ${CMAKE_BINARY_DIR}/neoqConfigVersion.cmake
  DESTINATION ${package_folder} COMPONENT development)

# ---- the conformance suite, as source --------------------------------------------------------
include(tests/conformance/programs.cmake)
set(suite ${conformance_quick} ${conformance_slow})
list(TRANSFORM suite REPLACE ".+" "tests/conformance/\\0.c" OUTPUT_VARIABLE suite_sources)
install(FILES ${suite_sources} tests/conformance/programs.cmake DESTINATION ${suite_folder} COMPONENT development)
install(FILES tests/support/store.c tests/support/store.h tests/support/own.c tests/support/gate.c tests/support/gate.h
  tests/support/recorder.c tests/support/recorder.h tests/support/child.c tests/support/child.h
  tests/support/apart.c tests/support/apart.h
  DESTINATION ${suite_folder}/support
  COMPONENT development)
install(FILES tests/golden/backoff.json DESTINATION ${suite_folder}/golden COMPONENT development)
configure_package_config_file(packaging/neoqConformance.cmake.in neoqConformance.cmake
  INSTALL_DESTINATION ${package_folder} PATH_VARS suite_folder)
install(FILES ${CMAKE_BINARY_DIR}/neoqConformance.cmake DESTINATION ${package_folder} COMPONENT development)
