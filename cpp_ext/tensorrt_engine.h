// A TensorRT engine, whose libraries are opened at run time.
//
// This class is there where NvInfer.h was found when PaliJet was built; its source compiles against TensorRT 8.6 to 11,
// and opens the library of the major version that it was compiled against, whose functions lie where the headers say.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda_device.h"
#include "engine.h"

namespace palijet {

struct TensorRtOptions {
    std::string library;      // path of libnvinfer; empty: where the system finds it
    bool cuda_graphs = true;  // replay steps whose shapes and addresses have come before
};

// Of the library at a path, or, where that is empty, of the system's: "10.3.0". EngineError where there is none.
std::string tensorrt_version(const std::string& library);

class TensorRtEngine final : public Engine {
  public:
    // `plan` is the path of a serialized engine. Throws EngineError with TensorRT's own words where it, or the library,
    // cannot be opened.
    TensorRtEngine(const std::string& plan, std::shared_ptr<CudaDevice> device, const TensorRtOptions& options = {});
    ~TensorRtEngine() override;

    const std::vector<TensorInfo>& inputs() const override;
    const std::vector<TensorInfo>& outputs() const override;
    void bind_input(size_t index, const TensorView& tensor) override;
    void bind_output(size_t index, const TensorView& tensor) override;
    void run() override;
    Device& device() override;

    // Of the library that was opened.
    const std::string& version() const;
    // Why runs are no longer recorded as CUDA graphs; empty while they are.
    const std::string& graph_note() const;
    // How many runs were replays of a CUDA graph.
    int64_t replays() const;

    // Of the headers that PaliJet was built with.
    static int compiled_major();

  private:
    class State;
    std::unique_ptr<State> state_;
};

}  // namespace palijet
