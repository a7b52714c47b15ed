// One function per group of bound classes, each in the file of its name.
#pragma once

#include <pybind11/pybind11.h>

namespace palijet {

void register_device(pybind11::module_& module);
void register_frame(pybind11::module_& module);
void register_cpu_engine(pybind11::module_& module);
void register_engine(pybind11::module_& module);
void register_preprocessor(pybind11::module_& module);
void register_pipeline(pybind11::module_& module);

}  // namespace palijet
