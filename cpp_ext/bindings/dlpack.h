// The structures of DLPack, by which libraries hand arrays to each other: version 0 of its C header, dlpack.h.
#pragma once

#include <cstdint>

namespace palijet::dlpack {

constexpr int kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13;
constexpr uint8_t kUnsigned = 1;

struct Tensor {
    void* data;
    int32_t device_type;
    int32_t device_id;
    int32_t dimensions;
    uint8_t type_code;
    uint8_t type_bits;
    uint16_t type_lanes;
    int64_t* shape;
    int64_t* strides;  // in elements; null: row-major
    uint64_t byte_offset;
};

struct ManagedTensor {
    Tensor tensor;
    void* context;
    void (*deleter)(ManagedTensor*);
};

}  // namespace palijet::dlpack
