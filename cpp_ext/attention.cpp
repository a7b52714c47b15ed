#include "attention.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace palijet {

namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();
constexpr int64_t kPanel = 64;  // columns of the kernels' panels

int64_t whole_panels(int64_t width) { return (width + kPanel - 1) / kPanel * kPanel; }

// Where rows [first, first + count) of past and new ones together lie, piece by piece: visit(rows, count, into).
template <class Visit>
void by_piece(const KeyValueRows& rows, const void* past, const void* fresh, int64_t first, int64_t count,
              Visit visit) {
    const auto row_bytes = rows.stride * static_cast<int64_t>(size_of(rows.type));
    const int64_t cached = std::clamp<int64_t>(rows.past_length - first, 0, count);
    if (cached) visit(static_cast<const uint8_t*>(past) + first * row_bytes, cached, int64_t{0});
    if (cached < count) {
        const int64_t start = first + cached - rows.past_length;
        visit(static_cast<const uint8_t*>(fresh) + start * row_bytes, count - cached, cached);
    }
}

}  // namespace

void attend(const CpuKernels& kernels, const AttentionShape& shape, const KeyValueRows& rows,
            const float* const* queries, const Visible* visible, int64_t count, float* const* out,
            AttentionScratch& scratch) {
    const int64_t dim = shape.head_dim, width = whole_panels(dim);
    const bool is_half = rows.type == ElementType::kFloat16;
    float* query = scratch.queries.reserve(kQueryBlock * dim);        // [count, dim]
    float* keys = scratch.keys.reserve(2 * dim * kKeyBlock);          // [dim, 64], and room to join two pieces
    float* values = scratch.values.reserve(kKeyBlock * width);        // [64, width]
    float* scores = scratch.scores.reserve(kQueryBlock * kKeyBlock);  // [count, 64]
    float* sums = scratch.sums.reserve(kQueryBlock * width);          // [count, width]
    float* highest = scratch.state.reserve(2 * kQueryBlock);          // [count]
    float* total = highest + kQueryBlock;                             // [count]

    int64_t begin = std::numeric_limits<int64_t>::max(), end = 0;
    for (int64_t i = 0; i < count; ++i) {
        for (int64_t d = 0; d < dim; ++d) query[i * dim + d] = queries[i][d] * shape.scale;
        highest[i] = kMasked;
        total[i] = 0;
        begin = std::min(begin, visible[i].first);
        end = std::max(end, visible[i].end);
    }
    std::fill_n(sums, count * width, 0.0f);

    for (int64_t first = begin / kKeyBlock * kKeyBlock; first < end; first += kKeyBlock) {
        const int64_t here = std::min(kKeyBlock, end - first);
        by_piece(rows, rows.past_key, rows.new_key, first, here, [&](const uint8_t* piece, int64_t n, int64_t into) {
            float* to = into ? keys + dim * kKeyBlock : keys;
            kernels.transpose(piece, is_half, rows.stride, n, dim, to);
            if (!into) return;
            for (int64_t d = 0; d < dim; ++d) std::copy_n(to + d * kKeyBlock, n, keys + d * kKeyBlock + into);
        });
        const float* value_panel = values;
        int64_t value_stride = width;
        by_piece(rows, rows.past_value, rows.new_value, first, here,
                 [&](const uint8_t* piece, int64_t n, int64_t into) {
                     if (n == here && !is_half && dim == width) {  // as the kernels want them
                         value_panel = reinterpret_cast<const float*>(piece);
                         value_stride = rows.stride;
                         return;
                     }
                     for (int64_t row = 0; row < n; ++row) {
                         float* to = values + (into + row) * width;
                         if (is_half) {
                             kernels.from_half(reinterpret_cast<const uint16_t*>(piece) + row * rows.stride, dim, to);
                         } else {
                             std::copy_n(reinterpret_cast<const float*>(piece) + row * rows.stride, dim, to);
                         }
                         std::fill(to + dim, to + width, 0.0f);
                     }
                 });
        kernels.multiply_panel(query, dim, count, keys, kKeyBlock, dim, scores, kKeyBlock, true);
        for (int64_t i = 0; i < count; ++i) {
            float* row = scores + i * kKeyBlock;
            if (shape.cap != 0) kernels.soft_cap(row, kKeyBlock, shape.cap);
            const int64_t from = std::clamp<int64_t>(visible[i].first - first, 0, kKeyBlock);
            const int64_t to = std::clamp<int64_t>(visible[i].end - first, from, kKeyBlock);
            std::fill(row, row + from, kMasked);
            std::fill(row + to, row + kKeyBlock, kMasked);
            if (from == to) {  // a query that sees nothing here
                std::fill_n(row, kKeyBlock, 0.0f);
                continue;
            }
            const float before = highest[i];
            highest[i] = std::max(before, kernels.highest(row, kKeyBlock));
            if (before != kMasked && before != highest[i]) {
                float shrink = before;
                kernels.exponentiate(&shrink, 1, highest[i]);
                kernels.scale(sums + i * width, width, shrink);
                total[i] *= shrink;
            }
            total[i] += kernels.exponentiate(row, kKeyBlock, highest[i]);
        }
        for (int64_t column = 0; column < width; column += kPanel) {
            kernels.multiply_panel(scores, kKeyBlock, count, value_panel + column, value_stride, here, sums + column,
                                   width, false);
        }
    }
    for (int64_t i = 0; i < count; ++i) {
        kernels.scale(sums + i * width, dim, 1.0f / total[i]);
        std::copy_n(sums + i * width, dim, out[i]);
    }
}

}  // namespace palijet
