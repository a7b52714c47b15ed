#include "cuda_device.h"

#include <algorithm>
#include <cstring>

#include "cpu_preprocessor.h"
#include "cuda_preprocessor.h"
#include "error.h"

namespace palijet {

namespace {

std::vector<std::string> runtime_paths(const std::string& given) {
    if (!given.empty()) return {given};
    return {"libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so"};
}

std::string mebibytes(size_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

}  // namespace

CudaDevice::CudaDevice(const CudaLibraries& libraries)
    : library_("CUDA's runtime library", runtime_paths(libraries.runtime),
               "install CUDA (on a Jetson: sudo apt install nvidia-jetpack), or use backend='cpu'"),
      api_(library_) {
    const std::string no_device = "there is no CUDA device (see nvidia-smi, or use backend='cpu')";
    int count = 0;
    api_.check(api_.cudaGetDeviceCount(&count), no_device);
    if (count == 0) throw EngineError(no_device);
    api_.check(api_.cudaRuntimeGetVersion(&runtime_version_), no_device);
    compute_capability_ = 10 * attribute(cuda::kComputeMajor) + attribute(cuda::kComputeMinor);
    is_integrated_ = attribute(cuda::kIntegrated) != 0;
    api_.check(api_.cudaStreamCreateWithFlags(&stream_, cuda::kStreamNonBlocking), "a CUDA stream cannot be made");
    try {
        kernels_ = std::make_unique<CudaKernels>(libraries.driver, stream_);
    } catch (const EngineError& error) {
        kernel_note_ = error.what();
    }
}

CudaDevice::~CudaDevice() {
    kernels_.reset();
    api_.cudaStreamDestroy(stream_);
}

Memory CudaDevice::allocate(size_t bytes) {
    void* memory = nullptr;
    bytes = std::max<size_t>(bytes, 1);  // CUDA clears no memory of no bytes
    check_allocated(api_.cudaMalloc(&memory, bytes), bytes, "the GPU");
    Memory owned(static_cast<uint8_t*>(memory), [this](uint8_t* address) { api_.cudaFree(address); });
    api_.check(api_.cudaMemsetAsync(memory, 0, bytes, stream_), "memory of the GPU cannot be cleared");
    return owned;
}

Memory CudaDevice::allocate_host(size_t bytes) {
    void* memory = nullptr;
    check_allocated(api_.cudaHostAlloc(&memory, bytes, cuda::kHostMapped), bytes, "the pinned memory");
    std::memset(memory, 0, bytes);
    return {static_cast<uint8_t*>(memory), [this](uint8_t* address) { api_.cudaFreeHost(address); }};
}

void CudaDevice::check_allocated(int error, size_t bytes, const char* where) const {
    if (!error) return;
    size_t free = 0, total = 0;
    api_.cudaMemGetInfo(&free, &total);
    api_.check(error, std::string(where) + " has no room for " + mebibytes(bytes) + " more (" + mebibytes(free) +
                          " of " + mebibytes(total) +
                          " are free); load the model with a smaller max_batch or max_rows, or end other programs");
}

void CudaDevice::copy(void* to, const void* from, size_t bytes) {
    api_.check(api_.cudaMemcpyAsync(to, from, bytes, cuda::kCopyDefault, stream_), "a copy to or from the GPU failed");
}

void CudaDevice::copy_rows(const RowCopy& copy) {
    if (kernels_) return kernels_->launch(copy);
    api_.check(api_.cudaMemcpy2DAsync(copy.to, copy.to_stride, copy.from, copy.from_stride, copy.bytes, copy.pieces,
                                      cuda::kCopyOnDevice, stream_),
               "a copy on the GPU failed");
}

void CudaDevice::clear_rows(uint8_t* rows, size_t stride, size_t bytes, size_t pieces) {
    api_.check(api_.cudaMemset2DAsync(rows, stride, 0, bytes, pieces, stream_), "memory of the GPU cannot be cleared");
}

void CudaDevice::synchronize() {
    const int status = api_.cudaStreamSynchronize(stream_);
    // What was enqueued may outlive a failure, and reads memory that its owner will then write anew; it is waited for.
    if (status != 0) api_.cudaStreamSynchronize(stream_);
    api_.check(status, "the GPU failed");
}

std::unique_ptr<Preprocessor> CudaDevice::make_preprocessor(int64_t size) {
    if (kernels_) return std::make_unique<CudaPreprocessor>(size, *this, *kernels_);
    return std::make_unique<CpuPreprocessor>(size);
}

const uint8_t* CudaDevice::readable(const void* memory) const {
    const cuda::PointerAttributes found = attributes(memory);
    if (found.type == cuda::kMemoryDevice && kernels_ && kernels_->is_foreign(memory)) {
        throw InputError(
            "the frame lies in memory of another CUDA context than the model's; with pycuda, import "
            "pycuda.autoprimaryctx in place of pycuda.autoinit, before the model is loaded");
    }
    if (found.type == cuda::kMemoryHost && !is_integrated_) return nullptr;
    return static_cast<const uint8_t*>(found.device_pointer);
}

bool CudaDevice::is_only_on_device(const void* memory) const { return attributes(memory).type == cuda::kMemoryDevice; }

void CudaDevice::wait_for(cuda::Stream stream) const {
    api_.check(api_.cudaStreamSynchronize(stream), "the stream that a frame was made on failed");
}

cuda::PointerAttributes CudaDevice::attributes(const void* memory) const {
    cuda::PointerAttributes attributes{};
    api_.check(api_.cudaPointerGetAttributes(&attributes, memory), "a frame's memory is not known to CUDA");
    return attributes;
}

int CudaDevice::attribute(int which) const {
    int value = 0;
    api_.check(api_.cudaDeviceGetAttribute(&value, which, 0), "the CUDA device cannot be asked what it is");
    return value;
}

}  // namespace palijet
