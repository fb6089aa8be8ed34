# SPDX-License-Identifier: Apache-2.0
# gregale_add_backend(NAME SOURCES...): a backend plugin: one shared object that exports one symbol and
# links nothing of the host. Used inside the tree and, installed, by out-of-tree backends.

function(gregale_add_backend name)
  add_library(gregale-backend-${name} MODULE ${ARGN})
  set_target_properties(gregale-backend-${name} PROPERTIES
    PREFIX "" OUTPUT_NAME gregale-backend-${name} C_VISIBILITY_PRESET hidden
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/backends)
  if(TARGET gregale_options)
    target_include_directories(gregale-backend-${name} PRIVATE ${PROJECT_SOURCE_DIR}/core/include)
    target_link_libraries(gregale-backend-${name} PRIVATE gregale_options)
  else()
    target_link_libraries(gregale-backend-${name} PRIVATE gregale::sdk)
  endif()
  target_link_libraries(gregale-backend-${name} PRIVATE Threads::Threads m)
  install(TARGETS gregale-backend-${name} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/gregale/backends)
endfunction()

# Every folder under backends/ with a CMakeLists.txt.
function(gregale_backends)
  file(GLOB lists CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/backends/*/CMakeLists.txt)
  foreach(list ${lists})
    get_filename_component(folder ${list} DIRECTORY)
    add_subdirectory(${folder})
  endforeach()
endfunction()
