// Work that was enqueued once and is started again as a whole: one call in place of one per kernel.
#pragma once

#include <functional>

#include "cuda_device.h"

namespace palijet {

class CudaGraph {
  public:
    // Records what `enqueue` puts on the device's stream; nothing of it runs yet. Throws what `enqueue` throws, and
    // EngineError where its work cannot be recorded; either way the stream is as before.
    CudaGraph(CudaDevice& device, const std::function<void()>& enqueue);
    ~CudaGraph();
    CudaGraph(const CudaGraph&) = delete;
    CudaGraph& operator=(const CudaGraph&) = delete;

    void launch();  // enqueued

  private:
    CudaDevice& device_;
    cuda::GraphExec executable_ = nullptr;
};

}  // namespace palijet
