// Between NV12 frames and what the resize reads.
#pragma once

#include "image_view.h"
#include "pixel_math.h"

namespace palijet {

// `data`: where the frame can be read by whoever computes the pass. `rgb`: [height, width, 3].
inline Nv12Pass nv12_pass(const ImageView& frame, const uint8_t* data, uint8_t* rgb) {
    return {data,
            data + frame.height * frame.row_stride,
            frame.row_stride,
            frame.height,
            frame.width,
            frame.format == PixelFormat::kNv12Bt709,
            rgb};
}

// What the pass has written.
inline ImageView rgb_view(const Nv12Pass& pass, Place place) {
    return {pass.rgb, pass.height, pass.width, 3, 3 * pass.width, 3, 1, PixelFormat::kRgb, place};
}

}  // namespace palijet
