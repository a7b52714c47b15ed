// Sixteen rows of sixteen bytes turned into columns, by the vectors that GCC and Clang have on every processor.
#pragma once

#include <cstdint>
#include <cstring>

namespace palijet {

typedef uint8_t Bytes16 __attribute__((vector_size(16)));

inline Bytes16 interleave_low(Bytes16 a, Bytes16 b) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#else
    return __builtin_shuffle(a, b, Bytes16{0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23});
#endif
}

inline Bytes16 interleave_high(Bytes16 a, Bytes16 b) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#else
    return __builtin_shuffle(a, b, Bytes16{8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31});
#endif
}

// columns[16 * j + i] = rows[i][j]. Interleaving the first half of the rows with the second four times over is a
// transpose.
inline void transpose16(const uint8_t* const rows[16], int64_t offset, uint8_t* columns) {
    Bytes16 block[16];
    for (int i = 0; i < 16; ++i) std::memcpy(&block[i], rows[i] + offset, 16);
    for (int round = 0; round < 4; ++round) {
        Bytes16 mixed[16];
        for (int i = 0; i < 8; ++i) {
            mixed[2 * i] = interleave_low(block[i], block[i + 8]);
            mixed[2 * i + 1] = interleave_high(block[i], block[i + 8]);
        }
        std::memcpy(block, mixed, sizeof block);
    }
    std::memcpy(columns, block, sizeof block);
}

}  // namespace palijet
