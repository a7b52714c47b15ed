# Compiles TensorRtEngine where TensorRT's and CUDA's headers are found. Nothing is linked to either: the libraries are opened
# at run time.
find_path(PALIJET_TENSORRT_INCLUDE NvInfer.h
  HINTS $ENV{TENSORRT_ROOT}/include /usr/src/tensorrt/include
  PATHS /usr/include/aarch64-linux-gnu /usr/include/x86_64-linux-gnu
        ${CMAKE_CURRENT_SOURCE_DIR}/../shared/headers/tensorrt/10.3.0  # for checks, where there is no TensorRT
  DOC "The folder of NvInfer.h, or OFF for no TensorRT")
find_path(PALIJET_CUDA_INCLUDE cuda_runtime_api.h
  HINTS $ENV{CUDA_HOME}/include /usr/local/cuda/include
  DOC "The folder of CUDA's headers")
if(NOT PALIJET_TENSORRT_INCLUDE OR NOT PALIJET_CUDA_INCLUDE)
  message(STATUS "TensorRT: not built in, for its headers or CUDA's are not there")
  return()
endif()
message(STATUS "TensorRT: ${PALIJET_TENSORRT_INCLUDE}")

target_sources(palijet_core PRIVATE
  cpp_ext/staging.cpp
  cpp_ext/tensorrt_engine.cpp
  cpp_ext/tensorrt_library.cpp)
target_compile_definitions(palijet_core PUBLIC PALIJET_TENSORRT)
target_include_directories(palijet_core SYSTEM PRIVATE ${PALIJET_TENSORRT_INCLUDE} ${PALIJET_CUDA_INCLUDE})
