# Compiles the CUDA kernels where nvcc is found, and puts their binaries into the library. Nothing is linked to CUDA.
find_program(PALIJET_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin DOC "CUDA's compiler, or OFF for no kernels")
if(NOT PALIJET_NVCC)
  message(STATUS "CUDA kernels: none, for there is no nvcc; on a GPU frames are resized by the CPU")
  return()
endif()

# Orin, Ada, Hopper, Thor, as far as this nvcc knows them; any other GPU from Turing on compiles the portable form itself.
execute_process(COMMAND ${PALIJET_NVCC} --list-gpu-code OUTPUT_VARIABLE known OUTPUT_STRIP_TRAILING_WHITESPACE)
set(architectures -gencode arch=compute_75,code=compute_75)
set(names)
foreach(sm 87 89 90 110)
  if(known MATCHES "sm_${sm}(\n|$)")
    list(APPEND architectures -gencode arch=compute_${sm},code=sm_${sm})
    list(APPEND names sm_${sm})
  endif()
endforeach()
message(STATUS "CUDA kernels: ${names} by ${PALIJET_NVCC}")

set(kernels ${CMAKE_CURRENT_BINARY_DIR}/cuda_kernels.fatbin)
set(headers cpp_ext/element.h cpp_ext/pixel_math.h cpp_ext/row_copy.h)
list(TRANSFORM headers PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
add_custom_command(
  OUTPUT ${kernels}
  COMMAND ${PALIJET_NVCC} -std=c++17 -O3 -Werror all-warnings -Xfatbin=-compress-all --fatbin ${architectures}
          ${CMAKE_CURRENT_SOURCE_DIR}/cpp_ext/cuda_kernels.cu -o ${kernels}
  DEPENDS cpp_ext/cuda_kernels.cu ${headers})
set_source_files_properties(cpp_ext/cuda_kernels.cpp PROPERTIES
  OBJECT_DEPENDS ${kernels}
  COMPILE_DEFINITIONS "PALIJET_KERNELS=\"${kernels}\"")
