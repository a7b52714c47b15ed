// Keys and values of every row the decoder has seen, for each layer and sequence.
#pragma once

#include <cstdint>
#include <vector>

#include "device.h"

namespace palijet {

struct CacheLayout {
    int64_t layers;
    int64_t kv_heads;
    int64_t head_dim;
    ElementType type;
    int64_t max_batch;  // sequences
    int64_t max_rows;   // of a sequence
};

// A block is the keys or the values of one layer: block 2i holds the keys of layer i, block 2i + 1 its values. All of
// it stays on the device, in memory that is taken once; new rows of several sequences pass through memory that grows
// with the longest prefix they have had.
//
// The graph is given the first P rows of each sequence, of which length(sequence) are valid. P grows in whole steps, so
// that it seldom changes; the rows behind the valid ones are finite, for the graph multiplies them by zero.
class KvCache {
  public:
    static constexpr int64_t kStep = 64;  // rows

    KvCache(const CacheLayout& layout, Device& device);

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
    TensorView lengths();  // [batch] int32, as the graph's past_length; of the host
    size_t blocks() const { return blocks_; }
    int64_t max_batch() const { return layout_.max_batch; }
    int64_t max_rows() const { return layout_.max_rows; }

  private:
    bool is_empty() const;
    bool writes_in_place() const { return batch_ == 1 && is_empty(); }
    void bind_rows(int64_t rows);
    TensorView view(uint8_t* memory, int64_t rows) const;
    uint8_t* row(int64_t sequence, int64_t index);  // of block 0

    CacheLayout layout_;
    Device& device_;
    size_t blocks_;
    size_t row_bytes_;    // kv_heads * head_dim elements
    size_t block_bytes_;  // from one block of the cache to the next
    size_t fresh_bytes_;  // from one block of fresh rows to the next
    Memory cache_;        // [blocks, batch, stride, row]
    Memory fresh_;        // [blocks, batch, new rows, row]
    Memory nothing_;      // [max_batch, 1, row] of zeros: the past of an empty cache
    std::vector<int32_t> lengths_;
    int64_t batch_ = 0;
    int64_t limit_ = 0;   // rows that a sequence may have
    int64_t stride_ = 0;  // rows from one sequence to the next, whole steps
    int64_t bound_ = 0;   // P
};

}  // namespace palijet
