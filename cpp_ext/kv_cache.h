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
// it stays on the device, in memory that is taken once; the rows of a step pass through memory of their own.
//
// Sequences come and go; those that are there have the numbers 0 to batch() - 1. The graph is given the first P rows of
// each, of which length(sequence) are valid. P grows in whole steps, so that it seldom changes; the rows behind the
// valid ones are finite, for the graph multiplies them by zero.
class KvCache {
  public:
    static constexpr int64_t kStep = 64;  // rows

    KvCache(const CacheLayout& layout, Device& device);

    // Forgets everything and makes room for up to `sequences` at a time, of up to `rows` rows each.
    void start(int64_t sequences, int64_t rows);

    // The number of a new sequence, which has no rows yet.
    int64_t add();

    // Forgets a sequence; the last one takes its number.
    void remove(int64_t sequence);

    // The past of a sequence that has none: [1, 1, kv_heads, head_dim] of zeros.
    TensorView no_past() const { return view(nothing_.get(), 1, 1); }

    // Where the graph is to put the first `new_rows` rows of a new sequence, which is where they stay:
    // [1, new_rows, kv_heads, head_dim].
    TensorView first_rows(size_t block, int64_t sequence, int64_t new_rows);

    // Says that the first `count` rows of a new sequence are there.
    void begin(int64_t sequence, int64_t count);

    // The rows of all sequences: [batch, P, kv_heads, head_dim].
    TensorView past(size_t block) const;

    // Where the graph is to put `new_rows` more rows of every sequence: [batch, new_rows, kv_heads, head_dim].
    TensorView fresh(size_t block, int64_t new_rows);

    // Takes the first counts[sequence] of the `new_rows` fresh rows of each sequence into the cache.
    void append(const std::vector<int32_t>& counts, int64_t new_rows);

    // Forgets all rows of a sequence from `length` on.
    void rewind(int64_t sequence, int32_t length);

    int64_t batch() const { return batch_; }
    int32_t length(int64_t sequence) const { return lengths_[static_cast<size_t>(sequence)]; }
    TensorView lengths();  // [batch] int32, as the graph's past_length; of the host
    size_t blocks() const { return blocks_; }
    int64_t max_batch() const { return layout_.max_batch; }
    int64_t max_rows() const { return layout_.max_rows; }

  private:
    void require(bool has_room, int64_t rows) const;
    void require_sequence(int64_t sequence) const;
    void bind_rows();
    TensorView view(uint8_t* memory, int64_t sequences, int64_t rows) const;
    uint8_t* row(int64_t sequence, int64_t index) const;  // of block 0

    CacheLayout layout_;
    Device& device_;
    size_t blocks_;
    size_t row_bytes_;    // kv_heads * head_dim elements
    size_t block_bytes_;  // from one block of the cache to the next
    size_t fresh_bytes_;  // from one block of fresh rows to the next
    Memory cache_;        // [blocks, sequences, stride, row]
    Memory fresh_;        // [blocks, batch, new rows, row]
    Memory nothing_;      // [1, 1, row] of zeros
    std::vector<int32_t> lengths_;
    std::vector<int64_t> finite_;  // [sequence]: of how many rows from its first that is certain
    int64_t batch_ = 0;
    int64_t sequences_ = 0;  // at most
    int64_t limit_ = 0;      // rows that a sequence may have
    int64_t stride_ = 0;     // rows from one sequence to the next, whole steps
    int64_t bound_ = 0;      // P
};

}  // namespace palijet
