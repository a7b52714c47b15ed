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

// What one CUDA thread does: word `index` of all pieces' words, in their order. Addresses, strides and `bytes` are
// multiples of the word's size.
template <class Word>
PALIJET_ELEMENT void copy_word(const RowCopy& copy, size_t index) {
    const size_t words = copy.bytes / sizeof(Word);
    const size_t piece = index / words, offset = index % words * sizeof(Word);
    *reinterpret_cast<Word*>(copy.to + piece * copy.to_stride + offset) =
        *reinterpret_cast<const Word*>(copy.from + piece * copy.from_stride + offset);
}

}  // namespace palijet
