// A linear layer's weights where the bundle's file has them: [in, out] row-major, as the ONNX graph stores them.
#pragma once

#include <cstdint>

namespace palijet {

enum class WeightFormat {
    kFloat32,
    kFloat16,
    kInt8,       // a scale per output; its input is rounded to INT8 by a scale known beforehand (W8A8)
    kInt8Block,  // a scale per `block` inputs and output
    kInt4Block,  // the same; two's complement, two to a byte, the even output in the low half
};

struct LinearWeights {
    WeightFormat format = WeightFormat::kFloat32;
    int64_t in = 0;
    int64_t out = 0;
    const void* data = nullptr;
    const uint16_t* scale = nullptr;  // FP16, positive: [out], or [in / block, out]
    int64_t block = 0;                // inputs per scale
    float input_scale = 0;            // of kInt8

    bool is_float() const { return format == WeightFormat::kFloat32 || format == WeightFormat::kFloat16; }
};

// The rows that weights are multiplied by. Integers are what `quantize` of the kernels makes of them.
struct LinearInput {
    int64_t count = 0;            // rows
    const float* rows = nullptr;  // [count, rows_stride], of which `in` each; where the weights are floats
    int64_t rows_stride = 0;
    const int8_t* integers = nullptr;  // [count, stride]
    int64_t stride = 0;             // of a row of integers: `in`, rounded up to a multiple of 4 and padded with zeros
    const float* scales = nullptr;  // [count, in / block]: of block formats
    const int32_t* sums = nullptr;  // [count, segments]: the integers' sum over each segment
    int64_t segment = 0;            // inputs per sum: `block`, or kSegment
};

constexpr int64_t kSegment = 128;  // of formats that have no block

}  // namespace palijet
