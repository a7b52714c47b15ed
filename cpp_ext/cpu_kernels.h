// What a CPU computes with: products of rows and weights, and what becomes of rows in between. One table of functions
// for each instruction set; results differ in their last bits only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "aligned_buffer.h"
#include "linear_weights.h"

namespace palijet {

// Memory that one thread's products use and use again.
struct MatMulScratch {
    AlignedBuffer<float> sums;
    AlignedBuffer<int32_t> integers;
    AlignedBuffer<uint8_t> panel;
};

struct CpuKernels {
    const char* name;  // as a person reads it

    // out[r, c - first_column] = rows[r, :] . weights[:, c] for `columns` columns from first_column on, a multiple of
    // kColumnStep; out: [count, out_stride]. A row's result does not depend on the rows beside it.
    void (*multiply)(const LinearWeights& weights, const LinearInput& input, int64_t first_column, int64_t columns,
                     float* out, int64_t out_stride, MatMulScratch& scratch);

    // sums[r, c] += a[r, :] . panel[:, c] for 64 columns c; the first time in place of what is there.
    // a: [rows, a_stride], panel: [depth, panel_stride], sums: [rows, sums_stride].
    void (*multiply_panel)(const float* a, int64_t a_stride, int64_t rows, const float* panel, int64_t panel_stride,
                           int64_t depth, float* sums, int64_t sums_stride, bool is_first);

    // [count] floats to integers: round(x / scale), ties to even, within -128 to 127, and their sum over each segment.
    void (*quantize)(const float* x, int64_t count, int64_t segment, float scale, int8_t* integers, int32_t* sums);

    // The same with a scale per segment, of which the largest magnitude becomes 127.
    void (*quantize_blocks)(const float* x, int64_t count, int64_t segment, int8_t* integers, float* scales,
                            int32_t* sums);

    // x / sqrt(mean(x^2) + epsilon) * weight (Zhang and Sennrich 2019, arXiv:1910.07467). [width] each; out may be x.
    void (*rms_norm)(const float* x, const float* weight, int64_t width, float epsilon, float* out);

    // gelu(gate) * up, [width] each; out may be gate. The tanh form (Hendrycks and Gimpel 2016), or the exact one.
    void (*gated_gelu)(const float* gate, const float* up, int64_t width, bool exact, float* out);

    // Turns pairs (x[i], x[i + half]) by angles: rotary position embedding (Su et al. 2021, arXiv:2104.09864).
    void (*rotate)(float* x, const float* cosine, const float* sine, int64_t half);

    // cap * tanh(x / cap), in place (Gemma 2, arXiv:2408.00118, section 2).
    void (*soft_cap)(float* x, int64_t count, float cap);

    float (*highest)(const float* x, int64_t count);

    // x = exp(x - offset), in place; returns the sum.
    float (*exponentiate)(float* x, int64_t count, float offset);

    // x *= factor, in place.
    void (*scale)(float* x, int64_t count, float factor);

    // x += y, in place.
    void (*add)(float* x, const float* y, int64_t count);

    // [rows, stride] of a type to [width, 64] floats: up to 64 rows become columns.
    void (*transpose)(const void* from, bool is_half, int64_t stride, int64_t rows, int64_t width, float* to);

    void (*from_half)(const uint16_t* from, int64_t count, float* to);
    void (*to_half)(const float* from, int64_t count, uint16_t* to);

    static constexpr int64_t kColumnStep = 128;

    // That every CPU has.
    static const CpuKernels& portable();
    // The fastest that this CPU has; nullptr where that is the portable one, which onnxruntime outruns.
    static const CpuKernels* fast();
};

}  // namespace palijet
