#include "cuda_graph.h"

namespace palijet {

namespace {

// Ends its recording on every way out: a stream that still records takes no other work.
class Capture {
  public:
    explicit Capture(CudaDevice& device) : device_(device) {
        // This thread's only: what other threads of the process do with CUDA meanwhile is their own affair.
        device.api().check(device.api().cudaStreamBeginCapture(device.stream(), cuda::kCaptureThreadLocal),
                           "a CUDA graph cannot be begun");
    }
    ~Capture() {
        if (!has_ended_) end();
        if (graph_) device_.api().cudaGraphDestroy(graph_);
    }
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;

    cuda::Graph graph() {
        device_.api().check(end(), "a CUDA graph cannot be recorded");
        return graph_;
    }

  private:
    int end() {
        has_ended_ = true;
        return device_.api().cudaStreamEndCapture(device_.stream(), &graph_);
    }

    CudaDevice& device_;
    cuda::Graph graph_ = nullptr;
    bool has_ended_ = false;
};

}  // namespace

CudaGraph::CudaGraph(CudaDevice& device, const std::function<void()>& enqueue) : device_(device) {
    Capture capture(device);
    enqueue();
    device.api().check(device.api().cudaGraphInstantiateWithFlags(&executable_, capture.graph(), 0),
                       "a CUDA graph cannot be made");
}

CudaGraph::~CudaGraph() { device_.api().cudaGraphExecDestroy(executable_); }

void CudaGraph::launch() {
    device_.api().check(device_.api().cudaGraphLaunch(executable_, device_.stream()), "a CUDA graph cannot be started");
}

}  // namespace palijet
