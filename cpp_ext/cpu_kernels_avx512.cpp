// The table of kernels by AVX-512. Compiled for it, like matmul_avx512.cpp.
#include <algorithm>
#include <cmath>
#include <limits>

#include "half.h"
#include "matmul_avx512.h"

namespace palijet::avx512 {

namespace {

#include "row_math.inl"

}  // namespace

const CpuKernels& kernels() {
    static const CpuKernels table{
        "AVX-512 VNNI", multiply, multiply_panel, quantize,     quantize_blocks, rms_norm, gated_gelu,
        rotate,         soft_cap, highest,        exponentiate, scale,           add,      transpose,
        from_half,      to_half};
    return table;
}

}  // namespace palijet::avx512
