// Resizing as Pillow's `Image.resize(size, BICUBIC)` does it on 8-bit pixels, bit for bit.
//
// Two passes, each an antialiased bicubic (a = -0.5, Keys 1981) whose support grows with the reduction; coefficients in
// fixed point of 22 bits, rounded to 8 bits after each pass. Width first, but for tall frames, as Pillow 13 has it; its
// src/libImaging/Resample.c is the source of the algorithm. (Earlier releases of Pillow always begin with the width.)
#pragma once

#include <cstdint>
#include <vector>

#include "image_view.h"

namespace palijet {

constexpr int kFractionBits = 32 - 8 - 2;  // 8 bits of pixel and 2 of overshoot leave these

// What one output element is: the weighted sum of its pixels, rounded and clipped.
inline uint8_t rounded(int32_t sum) {
    const int32_t value = sum >> kFractionBits;
    return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}
constexpr int32_t kHalf = 1 << (kFractionBits - 1);  // a sum starts from here, so that it is rounded

// Which input elements an output element is made of, and with which weights.
class Taps {
  public:
    Taps() = default;
    Taps(int64_t in, int64_t out);

    bool are_of(int64_t in, int64_t out) const { return in == in_ && out == out_; }
    int64_t first(int64_t out) const { return bounds_[static_cast<size_t>(out)].first; }
    int64_t count(int64_t out) const { return bounds_[static_cast<size_t>(out)].count; }
    const int32_t* weights(int64_t out) const { return weights_.data() + out * width_; }

  private:
    struct Bounds {
        int64_t first, count;
    };
    std::vector<Bounds> bounds_;
    std::vector<int32_t> weights_;  // [out, width_]
    int64_t width_ = 0;             // weights kept per output element
    int64_t in_ = 0, out_ = 0;
};

// Resizes to one size; tables and buffers are kept from frame to frame of the same size.
class Resampler {
  public:
    Resampler(int64_t out_width, int64_t out_height);

    // Row-major planes [channels, out_height, out_width]: one for grey, else red, green, blue whatever the frame's
    // order.
    const std::vector<uint8_t>& resize(const ImageView& image);

  private:
    void prepare(const ImageView& image);
    void resize_width(const ImageView& image);  // image -> narrowed_
    void fill_tile(const ImageView& image, int64_t top);
    void resize_height();  // narrowed_ -> resized_
    void turn();           // resized_ of a transposed frame -> turned_

    int64_t wanted_width_, wanted_height_;

    // Of the passes: the frame's own, or its transposed's where the height comes first.
    int64_t in_width_ = 0, in_height_ = 0, out_width_ = 0, out_height_ = 0;
    int64_t planes_ = 0;
    Taps horizontal_, vertical_;
    std::vector<uint8_t> tile_;      // [in_width, channels, kLanes]: some rows of the frame, side by side
    std::vector<uint8_t> narrowed_;  // [in_height, planes, out_width]
    std::vector<uint8_t> resized_;   // [planes, out_height, out_width]
    std::vector<uint8_t> turned_;    // [planes, out_width, out_height]
};

}  // namespace palijet
