// Marks a function that computes one element: the CPU path calls it, and so does a CUDA kernel, once per thread.
#pragma once

#ifdef __CUDACC__
#define PALIJET_ELEMENT __host__ __device__ inline
#else
#define PALIJET_ELEMENT inline
#endif
