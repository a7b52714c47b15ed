// Attention over cached and new rows, a block of keys at a time, so that memory does not grow with their number.
#pragma once

#include <cstdint>

#include "aligned_buffer.h"
#include "cpu_kernels.h"
#include "tensor.h"

namespace palijet {

// The keys and values of one sequence and one of its heads: cached rows first, then the rows of this call.
struct KeyValueRows {
    const void* past_key;  // [past_length, stride], of `type`; the head's first element of row 0
    const void* past_value;
    const void* new_key;  // [rows, stride]
    const void* new_value;
    int64_t past_length;
    int64_t stride;  // elements from one row to the next
    ElementType type;
};

struct AttentionShape {
    int64_t head_dim;
    float scale;  // of scores
    float cap;    // 0: none
};

// The keys a query sees: [first, end) of cached and new rows together.
struct Visible {
    int64_t first, end;
};

struct AttentionScratch {
    AlignedBuffer<float> queries, keys, values, scores, sums, state;
};

constexpr int64_t kQueryBlock = 128;  // queries that are computed together, at most
constexpr int64_t kKeyBlock = 64;

// out[i] = softmax(query[i] . keys) . values, for `count` <= kQueryBlock queries of [head_dim] each; flash attention's
// way (Dao et al. 2022, arXiv:2205.14135, algorithm 1). Blocks of keys begin at multiples of kKeyBlock, so a query's
// result is the same bit for bit whichever of its keys are cached already and whatever else is asked along.
void attend(const CpuKernels& kernels, const AttentionShape& shape, const KeyValueRows& rows,
            const float* const* queries, const Visible* visible, int64_t count, float* const* out,
            AttentionScratch& scratch);

}  // namespace palijet
