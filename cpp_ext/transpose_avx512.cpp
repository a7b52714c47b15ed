// Keys laid out for attention, by AVX-512. Compiled for it, like matmul_avx512.cpp.
#include "matmul_avx512.h"
#include "vectors_avx512.h"

namespace palijet::avx512 {

namespace {

constexpr int64_t kPanel = 64;  // rows that lie side by side when they are columns

}  // namespace

// Squares of 16 x 16; see cpu_kernels.h.
void transpose(const void* from, bool is_half, int64_t stride, int64_t rows, int64_t width, float* to) {
    for (int64_t first = 0; first < width; first += kLanes) {
        const __mmask16 mask = lanes(width - first);
        const int64_t depth = std::min(kLanes, width - first);
        for (int64_t row = 0; row < kPanel; row += kLanes) {
            __m512i v[4][4];
            each<4>([&](auto group) PALIJET_INLINE {
                each<4>([&](auto r) PALIJET_INLINE {
                    const int64_t at = row + 4 * group + r;
                    const __mmask16 here = at < rows ? mask : __mmask16{0};
                    const auto* half = static_cast<const uint16_t*>(from) + at * stride + first;
                    const auto* whole = static_cast<const float*>(from) + at * stride + first;
                    v[group][r] = is_half ? _mm512_castps_si512(_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(here, half)))
                                          : _mm512_maskz_loadu_epi32(here, whole);
                });
                // Within each 128-bit lane: 4 rows x 4 columns become 4 columns x 4 rows.
                const __m512i a = _mm512_unpacklo_epi32(v[group][0], v[group][1]);
                const __m512i b = _mm512_unpackhi_epi32(v[group][0], v[group][1]);
                const __m512i c = _mm512_unpacklo_epi32(v[group][2], v[group][3]);
                const __m512i d = _mm512_unpackhi_epi32(v[group][2], v[group][3]);
                v[group][0] = _mm512_unpacklo_epi64(a, c);
                v[group][1] = _mm512_unpackhi_epi64(a, c);
                v[group][2] = _mm512_unpacklo_epi64(b, d);
                v[group][3] = _mm512_unpackhi_epi64(b, d);
            });
            each<4>([&](auto column) PALIJET_INLINE {
                __m512i square[4] = {v[0][column], v[1][column], v[2][column], v[3][column]};
                transpose_lanes(square);  // vector l: column 4 l + `column` of 16 rows
                each<4>([&](auto l) PALIJET_INLINE {
                    const int64_t at = 4 * l + column;
                    if (at < depth) _mm512_storeu_si512(to + (first + at) * kPanel + row, square[l]);
                });
            });
        }
    }
}

}  // namespace palijet::avx512
