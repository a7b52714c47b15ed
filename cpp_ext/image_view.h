// A frame where it lies: 8-bit pixels of any strides, as numpy or a camera hands them over.
#pragma once

#include <cstddef>
#include <cstdint>

namespace palijet {

enum class ChannelOrder { kBgr, kRgb };

// Grey is taken for all three colours; the fourth channel of four is alpha and is not looked at.
struct ImageView {
    const uint8_t* data = nullptr;  // the first channel of the upper left pixel
    int64_t height = 0;
    int64_t width = 0;
    int64_t channels = 0;      // 1, 3 or 4
    ptrdiff_t row_stride = 0;  // bytes; a stride may be negative
    ptrdiff_t column_stride = 0;
    ptrdiff_t channel_stride = 0;
    ChannelOrder order = ChannelOrder::kBgr;
};

}  // namespace palijet
