// Kernels for any CPU, plain loops: what the fast ones are compared with.
#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu_kernels.h"
#include "half.h"
#ifdef PALIJET_AVX512
#include "matmul_avx512.h"
#endif

namespace palijet {

namespace portable {

namespace {

#include "row_math.inl"

float weight_of(const LinearWeights& w, int64_t k, int64_t column) {
    const int64_t at = k * w.out + column;
    switch (w.format) {
        case WeightFormat::kFloat32:
            return static_cast<const float*>(w.data)[at];
        case WeightFormat::kFloat16:
            return float_from_half(static_cast<const uint16_t*>(w.data)[at]);
        case WeightFormat::kInt8:
        case WeightFormat::kInt8Block:
            return static_cast<const int8_t*>(w.data)[at];
        case WeightFormat::kInt4Block: {
            const int pair = static_cast<const uint8_t*>(w.data)[at / 2];
            const int nibble = at % 2 ? pair >> 4 : pair & 15;
            return static_cast<float>(nibble > 7 ? nibble - 16 : nibble);
        }
    }
    return 0;
}

void multiply(const LinearWeights& w, const LinearInput& input, int64_t first_column, int64_t columns, float* out,
              int64_t out_stride, MatMulScratch&) {
    for (int64_t row = 0; row < input.count; ++row) {
        for (int64_t column = first_column; column < first_column + columns; ++column) {
            float sum = 0;
            if (w.is_float()) {
                for (int64_t k = 0; k < w.in; ++k)
                    sum += input.rows[row * input.rows_stride + k] * weight_of(w, k, column);
            } else {
                const int8_t* integers = input.integers + row * input.stride;
                const int64_t segment = w.block ? w.block : w.in;
                for (int64_t first = 0; first < w.in; first += segment) {
                    int32_t total = 0;
                    for (int64_t k = first; k < first + segment; ++k) {
                        total += integers[k] * static_cast<int32_t>(weight_of(w, k, column));
                    }
                    const int64_t block = first / segment;
                    const float weight_scale = float_from_half(w.scale[block * w.out + column]);
                    const float input_scale = w.block ? input.scales[row * (w.in / segment) + block] : w.input_scale;
                    sum += static_cast<float>(total) * (weight_scale * input_scale);
                }
            }
            out[row * out_stride + column - first_column] = sum;
        }
    }
}

void multiply_panel(const float* a, int64_t a_stride, int64_t rows, const float* panel, int64_t panel_stride,
                    int64_t depth, float* sums, int64_t sums_stride, bool is_first) {
    constexpr int64_t kColumns = 64;
    for (int64_t row = 0; row < rows; ++row) {
        float* sum = sums + row * sums_stride;
        if (is_first) std::fill(sum, sum + kColumns, 0.0f);
        for (int64_t k = 0; k < depth; ++k) {
            const float input = a[row * a_stride + k];
            for (int64_t c = 0; c < kColumns; ++c) sum[c] += input * panel[k * panel_stride + c];
        }
    }
}

void transpose(const void* from, bool is_half, int64_t stride, int64_t rows, int64_t width, float* to) {
    constexpr int64_t kColumns = 64;
    for (int64_t row = 0; row < kColumns; ++row) {
        for (int64_t i = 0; i < width; ++i) {
            const int64_t at = row * stride + i;
            float value = 0;
            if (row < rows) {
                value = is_half ? float_from_half(static_cast<const uint16_t*>(from)[at])
                                : static_cast<const float*>(from)[at];
            }
            to[i * kColumns + row] = value;
        }
    }
}

const CpuKernels kernels{"portable", multiply,  multiply_panel, quantize, quantize_blocks, rms_norm,
                         gated_gelu, rotate,    soft_cap,       highest,  exponentiate,    scale,
                         add,        transpose, from_half,      to_half};

}  // namespace

}  // namespace portable

const CpuKernels& CpuKernels::portable() { return palijet::portable::kernels; }

const CpuKernels* CpuKernels::fast() {
#ifdef PALIJET_AVX512
    const bool has_it = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512vnni");
    if (has_it) return &avx512::kernels();
#endif
    return nullptr;
}

}  // namespace palijet
