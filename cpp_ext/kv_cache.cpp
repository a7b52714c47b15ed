#include "kv_cache.h"

#include <algorithm>
#include <string>

#include "error.h"

namespace palijet {

namespace {

constexpr int64_t kFreshRows = 16;  // of a sequence, from the start: a token and its drafts

int64_t whole_steps(int64_t rows) { return (rows + KvCache::kStep - 1) / KvCache::kStep * KvCache::kStep; }

}  // namespace

KvCache::KvCache(const CacheLayout& layout, Device& device)
    : layout_(layout),
      device_(device),
      blocks_(static_cast<size_t>(2 * layout.layers)),
      row_bytes_(static_cast<size_t>(layout.kv_heads * layout.head_dim) * size_of(layout.type)),
      block_bytes_(aligned(static_cast<size_t>(layout.max_batch * whole_steps(layout.max_rows)) * row_bytes_)),
      fresh_bytes_(aligned(static_cast<size_t>(layout.max_batch * kFreshRows) * row_bytes_)),
      cache_(device.allocate(blocks_ * block_bytes_)),
      fresh_(device.allocate(blocks_ * fresh_bytes_)),
      nothing_(device.allocate(row_bytes_)),
      lengths_(static_cast<size_t>(layout.max_batch)),
      finite_(static_cast<size_t>(layout.max_batch)) {}

void KvCache::start(int64_t sequences, int64_t rows) {
    if (sequences < 1 || sequences > layout_.max_batch || rows < 1 || rows > layout_.max_rows) {
        throw InputError(std::to_string(sequences) + " sequences of " + std::to_string(rows) +
                         " rows do not fit a cache of " + std::to_string(layout_.max_batch) + " x " +
                         std::to_string(layout_.max_rows) + "; load the model with a larger max_batch or max_rows");
    }
    batch_ = 0;
    sequences_ = sequences;
    limit_ = sequences == 1 ? layout_.max_rows : rows;
    stride_ = whole_steps(limit_);
    bound_ = 0;
}

int64_t KvCache::add() {
    if (batch_ == sequences_) throw InputError("the cache has no room for another sequence; end one first");
    lengths_[static_cast<size_t>(batch_)] = 0;
    finite_[static_cast<size_t>(batch_)] = 0;
    return batch_++;
}

void KvCache::remove(int64_t sequence) {
    require_sequence(sequence);
    const int64_t last = batch_ - 1;
    if (sequence != last) {
        const size_t bytes = static_cast<size_t>(length(last)) * row_bytes_;
        device_.copy_rows({row(sequence, 0), block_bytes_, row(last, 0), block_bytes_, bytes, blocks_});
        lengths_[static_cast<size_t>(sequence)] = length(last);
        finite_[static_cast<size_t>(sequence)] = length(last);
    }
    --batch_;
    if (batch_) bind_rows();
}

TensorView KvCache::first_rows(size_t block, int64_t sequence, int64_t new_rows) {
    require_sequence(sequence);
    require(new_rows <= limit_, new_rows);
    return view(row(sequence, 0) + block * block_bytes_, 1, new_rows);
}

void KvCache::begin(int64_t sequence, int64_t count) {
    require_sequence(sequence);
    require(count >= 0 && count <= limit_, count);
    lengths_[static_cast<size_t>(sequence)] = static_cast<int32_t>(count);
    finite_[static_cast<size_t>(sequence)] = count;
    bind_rows();
}

TensorView KvCache::past(size_t block) const { return view(cache_.get() + block * block_bytes_, batch_, bound_); }

TensorView KvCache::fresh(size_t block, int64_t new_rows) {
    const size_t wanted = aligned(static_cast<size_t>(batch_ * new_rows) * row_bytes_);
    if (wanted > fresh_bytes_) {
        fresh_bytes_ = 0;  // so much there is if the next line throws
        fresh_.reset();
        fresh_ = device_.allocate(blocks_ * wanted);
        fresh_bytes_ = wanted;
    }
    return view(fresh_.get() + block * fresh_bytes_, batch_, new_rows);
}

void KvCache::append(const std::vector<int32_t>& counts, int64_t new_rows) {
    for (int64_t b = 0; b < batch_; ++b) {
        const int64_t count = counts[static_cast<size_t>(b)];
        require(count >= 0 && count <= new_rows && length(b) + count <= limit_, count);
    }
    for (int64_t b = 0; b < batch_; ++b) {
        const int32_t count = counts[static_cast<size_t>(b)];
        if (!count) continue;
        const uint8_t* fresh = fresh_.get() + static_cast<size_t>(b * new_rows) * row_bytes_;
        const size_t bytes = static_cast<size_t>(count) * row_bytes_;
        device_.copy_rows({row(b, length(b)), block_bytes_, fresh, fresh_bytes_, bytes, blocks_});
        int32_t& length = lengths_[static_cast<size_t>(b)];
        length += count;
        int64_t& finite = finite_[static_cast<size_t>(b)];
        finite = std::max<int64_t>(finite, length);
    }
    bind_rows();
}

// Several sequences lie a stride apart, so all of the stride is bound; a lone one is bound step by step.
void KvCache::bind_rows() {
    bound_ = batch_ == 1 ? std::max(whole_steps(length(0)), kStep) : stride_;
    for (int64_t b = 0; b < batch_; ++b) {
        int64_t& finite = finite_[static_cast<size_t>(b)];
        if (finite >= bound_) continue;
        // What an earlier answer left there may be infinite or nan, and 0 * nan is nan.
        device_.clear_rows(row(b, finite), block_bytes_, static_cast<size_t>(bound_ - finite) * row_bytes_, blocks_);
        finite = bound_;
    }
}

void KvCache::rewind(int64_t sequence, int32_t length) {
    require_sequence(sequence);
    if (length < 0 || length > this->length(sequence)) {
        throw InputError("the cache cannot go back to row " + std::to_string(length) + " of sequence " +
                         std::to_string(sequence));
    }
    lengths_[static_cast<size_t>(sequence)] = length;
}

TensorView KvCache::lengths() { return {lengths_.data(), ElementType::kInt32, {batch_}}; }

TensorView KvCache::view(uint8_t* memory, int64_t sequences, int64_t rows) const {
    return {memory, layout_.type, {sequences, rows, layout_.kv_heads, layout_.head_dim}, device_.place()};
}

void KvCache::require(bool has_room, int64_t rows) const {
    if (has_room) return;
    throw InputError("the cache of " + std::to_string(limit_) + " rows cannot take " + std::to_string(rows) +
                     " more; load the model with a larger max_rows");
}

void KvCache::require_sequence(int64_t sequence) const {
    if (sequence >= 0 && sequence < batch_) return;
    throw InputError("the cache has no sequence " + std::to_string(sequence));
}

uint8_t* KvCache::row(int64_t sequence, int64_t index) const {
    return cache_.get() + static_cast<size_t>(sequence * stride_ + index) * row_bytes_;
}

}  // namespace palijet
