#include <pybind11/numpy.h>

#include "cpu_preprocessor.h"
#include "error.h"
#include "frame.h"
#include "register.h"

namespace py = pybind11;

namespace palijet {

namespace {

py::array_t<float> preprocess(const Frame& frame, int64_t size) {
    CpuPreprocessor preprocessor(size);
    py::array_t<float> pixels({int64_t{3}, size, size});
    float* out = pixels.mutable_data();
    const py::gil_scoped_release released;
    preprocessor.run(frame.view(), out);
    return pixels;
}

// Planes become the layout that the image came in.
py::array_t<uint8_t> resize(const py::array& image, int64_t width, int64_t height) {
    const Frame frame(image, "rgb", nullptr);
    const ImageView& view = frame.view();
    Resampler resampler(width, height);
    const std::vector<uint8_t>& planes = resampler.resize(view);
    if (image.ndim() == 2) {
        py::array_t<uint8_t> out({height, width});
        std::copy(planes.begin(), planes.end(), out.mutable_data());
        return out;
    }
    const int64_t channels = view.channels == 1 ? 1 : 3;
    py::array_t<uint8_t> out({height, width, channels});
    uint8_t* pixel = out.mutable_data();
    for (int64_t i = 0; i < height * width; ++i) {
        for (int64_t c = 0; c < channels; ++c) *pixel++ = planes[static_cast<size_t>(c * height * width + i)];
    }
    return out;
}

}  // namespace

void register_preprocessor(py::module_& module) {
    py::class_<CpuPreprocessor>(module, "Preprocessor",
                                "Squashes frames to a square and normalises them; keeps its tables.")
        .def(py::init<int64_t>(), py::arg("size"))
        .def(
            "run",
            [](CpuPreprocessor& preprocessor, const Frame& frame, py::array_t<float, py::array::c_style> out) {
                if (out.size() != 3 * preprocessor.size() * preprocessor.size()) {
                    throw InputError("out must be [3, size, size] float32");
                }
                preprocessor.run(frame.view(), out.mutable_data());
            },
            py::arg("frame"), py::arg("out").noconvert(), "Write [3, size, size] float32 into `out`.");
    module.def("preprocess", &preprocess, py::arg("frame"), py::arg("size"),
               "A frame of the host -> [3, size, size] float32 in [-1, 1].");
    module.def("resize", &resize, py::arg("image"), py::arg("width"), py::arg("height"),
               "Resize uint8 pixels as Pillow's BICUBIC does, bit for bit; a fourth channel is dropped.");
}

}  // namespace palijet
