// The few entries of ONNX Runtime's C API that the core uses, by their slot in `OrtApi`.
//
// The pip wheel ships the library and no headers. The table of functions only ever grows at its end, so a slot means
// the same in every release that has it; tests/test_native_ort_slots.py checks each one against the real header where
// that is found.
#pragma once

#include <cstddef>
#include <cstdint>

namespace palijet::ort {

// That of onnxruntime 1.19, the oldest whose wheel carries the shared library.
constexpr uint32_t kApiVersion = 19;

struct Env;
struct Status;
struct Session;
struct SessionOptions;
struct RunOptions;
struct Value;
struct IoBinding;
struct MemoryInfo;
struct Allocator;
struct CudaOptions;
struct TypeInfo;
struct TensorTypeInfo;

struct ApiBase {
    const void* const* (*GetApi)(uint32_t version);
    const char* (*GetVersionString)();
};

// clang-format off
#define PALIJET_ORT_FUNCTIONS(X)                                                                                     \
    X(2,   GetErrorMessage,                 const char*, (const Status*))                                            \
    X(3,   CreateEnv,                       Status*, (int level, const char* id, Env**))                             \
    X(7,   CreateSession,                   Status*, (const Env*, const char* path, const SessionOptions*, Session**)) \
    X(10,  CreateSessionOptions,            Status*, (SessionOptions**))                                             \
    X(17,  DisableMemPattern,               Status*, (SessionOptions*))                                              \
    X(24,  SetIntraOpNumThreads,            Status*, (SessionOptions*, int))                                         \
    X(30,  SessionGetInputCount,            Status*, (const Session*, size_t*))                                      \
    X(31,  SessionGetOutputCount,           Status*, (const Session*, size_t*))                                      \
    X(33,  SessionGetInputTypeInfo,         Status*, (const Session*, size_t, TypeInfo**))                           \
    X(34,  SessionGetOutputTypeInfo,        Status*, (const Session*, size_t, TypeInfo**))                           \
    X(36,  SessionGetInputName,             Status*, (const Session*, size_t, Allocator*, char**))                   \
    X(37,  SessionGetOutputName,            Status*, (const Session*, size_t, Allocator*, char**))                   \
    X(49,  CreateTensorWithDataAsOrtValue,  Status*, (const MemoryInfo*, void*, size_t bytes, const int64_t* shape,  \
                                                      size_t rank, int element_type, Value**))                       \
    X(55,  CastTypeInfoToTensorInfo,        Status*, (const TypeInfo*, const TensorTypeInfo**))                      \
    X(60,  GetTensorElementType,            Status*, (const TensorTypeInfo*, int*))                                  \
    X(61,  GetDimensionsCount,              Status*, (const TensorTypeInfo*, size_t*))                               \
    X(62,  GetDimensions,                   Status*, (const TensorTypeInfo*, int64_t*, size_t))                      \
    X(68,  CreateMemoryInfo,                Status*, (const char* name, int allocator_type, int device_id,           \
                                                      int memory_type, MemoryInfo**))                                \
    X(69,  CreateCpuMemoryInfo,             Status*, (int allocator_type, int memory_type, MemoryInfo**))            \
    X(76,  AllocatorFree,                   Status*, (Allocator*, void*))                                            \
    X(78,  GetAllocatorWithDefaultOptions,  Status*, (Allocator**))                                                  \
    X(93,  ReleaseStatus,                   void, (Status*))                                                         \
    X(94,  ReleaseMemoryInfo,               void, (MemoryInfo*))                                                     \
    X(95,  ReleaseSession,                  void, (Session*))                                                        \
    X(96,  ReleaseValue,                    void, (Value*))                                                          \
    X(98,  ReleaseTypeInfo,                 void, (TypeInfo*))                                                       \
    X(100, ReleaseSessionOptions,           void, (SessionOptions*))                                                 \
    X(130, AddSessionConfigEntry,           Status*, (SessionOptions*, const char* key, const char* value))          \
    X(133, RunWithBinding,                  Status*, (Session*, const RunOptions*, const IoBinding*))                \
    X(134, CreateIoBinding,                 Status*, (Session*, IoBinding**))                                        \
    X(135, ReleaseIoBinding,                void, (IoBinding*))                                                      \
    X(136, BindInput,                       Status*, (IoBinding*, const char* name, const Value*))                   \
    X(137, BindOutput,                      Status*, (IoBinding*, const char* name, const Value*))                   \
    X(204, SessionOptionsAppendExecutionProvider_CUDA_V2, Status*, (SessionOptions*, const CudaOptions*))            \
    X(205, CreateCUDAProviderOptions,       Status*, (CudaOptions**))                                                \
    X(208, ReleaseCUDAProviderOptions,      void, (CudaOptions*))                                                    \
    X(263, UpdateCUDAProviderOptionsWithValue, Status*, (CudaOptions*, const char* key, void* value))
// clang-format on

// The used entries, copied out of the library's table.
struct Api {
#define PALIJET_ORT_MEMBER(slot, name, result, arguments) result(*name) arguments;
    PALIJET_ORT_FUNCTIONS(PALIJET_ORT_MEMBER)
#undef PALIJET_ORT_MEMBER

    explicit Api(const void* const* table)
#define PALIJET_ORT_LOAD(slot, name, result, arguments) \
    name = reinterpret_cast<decltype(name)>(const_cast<void*>(table[slot]));
    {
        PALIJET_ORT_FUNCTIONS(PALIJET_ORT_LOAD)
    }
#undef PALIJET_ORT_LOAD
};

// ONNXTensorElementDataType, OrtLoggingLevel, OrtAllocatorType and OrtMemType, as far as they are used.
constexpr int kFloat32 = 1, kUInt8 = 2, kInt32 = 6, kInt64 = 7, kFloat16 = 10;
constexpr int kLogErrors = 3;
constexpr int kDeviceAllocator = 0, kArenaAllocator = 1, kDefaultMemory = 0;

}  // namespace palijet::ort
