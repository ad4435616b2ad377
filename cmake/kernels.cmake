# One object library per instruction set. Their flags never reach another file: the sources include nothing but kernels.h and
# intrinsics, so that no inline function compiled with them can be the copy the linker keeps.
function(tenon_isa name definition flags)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cpu/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  target_sources(tenon PRIVATE ${sources})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND flags -Wno-uninitialized -Wno-maybe-uninitialized)  # the intrinsics' own headers set them off
  endif()
  set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS "${flags}")
  set_property(SOURCE src/cpu/table.cpp APPEND PROPERTY COMPILE_DEFINITIONS ${definition})
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  tenon_isa(avx2 TENON_HAS_AVX2 "-mavx2;-mfma;-mf16c;-O3")
  tenon_isa(avx512 TENON_HAS_AVX512 "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx2;-mfma;-mf16c;-mprefer-vector-width=512;-O3")
  tenon_isa(avx512_bf16 TENON_HAS_AVX512_BF16 "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512bf16;-mavx2;-mfma;-mf16c;-mprefer-vector-width=512;-O3")
  tenon_isa(avx512_vnni TENON_HAS_AVX512_VNNI "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mavx2;-mfma;-mf16c;-O3")
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  tenon_isa(neon TENON_HAS_NEON "-O3")
endif()
if(TENON_WITH_ONEDNN AND dnnl_FOUND)
  target_sources(tenon PRIVATE src/cpu/onednn.cpp src/cpu/onednn_plan.cpp)
  set_property(SOURCE src/cpu/table.cpp APPEND PROPERTY COMPILE_DEFINITIONS TENON_HAS_ONEDNN)
else()
  target_sources(tenon PRIVATE src/cpu/onednn_absent.cpp)
endif()
# The sanitizers' build is not optimised; the scalar kernels, which every agree test runs, would take minutes there.
file(GLOB scalar CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cpu/ref*.cpp)
set_property(SOURCE ${scalar} APPEND PROPERTY COMPILE_OPTIONS "$<$<CONFIG:Sanitize>:-O2>")
# Eigen's own threads would come on top of ours.
target_compile_definitions(tenon PRIVATE EIGEN_DONT_PARALLELIZE)
