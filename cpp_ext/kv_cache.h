// Keys and values of every row the decoder has seen, for each layer and sequence.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "tensor.h"

namespace palijet {

struct CacheLayout {
    int64_t layers;
    int64_t kv_heads;
    int64_t head_dim;
    ElementType type;
    int64_t max_batch;  // sequences
    int64_t max_rows;   // of a sequence
};

// A block is the keys or the values of one layer: block 2i holds the keys of layer i, block 2i + 1 its values. All
// memory is taken once, of pages that the system backs only when they are first written.
//
// The graph is given the first P rows of each sequence, of which length(sequence) are valid. P grows in steps, so that
// it seldom changes; the rows behind the valid ones are finite, for the graph multiplies them by zero.
class KvCache {
  public:
    static constexpr int64_t kStep = 64;  // rows

    explicit KvCache(const CacheLayout& layout);

    // Forgets everything and makes room for `batch` sequences of up to `rows` rows each.
    void start(int64_t batch, int64_t rows);

    // What the graph is given as past: [batch, P, kv_heads, head_dim].
    TensorView past(size_t block);

    // Where the graph is to put `new_rows` rows per sequence: [batch, new_rows, kv_heads, head_dim]. The first rows of
    // a lone sequence are written where they will stay.
    TensorView fresh(size_t block, int64_t new_rows);

    // Takes the first counts[sequence] of the `new_rows` fresh rows of each sequence into the cache.
    void append(const std::vector<int32_t>& counts, int64_t new_rows);

    // Forgets all rows of a sequence from `length` on.
    void rewind(int64_t sequence, int32_t length);

    int32_t length(int64_t sequence) const { return lengths_[static_cast<size_t>(sequence)]; }
    TensorView lengths();  // [batch] int32, as the graph's past_length
    size_t blocks() const { return blocks_.size(); }
    int64_t max_batch() const { return layout_.max_batch; }
    int64_t max_rows() const { return layout_.max_rows; }

  private:
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    using Memory = std::unique_ptr<uint8_t, Free>;

    static Memory allocate(size_t bytes);
    bool is_empty() const;
    bool writes_in_place() const { return batch_ == 1 && is_empty(); }
    void bind_rows(int64_t rows);
    uint8_t* row(size_t block, int64_t sequence, int64_t index);

    CacheLayout layout_;
    size_t row_bytes_;            // kv_heads * head_dim elements
    std::vector<Memory> blocks_;  // each [batch, stride, row]
    std::vector<Memory> fresh_;   // each [batch, new rows, row]
    Memory nothing_;              // [max_batch, 1, row] of zeros: the past of an empty cache
    std::vector<int32_t> lengths_;
    int64_t batch_ = 0;
    int64_t stride_ = 0;  // rows from one sequence to the next
    int64_t bound_ = 0;   // P
};

}  // namespace palijet
