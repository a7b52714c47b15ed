#include "cuda_api.h"

#include "error.h"

namespace palijet::cuda {

void RuntimeApi::check(int error, const std::string& what) const {
    if (!error) return;
    cudaGetLastError();  // else the next call that succeeds would report it again
    throw EngineError(what + ": " + cudaGetErrorName(error) + ", " + cudaGetErrorString(error));
}

void DriverApi::check(int error, const std::string& what) const {
    if (!error) return;
    const char* text = nullptr;
    cuGetErrorString(error, &text);
    throw EngineError(what + ": " + (text ? text : "CUDA error " + std::to_string(error)));
}

}  // namespace palijet::cuda
