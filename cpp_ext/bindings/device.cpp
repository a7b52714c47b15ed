#include <pybind11/stl.h>

#include "cuda_device.h"
#include "register.h"

namespace py = pybind11;

namespace palijet {

namespace {

std::string dotted(int major, int minor) { return std::to_string(major) + "." + std::to_string(minor); }

}  // namespace

void register_device(py::module_& module) {
    py::class_<CudaDevice, std::shared_ptr<CudaDevice>>(module, "CudaDevice", "A GPU and its stream.")
        .def(py::init([](const std::string& runtime, const std::string& driver) {
                 return std::make_shared<CudaDevice>(CudaLibraries{runtime, driver});
             }),
             py::kw_only(), py::arg("runtime") = "", py::arg("driver") = "",
             "runtime, driver: paths of libcudart and libcuda; empty: the system's.")
        .def_property_readonly(
            "compute_capability",
            [](const CudaDevice& device) {
                return dotted(device.compute_capability() / 10, device.compute_capability() % 10);
            },
            "\"8.7\" of Orin.")
        .def_property_readonly(
            "runtime_version",
            [](const CudaDevice& device) {
                return dotted(device.runtime_version() / 1000, device.runtime_version() % 1000 / 10);
            },
            "Of CUDA: \"12.6\".")
        .def_property_readonly("kernel_note", &CudaDevice::kernel_note,
                               "Why frames are resized on the host; empty where the GPU does it.");
}

}  // namespace palijet
