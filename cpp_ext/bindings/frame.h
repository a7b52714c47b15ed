// A numpy array as a frame, without a copy.
#pragma once

#include <pybind11/numpy.h>

#include <string>

#include "error.h"
#include "image_view.h"

namespace palijet {

inline ImageView view_of(const pybind11::array& array, const std::string& channel_order) {
    if (array.dtype().kind() != 'u' || array.itemsize() != 1) {
        throw InputError("a frame must be of uint8; this one is of " +
                         std::string(pybind11::str(pybind11::object(array.dtype()))));
    }
    if (array.ndim() != 2 && array.ndim() != 3) {
        throw InputError("a frame must be [height, width] or [height, width, channels]; this one has " +
                         std::to_string(array.ndim()) + " dimensions");
    }
    if (channel_order != "bgr" && channel_order != "rgb") {
        throw InputError("channel order " + channel_order + " is not known; give bgr or rgb");
    }
    ImageView view;
    view.data = static_cast<const uint8_t*>(array.data());
    view.height = array.shape(0);
    view.width = array.shape(1);
    view.channels = array.ndim() == 3 ? array.shape(2) : 1;
    view.row_stride = array.strides(0);
    view.column_stride = array.strides(1);
    view.channel_stride = array.ndim() == 3 ? array.strides(2) : 0;
    view.format = channel_order == "bgr" ? PixelFormat::kBgr : PixelFormat::kRgb;
    return view;
}

}  // namespace palijet
