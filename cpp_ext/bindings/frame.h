// A frame that Python holds, where it lies: a numpy array, or memory that CUDA or DLPack tells of.
#pragma once

#include <pybind11/numpy.h>

#include <memory>
#include <string>

#include "cuda_device.h"
#include "image_view.h"

namespace palijet {

class Frame {
  public:
    // `image`: uint8 [height, width] or [height, width, channels]; NV12 is [height * 3 / 2, width]. An array, or an
    // object with __dlpack__ or __cuda_array_interface__, is not copied; `device` is the GPU that is to read it, or
    // none. InputError for anything else.
    Frame(const pybind11::object& image, const std::string& format, const CudaDevice* device);

    const ImageView& view() const { return view_; }

  private:
    struct Layout {  // strides in bytes
        const void* data;
        std::vector<int64_t> shape, strides;
        Place place;
    };

    Layout read_array(const pybind11::array& array) const;
    Layout read_dlpack(const pybind11::object& image, const CudaDevice* device);
    Layout read_cuda_array(const pybind11::object& image, const CudaDevice* device) const;
    void describe(const Layout& layout, PixelFormat format);

    pybind11::object owner_;  // keeps the memory
    ImageView view_;
};

}  // namespace palijet
