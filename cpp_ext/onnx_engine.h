// An ONNX graph run by onnxruntime, on the CPU or by CUDA. Its shared library is opened at run time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda_device.h"
#include "engine.h"

namespace palijet {

namespace ort {
struct IoBinding;
struct MemoryInfo;
struct Session;
struct SessionOptions;
struct Value;
}  // namespace ort

class OrtLibrary;

struct OnnxOptions {
    int threads = 0;    // 0: as many as there are physical cores
    bool spin = false;  // whether idle threads burn their core to wake up sooner
};

class OnnxEngine final : public Engine {
  public:
    // `library` is the path of libonnxruntime; `cuda` the GPU to run on, or none for the CPU. Throws EngineError where
    // the library or the graph cannot be opened, or the library has no CUDA.
    OnnxEngine(const std::string& graph, const std::string& library, const OnnxOptions& options,
               std::shared_ptr<CudaDevice> cuda = nullptr);
    ~OnnxEngine() override;

    const std::vector<TensorInfo>& inputs() const override { return inputs_.tensors; }
    const std::vector<TensorInfo>& outputs() const override { return outputs_.tensors; }
    void bind_input(size_t index, const TensorView& tensor) override;
    void bind_output(size_t index, const TensorView& tensor) override;
    void run() override;
    Device& device() override;

    const std::string& version() const;  // of onnxruntime

  private:
    template <class T>
    using Owned = std::unique_ptr<T, void (*)(T*)>;
    struct Bound {
        TensorView tensor;
        Owned<ort::Value> value{nullptr, nullptr};
    };
    struct Side {  // the inputs, or the outputs
        std::vector<TensorInfo> tensors;
        std::vector<Bound> bound;
    };

    void use_cuda(ort::SessionOptions* options);
    void describe(Side& side, bool is_input);
    template <class Bind>
    void bind(Side& side, size_t index, const TensorView& tensor, Bind bind_value);

    std::shared_ptr<CudaDevice> cuda_;  // or none
    std::shared_ptr<OrtLibrary> library_;
    std::string graph_;
    Owned<ort::MemoryInfo> cuda_memory_{nullptr, nullptr};
    Owned<ort::Session> session_{nullptr, nullptr};
    Owned<ort::IoBinding> binding_{nullptr, nullptr};
    Side inputs_, outputs_;
};

}  // namespace palijet
