# Kernels for CPUs with AVX-512 VNNI: these files alone are compiled for it, and chosen when the program runs on such a CPU.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(kernels cpp_ext/cpu_kernels_avx512.cpp cpp_ext/matmul_avx512.cpp cpp_ext/transpose_avx512.cpp)
  target_sources(palijet_core PRIVATE ${kernels})
  set_source_files_properties(${kernels} PROPERTIES COMPILE_OPTIONS
    "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mf16c;-mfma;-O3")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 12 takes the undefined start of its own intrinsics for a mistake (GCC bug 105593, mended in 13).
    set_property(SOURCE ${kernels} APPEND PROPERTY COMPILE_OPTIONS
      "-Wno-maybe-uninitialized;-Wno-uninitialized")
  endif()
  target_compile_definitions(palijet_core PRIVATE PALIJET_AVX512)
endif()
# Plain loops are vectorised, and no one asks for floating-point exceptions or errno.
set_property(SOURCE cpp_ext/cpu_kernels_portable.cpp cpp_ext/cpu_kernels_avx512.cpp
  APPEND PROPERTY COMPILE_OPTIONS "-O3;-fno-math-errno;-fno-trapping-math")
