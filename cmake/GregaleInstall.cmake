# SPDX-License-Identifier: Apache-2.0
# cmake --install: the command, libgregale, public headers, backends, scripts, presets; pkg-config and
# find_package(gregale) for embedders (gregale::gregale) and backend authors (gregale::sdk).

include(CMakePackageConfigHelpers)

add_library(sdk INTERFACE)
target_include_directories(sdk INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(TARGETS gregale sdk EXPORT gregale-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET gregale-cli)
  set_target_properties(gregale-cli PROPERTIES EXPORT_NAME cli)
  install(TARGETS gregale-cli EXPORT gregale-targets RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

set(GREGALE_LUA_DIR ${CMAKE_INSTALL_LIBDIR}/lua/5.4 CACHE STRING "Where gregale.so goes, in Lua's package.cpath")
install(TARGETS gregale-lua LIBRARY DESTINATION ${GREGALE_LUA_DIR})

install(EXPORT gregale-targets NAMESPACE gregale:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/gregale)

file(GLOB public_headers ${PROJECT_SOURCE_DIR}/core/include/gregale/*.h ${PROJECT_SOURCE_DIR}/core/include/gregale/*.def)
install(FILES ${public_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/gregale)
install(DIRECTORY core/include/gregale/sdk DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/gregale)
install(FILES configs/models/breeze/breeze-q8_0.gguf DESTINATION ${CMAKE_INSTALL_DATADIR}/gregale/models)
install(FILES docs/backend-guide.md DESTINATION ${CMAKE_INSTALL_DATADIR}/gregale)
install(DIRECTORY sdk/walk DESTINATION ${CMAKE_INSTALL_DATADIR}/gregale)
install(DIRECTORY scripts/pipelines scripts/annotations DESTINATION ${CMAKE_INSTALL_DATADIR}/gregale OPTIONAL)

configure_package_config_file(cmake/gregale-config.cmake.in ${PROJECT_BINARY_DIR}/gregale-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/gregale
                              PATH_VARS CMAKE_INSTALL_DATADIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/gregale-config-version.cmake COMPATIBILITY SameMajorVersion) # the interfaces only grow
install(FILES ${PROJECT_BINARY_DIR}/gregale-config.cmake ${PROJECT_BINARY_DIR}/gregale-config-version.cmake
        cmake/GregaleBackend.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/gregale)
configure_file(cmake/gregale.pc.in ${PROJECT_BINARY_DIR}/gregale.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/gregale.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
