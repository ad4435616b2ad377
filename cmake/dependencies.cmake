# Finds what the library links: fills TENON_PRIVATE_LIBRARIES.
set(TENON_PRIVATE_LIBRARIES)

find_package(OpenMP COMPONENTS CXX)
if(OpenMP_CXX_FOUND)
  list(APPEND TENON_PRIVATE_LIBRARIES OpenMP::OpenMP_CXX)
endif()
list(APPEND TENON_PRIVATE_LIBRARIES ${CMAKE_DL_LIBS})  # the CUDA library is opened at run time
find_package(simdjson REQUIRED)
list(APPEND TENON_PRIVATE_LIBRARIES simdjson::simdjson)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
list(APPEND TENON_PRIVATE_LIBRARIES JPEG::JPEG PNG::PNG)

find_package(PkgConfig REQUIRED)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
list(APPEND TENON_PRIVATE_LIBRARIES PkgConfig::pcre2)
# utf8proc's Debian package has no pkg-config file in every release
find_path(UTF8PROC_INCLUDE utf8proc.h REQUIRED)
find_library(UTF8PROC_LIBRARY utf8proc REQUIRED)
add_library(tenon_utf8proc UNKNOWN IMPORTED)
set_target_properties(tenon_utf8proc PROPERTIES IMPORTED_LOCATION ${UTF8PROC_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${UTF8PROC_INCLUDE})
list(APPEND TENON_PRIVATE_LIBRARIES tenon_utf8proc)

find_package(Eigen3 3.3 REQUIRED NO_MODULE)
list(APPEND TENON_PRIVATE_LIBRARIES Eigen3::Eigen)

if(TENON_WITH_ONEDNN)
  # The PyPI package onednn-devel-cpu-gomp lies under a Python environment's data path; ask that Python where.
  if(NOT dnnl_DIR)
    find_program(TENON_PYTHON NAMES python3 python HINTS ${Python_EXECUTABLE} $ENV{VIRTUAL_ENV}/bin)
    if(Python_EXECUTABLE)
      set(TENON_PYTHON ${Python_EXECUTABLE})
    endif()
    if(TENON_PYTHON)
      execute_process(COMMAND ${TENON_PYTHON} ${CMAKE_CURRENT_LIST_DIR}/find_onednn.py OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE
                      ERROR_QUIET)
      if(found)
        set(dnnl_DIR ${found} CACHE PATH "Where dnnl-config.cmake lies" FORCE)  # over a NOTFOUND of an earlier run
      endif()
    endif()
  endif()
  find_package(dnnl 3 QUIET)
  if(dnnl_FOUND)
    message(STATUS "oneDNN ${dnnl_VERSION}: ${dnnl_DIR}")
    list(APPEND TENON_PRIVATE_LIBRARIES DNNL::dnnl)
  else()
    message(STATUS "oneDNN 3 not found (pip install onednn-devel-cpu-gomp==2023.2.0): building without it, matmul through Eigen")
  endif()
endif()
