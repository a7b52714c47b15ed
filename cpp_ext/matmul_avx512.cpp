// Products of rows and weights by AVX-512 VNNI. Compiled for it; see cpu_kernels_portable.cpp for who may call.
#include "matmul_avx512.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "vectors_avx512.h"

// What follows is written for weights that stream from memory once. They lie [in, out] as the graph has them; a tile of
// columns of a few rows is unpacked into a panel that stays in the cache, and every row is multiplied by it there:
//
//   VPDPBUSD adds, to each of 16 sums, four products of an unsigned and a signed byte. So a panel interleaves four rows
//   of weights, made unsigned by adding 128 or 8, and the same four values of an input row are broadcast against it;
//   what the addition adds up to, 128 or 8 times the sum of the inputs, is what a sum starts from, negated.
//
// Interleaving leaves the columns of a tile in another order, which is undone once per tile when all rows are through.
// A row's result is the same, bit for bit, however many rows it is computed with: sums grow in the order of the inputs.

namespace palijet::avx512 {

namespace {

constexpr int64_t kVectors = 4;               // of sums per row and half tile
constexpr int64_t kHalf = kLanes * kVectors;  // columns that one micro-kernel computes
constexpr int64_t kFewRows = 16;              // up to which the weights' way from memory is what takes the time
constexpr int64_t kManyRowsDepth = 512;       // inputs of a panel
constexpr int64_t kManyRowsStripe = 512;      // columns whose sums are kept at a time
constexpr int64_t kFewRowsDepth = 16;         // inputs of few rows that take their way from memory together, ...
constexpr int64_t kFarInputsDepth = 8;        // ... and where one is a page or more behind the other
constexpr int64_t kFar = 4096;
constexpr int64_t kTilesAhead = 16;        // of few rows: how far weights are fetched before their turn
constexpr int64_t kFewRowsSums = 1 << 14;  // sums that are kept at a time

// Weights whose turn comes soon: far enough ahead for memory, near enough for the second cache. An address behind the
// weights is no harm. (Always inlined: GCC drops calls of functions that do nothing but this.)
PALIJET_INLINE inline void fetch(const uint8_t* weights) {
    _mm_prefetch(reinterpret_cast<const char*>(weights), _MM_HINT_T1);
}

// Where interleaved weights go: into a panel, ...
struct PanelSink {
    uint8_t* panel;  // [halves][depth / 4][4][64]
    int64_t depth;

    template <int kHalfTile>
    PALIJET_INLINE void take(int64_t k, __m512i w0, __m512i w1, __m512i w2, __m512i w3) {
        uint8_t* to = panel + kHalfTile * depth * 64 + k * 64;
        _mm512_store_si512(to, w0);
        _mm512_store_si512(to + 64, w1);
        _mm512_store_si512(to + 128, w2);
        _mm512_store_si512(to + 192, w3);
    }
};

// ... or, where rows are very few, straight into their products.
template <int kHalves, int kRows>
struct DotSink {
    const int8_t* a;  // [kRows, stride]
    int64_t stride;
    __m512i sums[kRows][kHalves][kVectors];

    template <int kHalfTile>
    PALIJET_INLINE void take(int64_t k, __m512i w0, __m512i w1, __m512i w2, __m512i w3) {
        each<kRows>([&](auto r) PALIJET_INLINE {
            int32_t four;
            std::memcpy(&four, a + r * stride + k, 4);
            const __m512i input = _mm512_set1_epi32(four);
            __m512i(&sum)[kVectors] = sums[r][kHalfTile];
            sum[0] = _mm512_dpbusd_epi32(sum[0], w0, input);
            sum[1] = _mm512_dpbusd_epi32(sum[1], w1, input);
            sum[2] = _mm512_dpbusd_epi32(sum[2], w2, input);
            sum[3] = _mm512_dpbusd_epi32(sum[3], w3, input);
        });
    }
};

// Four rows of 64 bytes -> four vectors, each of 16 columns with their four bytes together.
PALIJET_INLINE inline void interleave(__m512i (&r)[4]) {
    const __m512i low01 = _mm512_unpacklo_epi8(r[0], r[1]), high01 = _mm512_unpackhi_epi8(r[0], r[1]);
    const __m512i low23 = _mm512_unpacklo_epi8(r[2], r[3]), high23 = _mm512_unpackhi_epi8(r[2], r[3]);
    r[0] = _mm512_unpacklo_epi16(low01, low23);
    r[1] = _mm512_unpackhi_epi16(low01, low23);
    r[2] = _mm512_unpacklo_epi16(high01, high23);
    r[3] = _mm512_unpackhi_epi16(high01, high23);
}

// Reads 64 bytes of a row of weights: zeros where the row ends sooner, or where there is no such row.
class RowReader {
  public:
    RowReader(int64_t first, int64_t depth, int64_t rows, int64_t bytes_left)
        : is_whole_(bytes_left >= 64 && first + depth <= rows),
          rows_left_(rows - first),
          mask_(bytes_left >= 64 ? ~__mmask64{0} : (__mmask64{1} << bytes_left) - 1) {}

    PALIJET_INLINE __m512i read(const uint8_t* row, int64_t k) const {
        if (is_whole_) return _mm512_loadu_si512(row);
        return _mm512_maskz_loadu_epi8(k < rows_left_ ? mask_ : __mmask64{0}, row);
    }

  private:
    bool is_whole_;
    int64_t rows_left_;
    __mmask64 mask_;
};

// Formats: what a tile is and how a panel is made of it.

struct Int8Format {
    static constexpr int64_t kHalves = 1;
    static constexpr int64_t kBits = 8;
    static constexpr int64_t kDirectRows = 8;     // up to which a panel does not pay
    static constexpr int32_t kOffsets[] = {128};  // by half: what was added to each weight
    static constexpr bool kIsInteger = true;

    // Rows [first, first + depth) of a tile.
    template <class Sink>
    PALIJET_INLINE static void unpack(const LinearWeights& w, int64_t first, int64_t depth, int64_t column,
                                      int64_t ahead, Sink& sink) {
        const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
        const RowReader rows(first, depth, w.in, w.out - column);
        const auto* row = static_cast<const uint8_t*>(w.data) + first * w.out + column;
        for (int64_t k = 0; k < depth; k += 4) {
            __m512i r[4];
            each<4>([&](auto i) PALIJET_INLINE {
                fetch(row + ahead);
                r[i] = _mm512_xor_si512(rows.read(row, k + i), flip);
                row += w.out;
            });
            interleave(r);
            sink.template take<0>(k, r[0], r[1], r[2], r[3]);
        }
    }
    // The scales of a tile for a block of inputs, in the order of the sums: [1][4] vectors.
    PALIJET_INLINE static void scales(const LinearWeights& w, int64_t block, int64_t column, __m512 (&out)[4]) {
        const uint16_t* scale = w.scale + block * w.out + column;
        const int64_t left = w.out - column;
        __m512i v[4];
        each<4>([&](auto j) PALIJET_INLINE {
            fetch(reinterpret_cast<const uint8_t*>(scale + w.out + j * kLanes));
            const __m256i halves = left >= kHalf
                                       ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(scale) + j)
                                       : _mm256_maskz_loadu_epi16(lanes(left - j * kLanes), scale + j * kLanes);
            v[j] = _mm512_castps_si512(_mm512_cvtph_ps(halves));
        });
        transpose_lanes(v);
        each<4>([&](auto j) PALIJET_INLINE { out[j] = _mm512_castsi512_ps(v[j]); });
    }
    // Sums of one row of a tile in the order of its columns.
    static void in_order(__m512 sums[4]) {
        __m512i v[4];
        for (int64_t j = 0; j < 4; ++j) v[j] = _mm512_castps_si512(sums[j]);
        transpose_lanes(v);
        for (int64_t j = 0; j < 4; ++j) sums[j] = _mm512_castsi512_ps(v[j]);
    }
};

struct Int4Format {
    static constexpr int64_t kHalves = 2;  // the even columns, the odd columns
    static constexpr int64_t kBits = 4;
    static constexpr int64_t kDirectRows = 2;
    // The odd columns stay in the high halves of their bytes, as 16 times what they are; their scales make up for it.
    static constexpr int32_t kOffsets[] = {8, 16 * 8};
    static constexpr bool kIsInteger = true;

    template <class Sink>
    PALIJET_INLINE static void unpack(const LinearWeights& w, int64_t first, int64_t depth, int64_t column,
                                      int64_t ahead, Sink& sink) {
        constexpr int kFlipAndPick = 0x28;  // (a ^ b) & c, as VPTERNLOGD takes it
        const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x88));
        const __m512i low = _mm512_set1_epi8(0x0f), high = _mm512_set1_epi8(static_cast<char>(0xf0));
        const int64_t row_bytes = w.out / 2;
        const RowReader rows(first, depth, w.in, (w.out - column) / 2);
        const auto* row = static_cast<const uint8_t*>(w.data) + first * row_bytes + column / 2;
        for (int64_t k = 0; k < depth; k += 4) {
            __m512i r[4], even[4], odd[4];
            each<4>([&](auto i) PALIJET_INLINE {
                fetch(row + ahead);
                r[i] = rows.read(row, k + i);
                row += row_bytes;
            });
            interleave(r);
            each<4>([&](auto i) PALIJET_INLINE {
                even[i] = _mm512_ternarylogic_epi32(r[i], flip, low, kFlipAndPick);
                odd[i] = _mm512_ternarylogic_epi32(r[i], flip, high, kFlipAndPick);
            });
            sink.template take<0>(k, even[0], even[1], even[2], even[3]);
            sink.template take<1>(k, odd[0], odd[1], odd[2], odd[3]);
        }
    }
    // [2][4] vectors. Two scales lie in 32 bits; positive as they are, shifted into place they are floats but for the
    // exponent's bias.
    PALIJET_INLINE static void scales(const LinearWeights& w, int64_t block, int64_t column, __m512 (&out)[8]) {
        const uint16_t* scale = w.scale + block * w.out + column;
        const int64_t left = (w.out - column) / 2;
        __m512i v[4];
        each<4>([&](auto j) PALIJET_INLINE {
            fetch(reinterpret_cast<const uint8_t*>(scale + w.out + j * 2 * kLanes));
            v[j] = left >= kHalf ? _mm512_loadu_si512(scale + j * 2 * kLanes)
                                 : _mm512_maskz_loadu_epi32(lanes(left - j * kLanes), scale + j * 2 * kLanes);
        });
        transpose_lanes(v);
        const __m512i magnitude = _mm512_set1_epi32(0x7fff << 13);
        each<4>([&](auto j) PALIJET_INLINE {
            out[j] = from_shifted<1>(_mm512_and_si512(_mm512_slli_epi32(v[j], 13), magnitude));
            out[4 + j] = from_shifted<16>(_mm512_and_si512(_mm512_srli_epi32(v[j], 3), magnitude));
        });
    }
    // As float_from_half: subnormals through 2^-14, for those of floats are flushed to zero. Divided by 1 or 16.
    template <int kDivisor>
    PALIJET_INLINE static __m512 from_shifted(__m512i half) {
        constexpr int kExponent = 112 - (kDivisor == 16 ? 4 : 0);
        const __m512i least = _mm512_set1_epi32((kExponent + 1) << 23);
        const __mmask16 subnormal = _mm512_cmplt_epu32_mask(half, _mm512_set1_epi32(1 << 23));
        const __m512i normal = _mm512_add_epi32(half, _mm512_set1_epi32(kExponent << 23));
        const __m512 value = _mm512_castsi512_ps(_mm512_mask_add_epi32(normal, subnormal, half, least));
        return _mm512_mask_sub_ps(value, subnormal, value, _mm512_castsi512_ps(least));
    }
    static void in_order(__m512 sums[8]) {
        __m512i even[4], odd[4];
        for (int64_t j = 0; j < 4; ++j) {
            even[j] = _mm512_castps_si512(sums[j]);
            odd[j] = _mm512_castps_si512(sums[4 + j]);
        }
        transpose_lanes(even);
        transpose_lanes(odd);
        const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        const __m512i second = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        for (int64_t j = 0; j < 4; ++j) {
            sums[2 * j] = _mm512_castsi512_ps(_mm512_permutex2var_epi32(even[j], first, odd[j]));
            sums[2 * j + 1] = _mm512_castsi512_ps(_mm512_permutex2var_epi32(even[j], second, odd[j]));
        }
    }
};

template <bool kIsHalf>
struct FloatFormat {
    static constexpr int64_t kHalves = 1;
    static constexpr int64_t kBits = kIsHalf ? 16 : 32;
    static constexpr int64_t kDirectRows = 8;
    static constexpr bool kIsInteger = false;

    // Calls take(k, v0, v1, v2, v3) for each row of a tile.
    template <class Take>
    PALIJET_INLINE static void unpack(const LinearWeights& w, int64_t first, int64_t depth, int64_t column,
                                      int64_t ahead, Take take) {
        constexpr int64_t kBytes = kIsHalf ? 2 : 4;
        const auto* row = static_cast<const uint8_t*>(w.data) + (first * w.out + column) * kBytes;
        __mmask16 masks[kVectors];
        each<kVectors>([&](auto j) PALIJET_INLINE { masks[j] = lanes(w.out - column - j * kLanes); });
        for (int64_t k = 0; k < depth; ++k, row += w.out * kBytes) {
            __m512 v[kVectors];
            each<kVectors>([&](auto j) PALIJET_INLINE {
                const uint8_t* from = row + j * kLanes * kBytes;
                if (j * kLanes * kBytes % 64 == 0) fetch(from + ahead);
                v[j] = kIsHalf ? _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(masks[j], from))
                               : _mm512_maskz_loadu_ps(masks[j], from);
            });
            take(k, v);
        }
    }
    static void in_order(__m512*) {}
};

// Micro-kernels: kRows rows times half a tile.

template <int kRows>
PALIJET_INLINE inline void dot(const uint8_t* panel, int64_t depth, const int8_t* a, int64_t stride,
                               __m512i (&sums)[kRows][kVectors]) {
    for (int64_t k = 0; k < depth; k += 4, panel += 256) {
        const __m512i w0 = _mm512_load_si512(panel), w1 = _mm512_load_si512(panel + 64);
        const __m512i w2 = _mm512_load_si512(panel + 128), w3 = _mm512_load_si512(panel + 192);
        each<kRows>([&](auto r) PALIJET_INLINE {
            int32_t four;
            std::memcpy(&four, a + r * stride + k, 4);
            const __m512i input = _mm512_set1_epi32(four);
            sums[r][0] = _mm512_dpbusd_epi32(sums[r][0], w0, input);
            sums[r][1] = _mm512_dpbusd_epi32(sums[r][1], w1, input);
            sums[r][2] = _mm512_dpbusd_epi32(sums[r][2], w2, input);
            sums[r][3] = _mm512_dpbusd_epi32(sums[r][3], w3, input);
        });
    }
}

// The panel's part of W8A8: integers to the end. sums: [rows, tile] int32, `sums_stride` apart.
template <int kRows>
void add_integers(const uint8_t* panel, int64_t depth, const LinearInput& input, int64_t row, int64_t first,
                  int32_t offset, float* sums, int64_t sums_stride, bool is_first) {
    __m512i total[kRows][kVectors];
    const int64_t segments = (input.stride + input.segment - 1) / input.segment;
    const int64_t from = first / input.segment, to = (first + depth + input.segment - 1) / input.segment;
    each<kRows>([&](auto r) PALIJET_INLINE {
        int32_t start = 0;
        // A panel may be a part of a segment; its first part takes the whole segment's correction.
        if (first % input.segment == 0) {
            for (int64_t s = from; s < to; ++s) start -= offset * input.sums[(row + r) * segments + s];
        }
        each<kVectors>([&](auto j) PALIJET_INLINE {
            const __m512i before =
                is_first ? _mm512_setzero_si512() : _mm512_loadu_si512(sums + r * sums_stride + j * kLanes);
            total[r][j] = _mm512_add_epi32(before, _mm512_set1_epi32(start));
        });
    });
    dot<kRows>(panel, depth, input.integers + row * input.stride + first, input.stride, total);
    each<kRows>([&](auto r) PALIJET_INLINE {
        each<kVectors>([&](auto j)
                           PALIJET_INLINE { _mm512_storeu_si512(sums + r * sums_stride + j * kLanes, total[r][j]); });
    });
}

// Of weights in blocks: each block's integers are scaled and added up as floats. scales: [blocks][4] vectors,
// `scales_stride` apart.
template <int kRows>
void add_blocks(const uint8_t* panel, int64_t depth, const LinearInput& input, int64_t row, int64_t first,
                int32_t offset, const __m512* scales, int64_t scales_stride, float* sums, int64_t sums_stride,
                bool is_first) {
    const int64_t blocks = input.stride / input.segment, first_block = first / input.segment;
    const int8_t* a = input.integers + row * input.stride + first;
    const int32_t* input_sums = input.sums + row * blocks + first_block;
    const float* input_scales = input.scales + row * blocks + first_block;
    __m512 total[kRows][kVectors];
    each<kRows>([&](auto r) PALIJET_INLINE {
        each<kVectors>([&](auto j) PALIJET_INLINE {
            total[r][j] = is_first ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + r * sums_stride + j * kLanes);
        });
    });
    for (int64_t block = 0; block < depth / input.segment; ++block) {
        __m512i integers[kRows][kVectors];
        each<kRows>([&](auto r) PALIJET_INLINE {
            const __m512i start = _mm512_set1_epi32(-offset * input_sums[r * blocks + block]);
            each<kVectors>([&](auto j) PALIJET_INLINE { integers[r][j] = start; });
        });
        dot<kRows>(panel, input.segment, a, input.stride, integers);
        each<kRows>([&](auto r) PALIJET_INLINE {
            const __m512 input_scale = _mm512_set1_ps(input_scales[r * blocks + block]);
            each<kVectors>([&](auto j) PALIJET_INLINE {
                const __m512 scale = _mm512_mul_ps(scales[j], input_scale);
                total[r][j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(integers[r][j]), scale, total[r][j]);
            });
        });
        panel += input.segment * 64;
        a += input.segment;
        scales += scales_stride;
    }
    each<kRows>([&](auto r) PALIJET_INLINE {
        each<kVectors>([&](auto j)
                           PALIJET_INLINE { _mm512_storeu_ps(sums + r * sums_stride + j * kLanes, total[r][j]); });
    });
}

template <int kRows>
void add_floats(const float* panel, int64_t panel_stride, int64_t depth, const float* a, int64_t a_stride, float* sums,
                int64_t sums_stride, bool is_first) {
    __m512 total[kRows][kVectors];
    each<kRows>([&](auto r) PALIJET_INLINE {
        each<kVectors>([&](auto j) PALIJET_INLINE {
            total[r][j] = is_first ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + r * sums_stride + j * kLanes);
        });
    });
    for (int64_t k = 0; k < depth; ++k, panel += panel_stride) {
        const __m512 w0 = _mm512_loadu_ps(panel), w1 = _mm512_loadu_ps(panel + 16);
        const __m512 w2 = _mm512_loadu_ps(panel + 32), w3 = _mm512_loadu_ps(panel + 48);
        each<kRows>([&](auto r) PALIJET_INLINE {
            const __m512 input = _mm512_set1_ps(a[r * a_stride + k]);
            total[r][0] = _mm512_fmadd_ps(input, w0, total[r][0]);
            total[r][1] = _mm512_fmadd_ps(input, w1, total[r][1]);
            total[r][2] = _mm512_fmadd_ps(input, w2, total[r][2]);
            total[r][3] = _mm512_fmadd_ps(input, w3, total[r][3]);
        });
    }
    each<kRows>([&](auto r) PALIJET_INLINE {
        each<kVectors>([&](auto j)
                           PALIJET_INLINE { _mm512_storeu_ps(sums + r * sums_stride + j * kLanes, total[r][j]); });
    });
}

// Calls `micro` with the number of rows as a constant, up to kMost, for all rows. The last kMost + 1 are parted in
// halves: one row alone has too few sums to hide how long each addition takes.
template <int kMost, class Micro>
void by_rows(int64_t rows, Micro micro) {
    int64_t row = 0;
    for (; row + kMost <= rows && rows - row != kMost + 1; row += kMost) {
        micro(std::integral_constant<int, kMost>(), row);
    }
    if (rows - row == kMost + 1) {
        constexpr int kHalfOfThem = (kMost + 2) / 2;
        micro(std::integral_constant<int, kHalfOfThem>(), row);
        row += kHalfOfThem;
    }
    each<kMost - 1>([&](auto i) PALIJET_INLINE {
        if (rows - row == i + 1) micro(std::integral_constant<int, i + 1>(), row);
    });
}

// A tile of very few rows, whose weights go from memory to the products without a panel.
template <int kRows, class Format, std::enable_if_t<!Format::kIsInteger, int> = 0>
void add_directly(const LinearWeights& w, const LinearInput& input, int64_t row, int64_t first, int64_t depth,
                  int64_t column, int64_t ahead, int32_t*, float* sums, int64_t sums_stride) {
    __m512 total[kRows][kVectors];
    each<kRows>([&](auto r) PALIJET_INLINE {
        each<kVectors>([&](auto j) PALIJET_INLINE {
            total[r][j] = first == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + r * sums_stride + j * kLanes);
        });
    });
    const float* a = input.rows + row * input.rows_stride + first;
    Format::unpack(w, first, depth, column, ahead, [&](int64_t k, const __m512(&v)[kVectors]) PALIJET_INLINE {
        each<kRows>([&](auto r) PALIJET_INLINE {
            const __m512 value = _mm512_set1_ps(a[r * input.rows_stride + k]);
            each<kVectors>([&](auto j) PALIJET_INLINE { total[r][j] = _mm512_fmadd_ps(value, v[j], total[r][j]); });
        });
    });
    each<kRows>([&](auto r) PALIJET_INLINE {
        each<kVectors>([&](auto j)
                           PALIJET_INLINE { _mm512_storeu_ps(sums + r * sums_stride + j * kLanes, total[r][j]); });
    });
}

// The same of integers, a block or a part of it. integers: where sums wait that are not scaled yet, as `sums` lie.
template <int kRows, class Format, std::enable_if_t<Format::kIsInteger, int> = 0>
void add_directly(const LinearWeights& w, const LinearInput& input, int64_t row, int64_t first, int64_t depth,
                  int64_t column, int64_t ahead, int32_t* integers, float* sums, int64_t sums_stride) {
    constexpr int kHalves = Format::kHalves;
    const int64_t segment = input.segment, segments = (input.stride + segment - 1) / segment, at = first / segment;
    const bool begins = first % segment == 0;  // a segment, whose first part takes its correction
    const bool goes_on = w.block ? !begins : first != 0;
    const auto place = [&](int r, int half, int j) { return r * sums_stride + half * kHalf + j * kLanes; };
    DotSink<kHalves, kRows> sink;
    sink.a = input.integers + row * input.stride + first;
    sink.stride = input.stride;
    each<kRows>([&](auto r) PALIJET_INLINE {
        const int32_t sum = begins ? input.sums[(row + r) * segments + at] : 0;
        each<kHalves>([&](auto half) PALIJET_INLINE {
            const __m512i start = _mm512_set1_epi32(-Format::kOffsets[half] * sum);
            each<kVectors>([&](auto j) PALIJET_INLINE {
                __m512i before = _mm512_setzero_si512();
                if (goes_on) before = _mm512_loadu_si512(integers + place(r, half, j));
                sink.sums[r][half][j] = _mm512_add_epi32(before, start);
            });
        });
    });
    Format::unpack(w, first, depth, column, ahead, sink);
    if (!w.block || (first + depth) % segment) {
        each<kRows>([&](auto r) PALIJET_INLINE {
            each<kHalves>([&](auto half) PALIJET_INLINE {
                each<kVectors>([&](auto j) PALIJET_INLINE {
                    _mm512_storeu_si512(integers + place(r, half, j), sink.sums[r][half][j]);
                });
            });
        });
        return;
    }
    __m512 scales[Format::kHalves * kVectors];
    Format::scales(w, at, column, scales);
    each<kRows>([&](auto r) PALIJET_INLINE {
        const __m512 input_scale = _mm512_set1_ps(input.scales[(row + r) * segments + at]);
        each<kHalves>([&](auto half) PALIJET_INLINE {
            each<kVectors>([&](auto j) PALIJET_INLINE {
                float* sum = sums + place(r, half, j);
                const __m512 before = at == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(sum);
                const __m512 scale = _mm512_mul_ps(scales[half * kVectors + j], input_scale);
                _mm512_storeu_ps(sum, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sink.sums[r][half][j]), scale, before));
            });
        });
    });
}

template <class Format>
void multiply(const LinearWeights& w, const LinearInput& input, int64_t first_column, int64_t columns, float* out,
              int64_t out_stride, MatMulScratch& scratch) {
    constexpr int64_t kTile = kHalf * Format::kHalves;
    const bool few = input.count <= kFewRows;
    const int64_t inputs = Format::kIsInteger ? input.stride : w.in;
    const bool is_blockwise = w.block > 0;
    const bool direct = input.count <= Format::kDirectRows;
    const int64_t few_depth = w.out * Format::kBits / 8 < kFar ? kFewRowsDepth : kFarInputsDepth;
    const int64_t usual = few ? few_depth : kManyRowsDepth;
    const bool in_parts = direct && w.block % few_depth == 0;  // of a block, or else whole blocks
    const int64_t depth = is_blockwise && !in_parts ? std::max<int64_t>(1, usual / w.block) * w.block : usual;
    const int64_t stripe =
        few ? std::max(kTile, kFewRowsSums / input.count / kTile * kTile) : std::max(kTile, kManyRowsStripe);
    const int64_t end = first_column + columns;
    float* sums = scratch.sums.reserve(input.count * stripe);  // [tiles][count][kTile]
    int32_t* integers = reinterpret_cast<int32_t*>(sums);
    if (is_blockwise && direct) integers = scratch.integers.reserve(input.count * stripe);
    uint8_t* panel = scratch.panel.reserve(depth * kTile * (Format::kIsInteger ? 1 : 4));
    __m512 scales[kManyRowsDepth / 32][kVectors * (Format::kIsInteger ? Format::kHalves : 1)];  // by block of a panel

    for (int64_t start = first_column; start < end; start += stripe) {
        const int64_t width = std::min(stripe, end - start);
        for (int64_t k = 0; k < inputs; k += depth) {
            const int64_t here = std::min(depth, inputs - k);
            for (int64_t tile = 0; tile < width; tile += kTile) {
                // What to fetch: columns further on or, past the end of the stripe, the same far into the next panel.
                const int64_t next = few ? std::min(kTilesAhead * kTile, width) : width;
                const int64_t ahead = (tile + next < width ? next : here * w.out + next - width) * Format::kBits / 8;
                float* tile_sums = sums + tile * input.count;
                if (direct) {
                    by_rows<4>(input.count, [&](auto rows, int64_t row) {
                        add_directly<rows, Format>(w, input, row, k, here, start + tile, row == 0 ? ahead : 0,
                                                   integers + (tile_sums - sums) + row * kTile, tile_sums + row * kTile,
                                                   kTile);
                    });
                    continue;
                }
                if constexpr (Format::kIsInteger) {
                    PanelSink sink{panel, here};
                    Format::unpack(w, k, here, start + tile, ahead, sink);
                    if (is_blockwise) {
                        for (int64_t b = 0; b < here / w.block; ++b) {
                            Format::scales(w, k / w.block + b, start + tile, scales[b]);
                        }
                    }
                } else {
                    auto* to = reinterpret_cast<float*>(panel);  // [depth][64]
                    Format::unpack(
                        w, k, here, start + tile, ahead, [&](int64_t row, const __m512(&v)[kVectors]) PALIJET_INLINE {
                            each<kVectors>(
                                [&](auto j) PALIJET_INLINE { _mm512_store_ps(to + row * kHalf + j * kLanes, v[j]); });
                        });
                }
                for (int64_t half = 0; half < Format::kHalves; ++half) {
                    float* to = tile_sums + half * kHalf;
                    if constexpr (!Format::kIsInteger) {
                        by_rows<6>(input.count, [&](auto rows, int64_t row) {
                            add_floats<rows>(reinterpret_cast<const float*>(panel), kHalf, here,
                                             input.rows + row * input.rows_stride + k, input.rows_stride,
                                             to + row * kTile, kTile, k == 0);
                        });
                    } else if (const uint8_t* half_panel = panel + half * here * 64; is_blockwise) {
                        by_rows<3>(input.count, [&](auto rows, int64_t row) {
                            add_blocks<rows>(half_panel, here, input, row, k, Format::kOffsets[half],
                                             scales[0] + half * kVectors, kVectors * Format::kHalves, to + row * kTile,
                                             kTile, k == 0);
                        });
                    } else {
                        by_rows<6>(input.count, [&](auto rows, int64_t row) {
                            add_integers<rows>(half_panel, here, input, row, k, Format::kOffsets[half],
                                               to + row * kTile, kTile, k == 0);
                        });
                    }
                }
            }
        }
        for (int64_t row = 0; row < input.count; ++row) {
            for (int64_t tile = 0; tile < width; tile += kTile) {
                __m512 v[kVectors * Format::kHalves];
                const float* from = sums + tile * input.count + row * kTile;
                for (int64_t j = 0; j < kVectors * Format::kHalves; ++j) v[j] = _mm512_loadu_ps(from + j * kLanes);
                Format::in_order(v);
                const int64_t column = start + tile;
                float* to = out + row * out_stride + (column - first_column);
                for (int64_t j = 0; j < kVectors * Format::kHalves; ++j) {
                    const __mmask16 mask = lanes(end - column - j * kLanes);
                    __m512 value = v[j];
                    if (Format::kIsInteger && !is_blockwise) {
                        const __m512 scale = _mm512_mul_ps(
                            _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, w.scale + column + j * kLanes)),
                            _mm512_set1_ps(w.input_scale));
                        value = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_castps_si512(value)), scale);
                    }
                    _mm512_mask_storeu_ps(to + j * kLanes, mask, value);
                }
            }
        }
    }
}

}  // namespace

void multiply(const LinearWeights& w, const LinearInput& input, int64_t first_column, int64_t columns, float* out,
              int64_t out_stride, MatMulScratch& scratch) {
    const auto by = [&](auto format) {
        multiply<decltype(format)>(w, input, first_column, columns, out, out_stride, scratch);
    };
    switch (w.format) {
        case WeightFormat::kFloat32:
            return by(FloatFormat<false>());
        case WeightFormat::kFloat16:
            return by(FloatFormat<true>());
        case WeightFormat::kInt8:
        case WeightFormat::kInt8Block:
            return by(Int8Format());
        case WeightFormat::kInt4Block:
            return by(Int4Format());
    }
}

// sums[r, c] += a[r, :] . panel[:, c] for 64 columns c; see cpu_kernels.h.
void multiply_panel(const float* a, int64_t a_stride, int64_t rows, const float* panel, int64_t panel_stride,
                    int64_t depth, float* sums, int64_t sums_stride, bool is_first) {
    by_rows<6>(rows, [&](auto count, int64_t row) {
        add_floats<count>(panel, panel_stride, depth, a + row * a_stride, a_stride, sums + row * sums_stride,
                          sums_stride, is_first);
    });
}

}  // namespace palijet::avx512
