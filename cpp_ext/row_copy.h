// A piece of each of several blocks, copied to a piece of each of several others: how new rows enter the KV cache.
#pragma once

#include <cstddef>
#include <cstdint>

#include "element.h"

namespace palijet {

// Piece i is the `bytes` bytes at from + i * from_stride; it goes to to + i * to_stride. Strides count in bytes.
struct RowCopy {
    uint8_t* to;
    size_t to_stride;
    const uint8_t* from;
    size_t from_stride;
    size_t bytes;
    size_t pieces;
};

struct alignas(16) Word16 {
    uint64_t low, high;
};

// The same by words, of whose size all addresses, strides and `bytes` are multiples.
template <class Word>
struct RowCopyPass {
    RowCopy copy;

    PALIJET_ELEMENT Extent extent() const {
        return {static_cast<int64_t>(copy.bytes / sizeof(Word)), static_cast<int64_t>(copy.pieces), 1};
    }
};

template <class Word>
PALIJET_ELEMENT void compute(const RowCopyPass<Word>& pass, int64_t x, int64_t y, int64_t /*z*/) {
    const RowCopy& copy = pass.copy;
    const auto piece = static_cast<size_t>(y);
    reinterpret_cast<Word*>(copy.to + piece * copy.to_stride)[x] =
        reinterpret_cast<const Word*>(copy.from + piece * copy.from_stride)[x];
}

}  // namespace palijet
