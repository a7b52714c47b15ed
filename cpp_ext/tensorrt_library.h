// One opened libnvinfer, shared by every engine of the process: TensorRT keeps but one logger.
#pragma once

#include <NvInfer.h>

#include <memory>
#include <mutex>
#include <string>

#include "shared_library.h"

namespace palijet {

class TensorRtLibrary {
  public:
    // `path` may be empty: the library of the compiled major version, where the system finds it. EngineError where
    // there is none, or one of another major version.
    static std::shared_ptr<TensorRtLibrary> open(const std::string& path);

    explicit TensorRtLibrary(const std::string& path);
    TensorRtLibrary(const TensorRtLibrary&) = delete;
    TensorRtLibrary& operator=(const TensorRtLibrary&) = delete;

    nvinfer1::IRuntime& runtime() { return *runtime_; }
    const std::string& version() const { return version_; }

    // What TensorRT has said of errors since `forget_errors`.
    static std::string errors();
    static void forget_errors();

  private:
    SharedLibrary library_;
    std::string version_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
};

}  // namespace palijet
