#include "cuda_kernels.h"

#include <algorithm>
#include <cstdint>

#include "error.h"

#ifdef PALIJET_KERNELS
// nvcc's output, as it is.
asm(".section .rodata\n"
    ".balign 64\n"
    ".globl palijet_kernels\n"
    ".hidden palijet_kernels\n"
    "palijet_kernels: .incbin \"" PALIJET_KERNELS
    "\"\n"
    ".previous\n");
extern "C" const unsigned char palijet_kernels[] __attribute__((visibility("hidden")));
#endif

namespace palijet {

namespace {

constexpr unsigned kBlockColumns = 64, kBlockRows = 4;

const void* image() {
#ifdef PALIJET_KERNELS
    return palijet_kernels;
#else
    throw EngineError("PaliJet was built where nvcc was not found, and so has no CUDA kernels");
#endif
}

bool is_of_words(const RowCopy& copy) {
    const uintptr_t bits = reinterpret_cast<uintptr_t>(copy.to) | reinterpret_cast<uintptr_t>(copy.from) |
                           copy.to_stride | copy.from_stride | copy.bytes;
    return bits % sizeof(Word16) == 0;
}

unsigned blocks(int64_t elements, unsigned per_block) {
    return static_cast<unsigned>((elements + per_block - 1) / per_block);
}

}  // namespace

CudaKernels::CudaKernels(const std::string& driver, cuda::Stream stream)
    : library_("the CUDA driver", {driver.empty() ? "libcuda.so.1" : driver}, "install the GPU's driver"),
      api_(library_),
      stream_(stream) {
    api_.check(api_.cuCtxGetCurrent(&context_), "there is no CUDA context");
    api_.check(api_.cuModuleLoadData(&module_, image()), "the CUDA kernels cannot be loaded");
    const auto find = [this](const char* name) {
        cuda::Function found = nullptr;
        api_.check(api_.cuModuleGetFunction(&found, module_, name), std::string("the CUDA kernel ") + name);
        return found;
    };
    nv12_pass_ = find("palijet_nv12_pass");
    width_pass_ = find("palijet_width_pass");
    height_pass_ = find("palijet_height_pass");
    copy_words_ = find("palijet_copy_words");
    copy_bytes_ = find("palijet_copy_bytes");
}

CudaKernels::~CudaKernels() { api_.cuModuleUnload(module_); }

void CudaKernels::launch(const RowCopy& copy) {
    if (is_of_words(copy)) {
        const RowCopyPass<Word16> pass{copy};
        launch(copy_words_, pass.extent(), &pass);
    } else {
        const RowCopyPass<uint8_t> pass{copy};
        launch(copy_bytes_, pass.extent(), &pass);
    }
}

bool CudaKernels::is_foreign(const void* memory) const {
    cuda::Context owner = nullptr;  // stays so for memory that belongs to none
    api_.cuPointerGetAttribute(&owner, cuda::kPointerContext, reinterpret_cast<uintptr_t>(memory));
    return owner && owner != context_;
}

// The driver, unlike the runtime library, gives a thread no context by itself.
void CudaKernels::enter_context() {
    cuda::Context current = nullptr;
    api_.check(api_.cuCtxGetCurrent(&current), "there is no CUDA context");
    if (current == context_) return;
    if (current) {
        throw EngineError(
            "another CUDA context than the model's is current on this thread; with pycuda, import "
            "pycuda.autoprimaryctx in place of pycuda.autoinit");
    }
    api_.check(api_.cuCtxSetCurrent(context_), "the CUDA context cannot be entered");
}

void CudaKernels::launch(cuda::Function function, const Extent& extent, const void* pass) {
    enter_context();
    void* arguments[] = {const_cast<void*>(pass)};
    api_.check(api_.cuLaunchKernel(function, blocks(extent.columns, kBlockColumns), blocks(extent.rows, kBlockRows),
                                   static_cast<unsigned>(extent.planes), kBlockColumns, kBlockRows, 1, 0, stream_,
                                   arguments, nullptr),
               "a CUDA kernel cannot be started");
}

}  // namespace palijet
