// The CUDA kernels: each calls the element function that the CPU path calls as well.
#include "pixel_math.h"
#include "row_copy.h"

namespace palijet {

template <class Pass>
__device__ void compute_mine(const Pass& pass) {
    const int64_t x = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const int64_t y = int64_t{blockIdx.y} * blockDim.y + threadIdx.y;
    const Extent extent = pass.extent();
    if (x < extent.columns && y < extent.rows) compute(pass, x, y, blockIdx.z);
}

}  // namespace palijet

// Their names are those in cuda_kernels.cpp.
extern "C" __global__ void palijet_nv12_pass(const palijet::Nv12Pass pass) { palijet::compute_mine(pass); }
extern "C" __global__ void palijet_width_pass(const palijet::WidthPass pass) { palijet::compute_mine(pass); }
extern "C" __global__ void palijet_height_pass(const palijet::HeightPass pass) { palijet::compute_mine(pass); }
extern "C" __global__ void palijet_copy_words(const palijet::RowCopyPass<palijet::Word16> pass) {
    palijet::compute_mine(pass);
}
extern "C" __global__ void palijet_copy_bytes(const palijet::RowCopyPass<uint8_t> pass) { palijet::compute_mine(pass); }
