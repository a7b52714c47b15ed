// A stand-in for libcudart and libcuda that needs no GPU, and what tests ask and tell it.
//
// Its device memory cannot be touched by the host (the pages are closed but while the stand-in works on them), and its
// streams do nothing until they are waited for: so who forgets to copy or to wait reads wrong or crashes.
#pragma once

#include <cstdint>
#include <functional>

struct CUstream_st;

namespace stand_in {

struct Controls {
    // The call of `function` that comes after `after` further ones fails, once; below zero: none does.
    void (*fail)(const char* function, int64_t after);
    int64_t (*calls)(const char* function);
    // Allocations, streams, graphs, modules, and objects of the TensorRT stand-in that were not given back.
    int64_t (*living)();
    void (*set_integrated)(bool integrated);

    // For the stand-in of TensorRT.
    bool (*fails)(const char* function);  // counts a call
    void (*count)(int64_t made);          // objects made, or, below zero, given back
    bool (*is_on_device)(const void* memory, uint64_t bytes);
    void (*enqueue)(CUstream_st* stream, std::function<void()> work);  // what it throws fails the stream
};

}  // namespace stand_in

extern "C" const stand_in::Controls* stand_in_controls();
