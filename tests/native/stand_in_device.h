// CUDA's stand-in, opened as the core opens the real libraries, and its controls.
#pragma once

#include <dlfcn.h>

#include <memory>

#include "cuda_device.h"
#include "stand_in_cuda/stand_in_cuda.h"

namespace palijet::tests {

inline const stand_in::Controls& stand_in_cuda() {
    static const stand_in::Controls& controls = []() -> const stand_in::Controls& {
        void* library = dlopen(PALIJET_STAND_IN_CUDA, RTLD_NOW | RTLD_LOCAL);
        return *reinterpret_cast<decltype(&stand_in_controls)>(dlsym(library, "stand_in_controls"))();
    }();
    return controls;
}

inline std::shared_ptr<CudaDevice> stand_in_device() {
    return std::make_shared<CudaDevice>(CudaLibraries{PALIJET_STAND_IN_CUDA, PALIJET_STAND_IN_CUDA});
}

}  // namespace palijet::tests
