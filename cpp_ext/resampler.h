// Resizing as Pillow's `Image.resize(size, BICUBIC)` does it on 8-bit pixels, bit for bit.
//
// Two passes, each an antialiased bicubic (a = -0.5, Keys 1981) whose support grows with the reduction; coefficients in
// fixed point of 22 bits, rounded to 8 bits after each pass. Width first, but for tall frames, as Pillow 13 has it; its
// src/libImaging/Resample.c is the source of the algorithm. (Earlier releases of Pillow always begin with the width.)
#pragma once

#include <cstdint>
#include <vector>

#include "image_view.h"
#include "taps.h"

namespace palijet {

// Pillow 13 does where the height shrinks by more than twice what the width does. Then it is the transposed frame that
// goes through the passes.
bool starts_with_height(const ImageView& image, int64_t width, int64_t height);

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
