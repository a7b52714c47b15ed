// The declared functions of CUDA against its own headers: as many arguments, pointers where those are, and the same
// sizes.
#include <doctest/doctest.h>

#include "cuda_api.h"
#include "signature.h"

#if __has_include(<cuda_runtime_api.h>) && __has_include(<cuda.h>)
#include <cuda.h>
#include <cuda_runtime_api.h>

namespace {

using palijet::tests::Alike;
using RuntimeApi = palijet::cuda::RuntimeApi;
using DriverApi = palijet::cuda::DriverApi;

#define CHECK_RUNTIME(name, result, arguments) \
    static_assert(Alike<decltype(RuntimeApi::name), decltype(static_cast<decltype(&::name)>(nullptr))>::value, #name);
#define CHECK_DRIVER(name, result, arguments) \
    static_assert(Alike<decltype(DriverApi::name), decltype(static_cast<decltype(&::name)>(nullptr))>::value, #name);
PALIJET_CUDA_RUNTIME_FUNCTIONS(CHECK_RUNTIME)
PALIJET_CUDA_DRIVER_FUNCTIONS(CHECK_DRIVER)

}  // namespace

TEST_CASE("the declared functions and numbers of CUDA are those of its headers") {
    using namespace palijet::cuda;
    CHECK(sizeof(PointerAttributes) >= sizeof(cudaPointerAttributes));
    CHECK(offsetof(PointerAttributes, device_pointer) == offsetof(cudaPointerAttributes, devicePointer));
    CHECK(offsetof(PointerAttributes, host_pointer) == offsetof(cudaPointerAttributes, hostPointer));
    CHECK(kCopyDefault == cudaMemcpyDefault);
    CHECK(kCopyOnDevice == cudaMemcpyDeviceToDevice);
    CHECK(kMemoryHost == cudaMemoryTypeHost);
    CHECK(kMemoryDevice == cudaMemoryTypeDevice);
    CHECK(kMemoryManaged == cudaMemoryTypeManaged);
    CHECK(kIntegrated == cudaDevAttrIntegrated);
    CHECK(kComputeMajor == cudaDevAttrComputeCapabilityMajor);
    CHECK(kComputeMinor == cudaDevAttrComputeCapabilityMinor);
    CHECK(kCaptureThreadLocal == cudaStreamCaptureModeThreadLocal);
    CHECK(kPointerContext == CU_POINTER_ATTRIBUTE_CONTEXT);
    CHECK(kHostMapped == cudaHostAllocMapped);
    CHECK(kStreamNonBlocking == cudaStreamNonBlocking);
}
#else
TEST_CASE("the declared functions and numbers of CUDA are those of its headers") {
    MESSAGE("skipped: CUDA's headers are not here");
}
#endif
