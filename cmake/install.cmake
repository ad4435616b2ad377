# Installs headers, library and the package files for find_package(tenon CONFIG).
include(CMakePackageConfigHelpers)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/tenon DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT devel)
install(TARGETS tenon EXPORT tenonTargets COMPONENT devel)
if(BUILD_SHARED_LIBS)
  set(TENON_NEEDS_PRIVATE_LIBRARIES OFF)
else()
  set(TENON_NEEDS_PRIVATE_LIBRARIES ON)  # a static library's users link what it links
endif()
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/tenonConfig.cmake.in ${PROJECT_BINARY_DIR}/tenonConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tenon)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tenonConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tenonConfig.cmake ${PROJECT_BINARY_DIR}/tenonConfigVersion.cmake cmake/dependencies.cmake
              cmake/find_onednn.py DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tenon COMPONENT devel)
install(EXPORT tenonTargets NAMESPACE tenon:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tenon COMPONENT devel)
