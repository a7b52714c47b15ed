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
      nothing_(device.allocate(static_cast<size_t>(layout.max_batch) * row_bytes_)),
      lengths_(static_cast<size_t>(layout.max_batch)) {}

void KvCache::start(int64_t batch, int64_t rows) {
    if (batch < 1 || batch > layout_.max_batch || rows < 1 || rows > layout_.max_rows) {
        throw InputError(std::to_string(batch) + " sequences of " + std::to_string(rows) +
                         " rows do not fit a cache of " + std::to_string(layout_.max_batch) + " x " +
                         std::to_string(layout_.max_rows) + "; load the model with a larger max_batch or max_rows");
    }
    batch_ = batch;
    limit_ = batch == 1 ? layout_.max_rows : rows;
    stride_ = whole_steps(limit_);
    bound_ = 0;
    std::fill(lengths_.begin(), lengths_.end(), 0);
}

TensorView KvCache::past(size_t block) {
    if (is_empty()) return view(nothing_.get(), 1);
    return view(cache_.get() + block * block_bytes_, bound_);
}

TensorView KvCache::fresh(size_t block, int64_t new_rows) {
    if (writes_in_place()) return view(cache_.get() + block * block_bytes_, new_rows);
    const size_t wanted = aligned(static_cast<size_t>(batch_ * new_rows) * row_bytes_);
    if (wanted > fresh_bytes_) {
        fresh_bytes_ = 0;  // so much there is if the next line throws
        fresh_.reset();
        fresh_ = device_.allocate(blocks_ * wanted);
        fresh_bytes_ = wanted;
    }
    return view(fresh_.get() + block * fresh_bytes_, new_rows);
}

TensorView KvCache::view(uint8_t* memory, int64_t rows) const {
    return {memory, layout_.type, {batch_, rows, layout_.kv_heads, layout_.head_dim}, device_.place()};
}

void KvCache::append(const std::vector<int32_t>& counts, int64_t new_rows) {
    const bool in_place = writes_in_place();
    int64_t longest = 0;
    for (int64_t b = 0; b < batch_; ++b) {
        const int64_t count = counts[static_cast<size_t>(b)];
        const int64_t length = this->length(b) + count;
        if (count < 0 || count > new_rows || length > limit_) {
            throw InputError("the cache of " + std::to_string(limit_) + " rows cannot take " + std::to_string(count) +
                             " more; load the model with a larger max_rows");
        }
        longest = std::max(longest, length);
    }
    for (int64_t b = 0; b < batch_; ++b) {
        const size_t bytes = static_cast<size_t>(counts[static_cast<size_t>(b)]) * row_bytes_;
        if (!in_place && bytes) {
            const uint8_t* fresh = fresh_.get() + static_cast<size_t>(b * new_rows) * row_bytes_;
            device_.copy_rows({row(b, length(b)), block_bytes_, fresh, fresh_bytes_, bytes, blocks_});
        }
        lengths_[static_cast<size_t>(b)] += counts[static_cast<size_t>(b)];
    }
    bind_rows(longest);
}

// Several sequences lie a stride apart, so all of the stride is bound; a lone one is bound step by step.
void KvCache::bind_rows(int64_t rows) {
    const int64_t wanted = batch_ == 1 ? whole_steps(rows) : stride_;
    if (wanted <= bound_) return;
    for (int64_t b = 0; b < batch_; ++b) {
        const int64_t first = std::max<int64_t>(length(b), bound_);
        if (first >= wanted) continue;
        // What an earlier answer left there may be infinite or nan, and 0 * nan is nan.
        device_.clear_rows(row(b, first), block_bytes_, static_cast<size_t>(wanted - first) * row_bytes_, blocks_);
    }
    bound_ = wanted;
}

void KvCache::rewind(int64_t sequence, int32_t length) {
    if (sequence < 0 || sequence >= batch_ || length < 0 || length > this->length(sequence)) {
        throw InputError("the cache cannot go back to row " + std::to_string(length) + " of sequence " +
                         std::to_string(sequence));
    }
    lengths_[static_cast<size_t>(sequence)] = length;
}

TensorView KvCache::lengths() { return {lengths_.data(), ElementType::kInt32, {batch_}}; }

bool KvCache::is_empty() const {
    return std::all_of(lengths_.begin(), lengths_.begin() + batch_, [](int32_t length) { return length == 0; });
}

uint8_t* KvCache::row(int64_t sequence, int64_t index) {
    return cache_.get() + static_cast<size_t>(sequence * stride_ + index) * row_bytes_;
}

}  // namespace palijet
