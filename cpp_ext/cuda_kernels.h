// The kernels of cuda_kernels.cu, which the library carries as binaries and the CUDA driver loads.
#pragma once

#include <string>

#include "cuda_api.h"
#include "pixel_math.h"
#include "row_copy.h"

namespace palijet {

class CudaKernels {
  public:
    // `driver` is the path of libcuda, or empty for the system's. Throws EngineError where it cannot be opened, where
    // the library was built without nvcc, or where it has no binary for this GPU.
    CudaKernels(const std::string& driver, cuda::Stream stream);
    ~CudaKernels();
    CudaKernels(const CudaKernels&) = delete;
    CudaKernels& operator=(const CudaKernels&) = delete;

    // Enqueued on the stream.
    void launch(const Nv12Pass& pass) { launch(nv12_pass_, pass.extent(), &pass); }
    void launch(const WidthPass& pass) { launch(width_pass_, pass.extent(), &pass); }
    void launch(const HeightPass& pass) { launch(height_pass_, pass.extent(), &pass); }
    void launch(const RowCopy& copy);

    // Whether the GPU's memory at an address belongs to another CUDA context than the kernels', which cannot read it.
    bool is_foreign(const void* memory) const;

  private:
    void enter_context();
    void launch(cuda::Function function, const Extent& extent, const void* pass);

    SharedLibrary library_;
    cuda::DriverApi api_;
    cuda::Stream stream_;
    cuda::Context context_ = nullptr;
    cuda::Module module_ = nullptr;
    cuda::Function nv12_pass_, width_pass_, height_pass_, copy_words_, copy_bytes_;
};

}  // namespace palijet
