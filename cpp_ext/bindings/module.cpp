#include <exception>

#include "error.h"
#include "register.h"

namespace py = pybind11;

namespace {

// The core's exceptions become those of palijet.runtime.errors, which users catch.
void translate(std::exception_ptr thrown) {
    const auto raise = [](const char* name, const std::exception& error) {
        const py::object type = py::module_::import("palijet.runtime.errors").attr(name);
        PyErr_SetString(type.ptr(), error.what());
    };
    try {
        std::rethrow_exception(thrown);
    } catch (const palijet::InputError& error) {
        raise("InputError", error);
    } catch (const palijet::EngineError& error) {
        raise("EngineError", error);
    } catch (const palijet::BundleError& error) {
        raise("BundleError", error);
    }
}

}  // namespace

PYBIND11_MODULE(_native, module) {
    module.doc() = "The native core of PaliJet: engines, KV cache, decode loop, preprocessing.";
    py::register_local_exception_translator(&translate);
    palijet::register_device(module);
    palijet::register_frame(module);
    palijet::register_engine(module);
    palijet::register_cpu_engine(module);
    palijet::register_preprocessor(module);
    palijet::register_pipeline(module);
}
