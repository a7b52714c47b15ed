// A GPU, by CUDA's runtime library: its memory, and the one stream on which all of its work is enqueued.
#pragma once

#include <memory>
#include <string>

#include "cuda_api.h"
#include "cuda_kernels.h"
#include "device.h"

namespace palijet {

struct CudaLibraries {    // paths; empty: where the system finds them
    std::string runtime;  // libcudart
    std::string driver;   // libcuda
};

class CudaDevice final : public Device {
  public:
    // Device 0, as CUDA_VISIBLE_DEVICES counts. Throws EngineError where there is no CUDA or no GPU.
    explicit CudaDevice(const CudaLibraries& libraries = {});
    ~CudaDevice() override;
    CudaDevice(const CudaDevice&) = delete;
    CudaDevice& operator=(const CudaDevice&) = delete;

    Place place() const override { return Place::kDevice; }
    Memory allocate(size_t bytes) override;
    Memory allocate_host(size_t bytes) override;  // pinned
    void copy(void* to, const void* from, size_t bytes) override;
    void copy_rows(const RowCopy& copy) override;
    void clear_rows(uint8_t* rows, size_t stride, size_t bytes, size_t pieces) override;
    void synchronize() override;
    std::unique_ptr<Preprocessor> make_preprocessor(int64_t size) override;

    // Where kernels read `memory` from without a copy: itself if it is the GPU's or managed, the mapped address of
    // pinned memory if host and GPU share theirs, as on a Jetson; nullptr for any other memory of the host.
    const uint8_t* readable(const void* memory) const;
    // Whether the host cannot read it.
    bool is_only_on_device(const void* memory) const;

    // Waits for another stream of the process: that of whoever wrote a frame.
    void wait_for(cuda::Stream stream) const;

    const cuda::RuntimeApi& api() const { return api_; }
    cuda::Stream stream() const { return stream_; }
    int compute_capability() const { return compute_capability_; }  // 87 of Orin
    int runtime_version() const { return runtime_version_; }        // 12060 of CUDA 12.6
    // Why there are no kernels, so that frames are resized on the host; empty where there are.
    const std::string& kernel_note() const { return kernel_note_; }

  private:
    int attribute(int which) const;
    cuda::PointerAttributes attributes(const void* memory) const;
    void check_allocated(int error, size_t bytes, const char* where) const;

    SharedLibrary library_;
    cuda::RuntimeApi api_;
    int runtime_version_ = 0, compute_capability_ = 0;
    bool is_integrated_ = false;  // host and GPU share their memory
    cuda::Stream stream_ = nullptr;
    std::unique_ptr<CudaKernels> kernels_;
    std::string kernel_note_;
};

}  // namespace palijet
