// What the files that are compiled for AVX-512 share: loops in registers, and lanes.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace palijet::avx512 {

constexpr int64_t kLanes = 16;

// Sums must stay in registers, so loops over them are written out for the compiler: `each` calls with 0, 1, ... as
// constants.

#define PALIJET_INLINE __attribute__((always_inline))

template <int... kIndex, class Call>
PALIJET_INLINE inline void each(std::integer_sequence<int, kIndex...>, Call call) {
    (call(std::integral_constant<int, kIndex>()), ...);
}

template <int kCount, class Call>
PALIJET_INLINE inline void each(Call call) {
    each(std::make_integer_sequence<int, kCount>(), call);
}

// The first `count` of 16 lanes.
inline __mmask16 lanes(int64_t count) {
    return static_cast<__mmask16>((1u << std::clamp<int64_t>(count, 0, kLanes)) - 1);
}

// 4 x 4 lanes of 128 bits: lane l of vector j becomes lane j of vector l.
PALIJET_INLINE inline void transpose_lanes(__m512i (&v)[4]) {
    const __m512i a = _mm512_shuffle_i32x4(v[0], v[1], 0x44), b = _mm512_shuffle_i32x4(v[0], v[1], 0xee);
    const __m512i c = _mm512_shuffle_i32x4(v[2], v[3], 0x44), d = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
    v[0] = _mm512_shuffle_i32x4(a, c, 0x88);
    v[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
    v[2] = _mm512_shuffle_i32x4(b, d, 0x88);
    v[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}

}  // namespace palijet::avx512
