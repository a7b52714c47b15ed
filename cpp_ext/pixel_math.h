// What one element of preprocessing is: of NV12's conversion, of each pass of the resize, of the normalisation.
//
// The CPU path and the CUDA kernels compute by these functions, in the same integers, so that their pixels are equal.
#pragma once

#include <cstddef>
#include <cstdint>

#include "element.h"

namespace palijet {

constexpr int kFractionBits = 32 - 8 - 2;            // of a weight: 8 bits of pixel and 2 of overshoot leave these
constexpr int32_t kHalf = 1 << (kFractionBits - 1);  // a weighted sum starts from here, so that it is rounded

PALIJET_ELEMENT uint8_t clipped(int32_t value) {
    return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

// What becomes of the weighted sum of some pixels.
PALIJET_ELEMENT uint8_t rounded(int32_t sum) { return clipped(sum >> kFractionBits); }

// SigLIP's normalisation: a mean and a standard deviation of 0.5 on pixels of [0, 1].
PALIJET_ELEMENT float normalised(uint8_t pixel) { return (static_cast<float>(pixel) - 127.5f) / 127.5f; }

// Which input elements each output element of a pass is made of, and with which weights.
struct TapsView {
    const int32_t* first;    // [out]
    const int32_t* count;    // [out]
    const int32_t* weights;  // [out, width]
    int64_t width;           // weights kept per output element
};

// The weighted sum of an output element's pixels, which lie `step` bytes apart.
PALIJET_ELEMENT uint8_t blended(const TapsView& taps, int64_t out, const uint8_t* pixels, ptrdiff_t step) {
    const int32_t* weights = taps.weights + out * taps.width;
    const uint8_t* pixel = pixels + taps.first[out] * step;
    int32_t sum = kHalf;
    for (int32_t tap = 0; tap < taps.count[out]; ++tap, pixel += step) sum += weights[tap] * *pixel;
    return rounded(sum);
}

// From the frame to [height, planes, out_width]: its rows become as long as they are to be.
struct WidthPass {
    const uint8_t* pixels;  // the upper left one's red, or grey
    ptrdiff_t row_stride, column_stride;
    ptrdiff_t plane_stride;  // from red to green to blue
    int64_t height, planes, out_width;
    bool resizes;  // false: it is as wide as it is to be, and copied
    TapsView taps;
    uint8_t* narrowed;

    PALIJET_ELEMENT Extent extent() const { return {out_width, height, planes}; }
};

PALIJET_ELEMENT void compute(const WidthPass& pass, int64_t x, int64_t y, int64_t plane) {
    const uint8_t* row = pass.pixels + y * pass.row_stride + plane * pass.plane_stride;
    pass.narrowed[(y * pass.planes + plane) * pass.out_width + x] =
        pass.resizes ? blended(pass.taps, x, row, pass.column_stride) : row[x * pass.column_stride];
}

// From [height, planes, width] to normalised [3, out_height, width], or, of a transposed frame, [3, width, out_height].
struct HeightPass {
    const uint8_t* narrowed;
    int64_t planes, width, out_height;
    bool resizes;  // false: it is as high as it is to be, and copied
    bool is_transposed;
    TapsView taps;
    float* pixels;

    PALIJET_ELEMENT Extent extent() const { return {width, out_height, 3}; }
};

PALIJET_ELEMENT void compute(const HeightPass& pass, int64_t x, int64_t y, int64_t plane) {
    const int64_t step = pass.planes * pass.width;
    const uint8_t* column = pass.narrowed + (plane < pass.planes ? plane : 0) * pass.width + x;  // grey serves for all
    const uint8_t pixel = pass.resizes ? blended(pass.taps, y, column, step) : column[y * step];
    const int64_t place = pass.is_transposed ? x * pass.out_height + y : y * pass.width + x;
    pass.pixels[plane * pass.out_height * pass.width + place] = normalised(pixel);
}

// From NV12 to [height, width, 3], red, green, blue.
struct Nv12Pass {
    const uint8_t* luma;    // [height, width]
    const uint8_t* chroma;  // [(height + 1) / 2, (width + 1) / 2 * 2]: blue and red differences in turn
    ptrdiff_t row_stride;   // of both
    int64_t height, width;
    bool is_bt709;
    uint8_t* rgb;

    PALIJET_ELEMENT Extent extent() const { return {width, height, 1}; }
};

// ITU-R BT.601-7 and BT.709-6 in limited range, with 16 bits of fraction: luma counts 255/219; of the red difference
// red takes 255/224 * 2 (1 - Kr) and green that times Kr / Kg, and so for blue; (Kr, Kb) is (0.299, 0.114) and (0.2126,
// 0.0722).
PALIJET_ELEMENT void compute(const Nv12Pass& pass, int64_t x, int64_t y, int64_t /*z*/) {
    const uint8_t* pair = pass.chroma + y / 2 * pass.row_stride + x / 2 * 2;
    const int32_t luma = 76309 * (pass.luma[y * pass.row_stride + x] - 16) + (1 << 15);
    const int32_t blue = pair[0] - 128, red = pair[1] - 128;
    const bool hd = pass.is_bt709;
    uint8_t* rgb = pass.rgb + 3 * (y * pass.width + x);
    rgb[0] = clipped((luma + (hd ? 117489 : 104597) * red) >> 16);
    rgb[1] = clipped((luma - (hd ? 13975 : 25675) * blue - (hd ? 34925 : 53279) * red) >> 16);
    rgb[2] = clipped((luma + (hd ? 138438 : 132201) * blue) >> 16);
}

}  // namespace palijet
