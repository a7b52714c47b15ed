// A frame where it lies: 8-bit pixels of any strides, as numpy, a camera or the GPU hands them over.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor.h"

namespace palijet {

// How a pixel's colours are kept. NV12, a camera's own: a plane of luma, then one of half the height in which every 2 x
// 2 pixels share a blue and a red difference; in limited range, by the matrix of BT.601 or of BT.709.
enum class PixelFormat { kBgr, kRgb, kNv12Bt601, kNv12Bt709 };

inline bool is_nv12(PixelFormat format) {
    return format == PixelFormat::kNv12Bt601 || format == PixelFormat::kNv12Bt709;
}

// Grey is taken for all three colours; the fourth channel of four is alpha and is not looked at. NV12 has one channel,
// and its `height` is the picture's: half as many rows of chroma follow the rows of luma.
struct ImageView {
    const uint8_t* data = nullptr;  // the first channel of the upper left pixel
    int64_t height = 0;
    int64_t width = 0;
    int64_t channels = 0;      // 1, 3 or 4
    ptrdiff_t row_stride = 0;  // bytes; a stride may be negative
    ptrdiff_t column_stride = 0;
    ptrdiff_t channel_stride = 0;
    PixelFormat format = PixelFormat::kBgr;
    Place place = Place::kHost;
};

// Throws InputError for a frame that is empty or of 2 or over 4 channels, and for NV12 of an odd width or height.
void check_layout(const ImageView& image);

// The same memory, its columns taken for rows.
ImageView transposed(ImageView image);

}  // namespace palijet
