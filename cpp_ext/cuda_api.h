// The few functions of CUDA's runtime (libcudart) and driver (libcuda) that the core uses, opened at run time.
//
// Only functions whose signature is the same from CUDA 11.4 to 13 are used, so that one build serves every JetPack;
// tests/native/test_cuda_api.cpp checks each signature against CUDA's own headers where those are found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "shared_library.h"

struct CUstream_st;
struct CUgraph_st;
struct CUgraphExec_st;
struct CUctx_st;
struct CUmod_st;
struct CUfunc_st;

namespace palijet::cuda {

using Stream = CUstream_st*;
using Graph = CUgraph_st*;
using GraphExec = CUgraphExec_st*;
using Context = CUctx_st*;
using Module = CUmod_st*;
using Function = CUfunc_st*;

struct PointerAttributes {  // cudaPointerAttributes; CUDA 13 added the reserved part
    int type;
    int device;
    void* device_pointer;
    void* host_pointer;
    long reserved[8];
};

// clang-format off
#define PALIJET_CUDA_RUNTIME_FUNCTIONS(X)                                                                            \
    X(cudaGetErrorName,              const char*, (int error))                                                       \
    X(cudaGetErrorString,            const char*, (int error))                                                       \
    X(cudaGetLastError,              int, ())                                                                        \
    X(cudaRuntimeGetVersion,         int, (int* version))                                                            \
    X(cudaGetDeviceCount,            int, (int* count))                                                              \
    X(cudaDeviceGetAttribute,        int, (int* value, int attribute, int device))                                   \
    X(cudaMemGetInfo,                int, (size_t* free, size_t* total))                                             \
    X(cudaMalloc,                    int, (void** memory, size_t bytes))                                             \
    X(cudaFree,                      int, (void* memory))                                                            \
    X(cudaHostAlloc,                 int, (void** memory, size_t bytes, unsigned flags))                             \
    X(cudaFreeHost,                  int, (void* memory))                                                            \
    X(cudaPointerGetAttributes,      int, (PointerAttributes*, const void* memory))                                  \
    X(cudaMemcpyAsync,               int, (void* to, const void* from, size_t bytes, int kind, Stream))              \
    X(cudaMemcpy2DAsync,             int, (void* to, size_t to_pitch, const void* from, size_t from_pitch,           \
                                           size_t width, size_t height, int kind, Stream))                           \
    X(cudaMemsetAsync,               int, (void* memory, int value, size_t bytes, Stream))                           \
    X(cudaMemset2DAsync,             int, (void* memory, size_t pitch, int value, size_t width, size_t height, Stream)) \
    X(cudaStreamCreateWithFlags,     int, (Stream*, unsigned flags))                                                 \
    X(cudaStreamDestroy,             int, (Stream))                                                                  \
    X(cudaStreamSynchronize,         int, (Stream))                                                                  \
    X(cudaStreamBeginCapture,        int, (Stream, int mode))                                                        \
    X(cudaStreamEndCapture,          int, (Stream, Graph*))                                                          \
    X(cudaGraphInstantiateWithFlags, int, (GraphExec*, Graph, unsigned long long flags))                             \
    X(cudaGraphDestroy,              int, (Graph))                                                                   \
    X(cudaGraphLaunch,               int, (GraphExec, Stream))                                                       \
    X(cudaGraphExecDestroy,          int, (GraphExec))

#define PALIJET_CUDA_DRIVER_FUNCTIONS(X)                                                                             \
    X(cuGetErrorString,    int, (int error, const char** text))                                                      \
    X(cuCtxGetCurrent,     int, (Context*))                                                                          \
    X(cuCtxSetCurrent,     int, (Context))                                                                           \
    X(cuPointerGetAttribute, int, (void* value, int attribute, uintptr_t memory))                                    \
    X(cuModuleLoadData,    int, (Module*, const void* image))                                                        \
    X(cuModuleUnload,      int, (Module))                                                                            \
    X(cuModuleGetFunction, int, (Function*, Module, const char* name))                                               \
    X(cuLaunchKernel,      int, (Function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,      \
                                 unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream,                  \
                                 void** arguments, void** extra))
// clang-format on

#define PALIJET_CUDA_MEMBER(name, result, arguments) result(*name) arguments;
#define PALIJET_CUDA_LOAD(name, result, arguments) name = library.function<result arguments>(#name);

struct RuntimeApi {
    explicit RuntimeApi(const SharedLibrary& library){
        PALIJET_CUDA_RUNTIME_FUNCTIONS(PALIJET_CUDA_LOAD)} PALIJET_CUDA_RUNTIME_FUNCTIONS(PALIJET_CUDA_MEMBER)

        // Throws EngineError with CUDA's own words behind `what`.
        void check(int error, const std::string& what) const;
};

struct DriverApi {
    explicit DriverApi(const SharedLibrary& library){
        PALIJET_CUDA_DRIVER_FUNCTIONS(PALIJET_CUDA_LOAD)} PALIJET_CUDA_DRIVER_FUNCTIONS(PALIJET_CUDA_MEMBER)

        void check(int error, const std::string& what) const;
};

#undef PALIJET_CUDA_LOAD
#undef PALIJET_CUDA_MEMBER

// As far as they are used, of cudaMemcpyKind, cudaMemoryType, cudaDeviceAttr, cudaStreamCaptureMode,
// CUpointer_attribute and the flags.
constexpr int kCopyDefault = 4, kCopyOnDevice = 3;
constexpr int kMemoryHost = 1, kMemoryDevice = 2, kMemoryManaged = 3;
constexpr int kIntegrated = 18, kComputeMajor = 75, kComputeMinor = 76;
constexpr int kCaptureThreadLocal = 1;
constexpr int kPointerContext = 1;
constexpr unsigned kHostMapped = 2, kStreamNonBlocking = 1;

}  // namespace palijet::cuda
