#include "tensorrt_library.h"

#include <map>

#include "error.h"

namespace palijet {

namespace {

// Keeps errors for the exceptions that they belong to, and drops all other talk.
class Logger final : public nvinfer1::ILogger {
  public:
    static Logger& instance() {
        static Logger& logger = *new Logger;  // never destroyed: TensorRT may have a last word when the process ends
        return logger;
    }

    void log(Severity severity, const char* message) noexcept override {
        if (severity > Severity::kERROR) return;
        std::lock_guard lock(mutex_);
        errors_ += (errors_.empty() ? "" : "; ") + std::string(message);
    }

    std::string errors() {
        std::lock_guard lock(mutex_);
        return errors_;
    }

    void forget() {
        std::lock_guard lock(mutex_);
        errors_.clear();
    }

  private:
    std::mutex mutex_;
    std::string errors_;
};

std::string version_text(int version) {  // 8601 is 8.6.1, and from 10 on 100300 is 10.3.0
    const int unit = version >= 100000 ? 10000 : 1000;
    return std::to_string(version / unit) + "." + std::to_string(version % unit / 100) + "." +
           std::to_string(version % 100);
}

}  // namespace

std::shared_ptr<TensorRtLibrary> TensorRtLibrary::open(const std::string& path) {
    static std::mutex mutex;
    static std::map<std::string, std::weak_ptr<TensorRtLibrary>> opened;
    std::lock_guard lock(mutex);
    auto library = opened[path].lock();
    if (!library) opened[path] = library = std::make_shared<TensorRtLibrary>(path);
    return library;
}

TensorRtLibrary::TensorRtLibrary(const std::string& path)
    : library_("TensorRT", {path.empty() ? "libnvinfer.so." + std::to_string(NV_TENSORRT_MAJOR) : path},
               "install TensorRT " + std::to_string(NV_TENSORRT_MAJOR) +
                   " (on a Jetson: sudo apt install nvidia-jetpack), or use backend='cpu'"),
      version_(version_text(library_.function<int32_t()>("getInferLibVersion")())) {
    const std::string compiled = std::to_string(NV_TENSORRT_MAJOR);
    if (version_.substr(0, version_.find('.')) != compiled) {
        throw EngineError(library_.path() + " is TensorRT " + version_ + ", and PaliJet was built for TensorRT " +
                          compiled + "; build it anew on this machine: pip install --no-binary palijet palijet");
    }
    const auto create = library_.function<void*(void*, int32_t)>("createInferRuntime_INTERNAL");
    nvinfer1::ILogger& logger = Logger::instance();
    runtime_.reset(static_cast<nvinfer1::IRuntime*>(create(&logger, NV_TENSORRT_VERSION)));
    if (!runtime_) throw EngineError("TensorRT " + version_ + " cannot start: " + errors());
}

std::string TensorRtLibrary::errors() {
    const std::string errors = Logger::instance().errors();
    return errors.empty() ? "TensorRT gave no reason" : errors;
}

void TensorRtLibrary::forget_errors() { Logger::instance().forget(); }

}  // namespace palijet
