#include "resampler.h"

#include <algorithm>
#include <cmath>

#include "error.h"

// One binary serves every x86 processor: the loops are compiled for several and the loader takes the best. Sanitizers do not know such
// functions, and other architectures need none.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define PALIJET_VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PALIJET_VECTORISED
#endif

namespace palijet {

namespace {

constexpr int64_t kLanes = 16;  // rows resized side by side: a vector of 32-bit sums on AVX-512, four on NEON
constexpr double kSupport = 2.0;

double bicubic(double x) {
    constexpr double a = -0.5;
    x = std::fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

int32_t fixed_point(double weight) {
    const double scaled = weight * (1 << kFractionBits);
    return static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

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

Taps::Taps(int64_t in, int64_t out) {
    const double scale = static_cast<double>(in) / static_cast<double>(out);
    const double filter_scale = std::max(scale, 1.0);
    const double support = kSupport * filter_scale;
    width_ = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
    bounds_.resize(static_cast<size_t>(out));
    weights_.assign(static_cast<size_t>(out * width_), 0);
    std::vector<double> exact(static_cast<size_t>(width_));
    for (int64_t i = 0; i < out; ++i) {
        const double center = (static_cast<double>(i) + 0.5) * scale;
        const int64_t first = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
        const int64_t last = std::min(static_cast<int64_t>(center + support + 0.5), in);
        const int64_t count = last - first;
        double total = 0;
        for (int64_t tap = 0; tap < count; ++tap) {
            const double distance = static_cast<double>(tap + first) - center + 0.5;
            exact[static_cast<size_t>(tap)] = bicubic(distance * (1.0 / filter_scale));
            total += exact[static_cast<size_t>(tap)];
        }
        for (int64_t tap = 0; tap < count; ++tap) {
            const double weight = total != 0.0 ? exact[static_cast<size_t>(tap)] / total : exact[static_cast<size_t>(tap)];
            weights_[static_cast<size_t>(i * width_ + tap)] = fixed_point(weight);
        }
        bounds_[static_cast<size_t>(i)] = {first, count};
    }
}

Resampler::Resampler(int64_t out_width, int64_t out_height) : out_width_(out_width), out_height_(out_height) {
    if (out_width < 1 || out_height < 1) throw InputError("an image cannot be resized to nothing");
}

const std::vector<uint8_t>& Resampler::resize(const ImageView& image) {
    prepare(image);
    resize_columns(image);
    resize_rows();
    return resized_;
}

void Resampler::prepare(const ImageView& image) {
    if (image.height < 1 || image.width < 1) throw InputError("the image is empty; give one of at least 1 x 1 pixels");
    if (image.channels != 1 && image.channels != 3 && image.channels != 4) {
        throw InputError("an image of " + std::to_string(image.channels) +
                         " channels cannot be read; give grey, three colours, or three and alpha");
    }
    if (image.width != in_width_) horizontal_ = Taps(image.width, out_width_);
    if (image.height != in_height_) vertical_ = Taps(image.height, out_height_);
    in_width_ = image.width;
    in_height_ = image.height;
    planes_ = image.channels == 1 ? 1 : 3;
    tile_.resize(static_cast<size_t>(in_width_ * planes_ * kLanes));
    columns_.resize(static_cast<size_t>(in_height_ * planes_ * out_width_));
    resized_.resize(static_cast<size_t>(planes_ * out_height_ * out_width_));
}

void Resampler::resize_columns(const ImageView& image) {
    const bool swap = planes_ == 3 && image.order == ChannelOrder::kBgr;
    for (int64_t top = 0; top < in_height_; top += kLanes) {
        const int64_t lanes = std::min(kLanes, in_height_ - top);
        for (int64_t lane = 0; lane < lanes; ++lane) {
            const uint8_t* row = image.data + (top + lane) * image.row_stride;
            for (int64_t plane = 0; plane < planes_; ++plane) {
                const uint8_t* pixel = row + (swap ? 2 - plane : plane) * image.channel_stride;
                uint8_t* into = tile_.data() + plane * kLanes + lane;
                for (int64_t x = 0; x < in_width_; ++x) {
                    into[x * planes_ * kLanes] = pixel[x * image.column_stride];
                }
            }
        }
        for (int64_t plane = 0; plane < planes_; ++plane) {
            uint8_t* out = columns_.data() + (top * planes_ + plane) * out_width_;
            for (int64_t x = 0; x < out_width_; ++x) {
                const uint8_t* first = tile_.data() + (horizontal_.first(x) * planes_ + plane) * kLanes;
                uint8_t blended[kLanes];
                if (in_width_ == out_width_) {
                    std::copy_n(tile_.data() + (x * planes_ + plane) * kLanes, kLanes, blended);
                } else {
                    blend_lanes(first, planes_ * kLanes, horizontal_.weights(x), horizontal_.count(x), blended);
                }
                for (int64_t lane = 0; lane < lanes; ++lane) out[lane * planes_ * out_width_ + x] = blended[lane];
            }
        }
    }
}

void Resampler::resize_rows() {
    const int64_t row_bytes = planes_ * out_width_;
    for (int64_t plane = 0; plane < planes_; ++plane) {
        for (int64_t y = 0; y < out_height_; ++y) {
            uint8_t* out = resized_.data() + (plane * out_height_ + y) * out_width_;
            if (in_height_ == out_height_) {
                std::copy_n(columns_.data() + y * row_bytes + plane * out_width_, out_width_, out);
            } else {
                const uint8_t* first = columns_.data() + vertical_.first(y) * row_bytes + plane * out_width_;
                blend_rows(first, row_bytes, vertical_.weights(y), vertical_.count(y), out_width_, out);
            }
        }
    }
}

}  // namespace palijet
