// Products by AVX-512 VNNI, as `CpuKernels` has them.
#pragma once

#include "cpu_kernels.h"

namespace palijet::avx512 {

void multiply(const LinearWeights& weights, const LinearInput& input, int64_t first_column, int64_t columns, float* out,
              int64_t out_stride, MatMulScratch& scratch);
void multiply_panel(const float* a, int64_t a_stride, int64_t rows, const float* panel, int64_t panel_stride,
                    int64_t depth, float* sums, int64_t sums_stride, bool is_first);
void transpose(const void* from, bool is_half, int64_t stride, int64_t rows, int64_t width, float* to);

// Only for a CPU that has AVX-512 F, BW, DQ, VL and VNNI.
const CpuKernels& kernels();

}  // namespace palijet::avx512
