// A pass computes many elements, each by one inline function that depends on no other element: a CUDA kernel calls it
// once per thread, and the CPU path in a loop.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define PALIJET_ELEMENT __host__ __device__ inline
#else
#define PALIJET_ELEMENT inline
#endif

namespace palijet {

// A pass is computed for each x < columns, y < rows and z < planes.
struct Extent {
    int64_t columns, rows, planes;
};

// Every element of a pass, one after the other.
template <class Pass>
void compute_all(const Pass& pass) {
    const Extent extent = pass.extent();
    for (int64_t z = 0; z < extent.planes; ++z) {
        for (int64_t y = 0; y < extent.rows; ++y) {
            for (int64_t x = 0; x < extent.columns; ++x) compute(pass, x, y, z);
        }
    }
}

}  // namespace palijet
