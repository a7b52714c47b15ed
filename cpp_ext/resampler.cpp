#include "resampler.h"

#include <algorithm>

#include "error.h"
#include "transpose.h"

// One binary serves every x86 processor: the loops are compiled for several and the loader takes the best. Sanitizers
// do not know such functions, and other architectures need none.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define PALIJET_VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PALIJET_VECTORISED
#endif

namespace palijet {

namespace {

constexpr int64_t kLanes = 16;  // rows resized side by side: a vector of 32-bit sums on AVX-512, four on NEON

// out[lane] = sum over taps of weights[tap] * pixels[tap, lane]; `step` bytes from tap to tap.
PALIJET_VECTORISED void blend_lanes(const uint8_t* pixels, int64_t step, const int32_t* weights, int64_t taps,
                                    uint8_t* out) {
    int32_t sums[kLanes];
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] = kHalf;
    for (int64_t tap = 0; tap < taps; ++tap) {
        const int32_t weight = weights[tap];
        const uint8_t* pixel = pixels + tap * step;
        for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += weight * pixel[lane];
    }
    for (int64_t lane = 0; lane < kLanes; ++lane) out[lane] = rounded(sums[lane]);
}

// out[i] = sum over taps of weights[tap] * rows[tap, i], a stretch at a time so that the sums stay in registers.
PALIJET_VECTORISED void blend_rows(const uint8_t* rows, int64_t row_bytes, const int32_t* weights, int64_t taps,
                                   int64_t count, uint8_t* out) {
    constexpr int64_t kStretch = 64;
    for (int64_t start = 0; start < count; start += kStretch) {
        const int64_t length = std::min(kStretch, count - start);
        int32_t sums[kStretch];
        for (int64_t i = 0; i < kStretch; ++i) sums[i] = kHalf;
        for (int64_t tap = 0; tap < taps; ++tap) {
            const int32_t weight = weights[tap];
            const uint8_t* pixel = rows + tap * row_bytes + start;
            if (length == kStretch) {
                for (int64_t i = 0; i < kStretch; ++i) sums[i] += weight * pixel[i];
            } else {
                for (int64_t i = 0; i < length; ++i) sums[i] += weight * pixel[i];
            }
        }
        for (int64_t i = 0; i < length; ++i) out[start + i] = rounded(sums[i]);
    }
}

}  // namespace

bool starts_with_height(const ImageView& image, int64_t width, int64_t height) {
    const int64_t lower = image.height - height;
    return lower > 0 && lower > 2 * (image.width - width);
}

Resampler::Resampler(int64_t out_width, int64_t out_height) : wanted_width_(out_width), wanted_height_(out_height) {
    if (out_width < 1 || out_height < 1) throw InputError("an image cannot be resized to nothing");
}

const std::vector<uint8_t>& Resampler::resize(const ImageView& image) {
    check_layout(image);
    const bool turned = starts_with_height(image, wanted_width_, wanted_height_);
    const ImageView view = turned ? transposed(image) : image;
    out_width_ = turned ? wanted_height_ : wanted_width_;
    out_height_ = turned ? wanted_width_ : wanted_height_;
    prepare(view);
    resize_width(view);
    resize_height();
    if (!turned) return resized_;
    turn();
    return turned_;
}

void Resampler::prepare(const ImageView& image) {
    if (!horizontal_.are_of(image.width, out_width_)) horizontal_ = Taps(image.width, out_width_);
    if (!vertical_.are_of(image.height, out_height_)) vertical_ = Taps(image.height, out_height_);
    in_width_ = image.width;
    in_height_ = image.height;
    planes_ = image.channels == 1 ? 1 : 3;
    tile_.resize(static_cast<size_t>(in_width_ * image.channels * kLanes));
    narrowed_.resize(static_cast<size_t>(in_height_ * planes_ * out_width_));
    resized_.resize(static_cast<size_t>(planes_ * out_height_ * out_width_));
}

// Some rows at a time: they are laid side by side, so that one weight meets one pixel of each of them in a vector.
void Resampler::resize_width(const ImageView& image) {
    const bool swap = planes_ == 3 && image.format == PixelFormat::kBgr;
    const int64_t step = image.channels * kLanes;  // bytes of the tile from column to column
    for (int64_t top = 0; top < in_height_; top += kLanes) {
        const int64_t lanes = std::min(kLanes, in_height_ - top);
        fill_tile(image, top);
        for (int64_t plane = 0; plane < planes_; ++plane) {
            const uint8_t* columns = tile_.data() + (swap ? 2 - plane : plane) * kLanes;
            uint8_t* out = narrowed_.data() + (top * planes_ + plane) * out_width_;
            for (int64_t x = 0; x < out_width_; ++x) {
                uint8_t blended[kLanes];
                if (in_width_ == out_width_) {
                    std::copy_n(columns + x * step, kLanes, blended);
                } else {
                    blend_lanes(columns + horizontal_.first(x) * step, step, horizontal_.weights(x),
                                horizontal_.count(x), blended);
                }
                for (int64_t lane = 0; lane < lanes; ++lane) out[lane * planes_ * out_width_ + x] = blended[lane];
            }
        }
    }
}

// Rows from `top` on, side by side; where the frame ends first, its last row again.
void Resampler::fill_tile(const ImageView& image, int64_t top) {
    const uint8_t* rows[kLanes];
    for (int64_t lane = 0; lane < kLanes; ++lane) {
        rows[lane] = image.data + std::min(top + lane, in_height_ - 1) * image.row_stride;
    }
    const int64_t row_bytes = in_width_ * image.channels;
    int64_t done = 0;
    if (image.channel_stride == 1 && image.column_stride == image.channels) {
        for (; done + kLanes <= row_bytes; done += kLanes) transpose16(rows, done, tile_.data() + done * kLanes);
    }
    for (int64_t i = done; i < row_bytes; ++i) {
        const int64_t offset = i / image.channels * image.column_stride + i % image.channels * image.channel_stride;
        for (int64_t lane = 0; lane < kLanes; ++lane)
            tile_[static_cast<size_t>(i * kLanes + lane)] = rows[lane][offset];
    }
}

void Resampler::resize_height() {
    const int64_t row_bytes = planes_ * out_width_;
    for (int64_t plane = 0; plane < planes_; ++plane) {
        const uint8_t* rows = narrowed_.data() + plane * out_width_;
        for (int64_t y = 0; y < out_height_; ++y) {
            uint8_t* out = resized_.data() + (plane * out_height_ + y) * out_width_;
            if (in_height_ == out_height_) {
                std::copy_n(rows + y * row_bytes, out_width_, out);
            } else {
                blend_rows(rows + vertical_.first(y) * row_bytes, row_bytes, vertical_.weights(y), vertical_.count(y),
                           out_width_, out);
            }
        }
    }
}

void Resampler::turn() {
    turned_.resize(resized_.size());
    for (int64_t plane = 0; plane < planes_; ++plane) {
        const uint8_t* from = resized_.data() + plane * out_height_ * out_width_;
        uint8_t* to = turned_.data() + plane * out_height_ * out_width_;
        for (int64_t y = 0; y < out_height_; ++y) {
            for (int64_t x = 0; x < out_width_; ++x) to[x * out_height_ + y] = from[y * out_width_ + x];
        }
    }
}

}  // namespace palijet
