#include "frame.h"

#include <pybind11/stl.h>

#include "dlpack.h"
#include "error.h"
#include "register.h"

namespace py = pybind11;

namespace palijet {

namespace {

PixelFormat pixel_format(const std::string& name) {
    if (name == "bgr") return PixelFormat::kBgr;
    if (name == "rgb") return PixelFormat::kRgb;
    if (name == "nv12-bt601") return PixelFormat::kNv12Bt601;
    if (name == "nv12-bt709") return PixelFormat::kNv12Bt709;
    throw InputError("pixel format " + name + " is not known; give bgr, rgb, nv12-bt601 or nv12-bt709");
}

std::vector<int64_t> row_major(const std::vector<int64_t>& shape) {
    std::vector<int64_t> strides(shape.size());
    int64_t stride = 1;
    for (size_t i = shape.size(); i-- > 0; stride *= shape[i]) strides[i] = stride;
    return strides;
}

InputError not_bytes(const std::string& type) { return InputError("a frame must be of uint8; this one is of " + type); }

Place place_of(const void* memory, const CudaDevice* device) {
    return !device || device->is_only_on_device(memory) ? Place::kDevice : Place::kHost;
}

}  // namespace

Frame::Frame(const py::object& image, const std::string& format, const CudaDevice* device) : owner_(image) {
    const PixelFormat known = pixel_format(format);
    if (py::isinstance<py::array>(image)) {
        describe(read_array(image), known);
    } else if (py::hasattr(image, "__dlpack__") && py::hasattr(image, "__dlpack_device__")) {
        describe(read_dlpack(image, device), known);
    } else if (py::hasattr(image, "__cuda_array_interface__")) {
        describe(read_cuda_array(image, device), known);
    } else {
        throw InputError("a frame must be an array of uint8; this is a " +
                         std::string(py::str(py::type::of(image).attr("__name__"))));
    }
}

Frame::Layout Frame::read_array(const py::array& array) const {
    if (array.dtype().kind() != 'u' || array.itemsize() != 1) throw not_bytes(py::str(py::object(array.dtype())));
    return {array.data(),
            {array.shape(), array.shape() + array.ndim()},
            {array.strides(), array.strides() + array.ndim()},
            Place::kHost};
}

// The producer orders its work before ours on the stream that it is told.
Frame::Layout Frame::read_dlpack(const py::object& image, const CudaDevice* device) {
    const py::tuple where = image.attr("__dlpack_device__")();
    const int type = py::cast<int>(py::int_(where[0]));
    if (type != dlpack::kCpu && type != dlpack::kCuda && type != dlpack::kCudaHost && type != dlpack::kCudaManaged) {
        throw InputError("a frame on a device of DLPack's type " + std::to_string(type) +
                         " cannot be read; give one in memory of the host or of CUDA");
    }
    const bool has_stream = device && (type == dlpack::kCuda || type == dlpack::kCudaManaged);
    owner_ = has_stream ? image.attr("__dlpack__")(py::arg("stream") = reinterpret_cast<intptr_t>(device->stream()))
                        : image.attr("__dlpack__")();
    const auto* managed = static_cast<const dlpack::ManagedTensor*>(PyCapsule_GetPointer(owner_.ptr(), "dltensor"));
    if (!managed) throw py::error_already_set();
    const dlpack::Tensor& tensor = managed->tensor;
    if (tensor.type_code != dlpack::kUnsigned || tensor.type_bits != 8 || tensor.type_lanes != 1) {
        throw not_bytes("another type (" + std::to_string(tensor.type_bits) + " bits)");
    }
    Layout layout{static_cast<const uint8_t*>(tensor.data) + tensor.byte_offset,
                  {tensor.shape, tensor.shape + tensor.dimensions},
                  {},
                  type == dlpack::kCuda ? Place::kDevice : Place::kHost};
    if (tensor.strides) layout.strides.assign(tensor.strides, tensor.strides + tensor.dimensions);
    return layout;
}

// Version 3 of the interface, of which numba's documentation is the source: the stream is waited for that it names.
Frame::Layout Frame::read_cuda_array(const py::object& image, const CudaDevice* device) const {
    const py::dict told = image.attr("__cuda_array_interface__");
    const auto type = py::cast<std::string>(told["typestr"]);
    if (type != "|u1" && type != "<u1") throw not_bytes(type);
    const auto* data = reinterpret_cast<const void*>(py::cast<uintptr_t>(py::tuple(told["data"])[0]));
    Layout layout{data, py::cast<std::vector<int64_t>>(told["shape"]), {}, place_of(data, device)};
    if (told.contains("strides") && !told["strides"].is_none()) {
        layout.strides = py::cast<std::vector<int64_t>>(told["strides"]);
    }
    if (device) {
        // Who names no stream may have used the default one, which is called 1; None is for nothing to wait for.
        const py::object stream = told.contains("stream") ? py::object(told["stream"]) : py::object(py::int_(1));
        if (!stream.is_none()) device->wait_for(reinterpret_cast<cuda::Stream>(py::cast<uintptr_t>(stream)));
    }
    return layout;
}

void Frame::describe(const Layout& layout, PixelFormat format) {
    const std::vector<int64_t>& shape = layout.shape;
    const std::vector<int64_t> strides = layout.strides.empty() ? row_major(shape) : layout.strides;
    if (shape.size() != 2 && shape.size() != 3) {
        throw InputError("a frame must be [height, width] or [height, width, channels]; this one has " +
                         std::to_string(shape.size()) + " dimensions");
    }
    if (is_nv12(format) && (shape.size() != 2 || shape[0] % 3 != 0)) {
        throw InputError("an NV12 frame must be [height * 3 / 2, width]: rows of luma, then half as many of chroma");
    }
    view_.data = static_cast<const uint8_t*>(layout.data);
    view_.height = is_nv12(format) ? shape[0] / 3 * 2 : shape[0];
    view_.width = shape[1];
    view_.channels = shape.size() == 3 ? shape[2] : 1;
    view_.row_stride = strides[0];
    view_.column_stride = strides[1];
    view_.channel_stride = shape.size() == 3 ? strides[2] : 0;
    view_.format = format;
    view_.place = layout.place;
}

void register_frame(py::module_& module) {
    py::class_<Frame>(module, "Frame", "A frame where it lies: on the host or on the GPU.")
        .def(py::init<const py::object&, const std::string&, const CudaDevice*>(), py::arg("image"),
             py::arg("format") = "bgr", py::arg("device") = py::none())
        .def_property_readonly(
            "size", [](const Frame& frame) { return py::make_tuple(frame.view().width, frame.view().height); },
            "Width and height of the picture in pixels.");
}

}  // namespace palijet
