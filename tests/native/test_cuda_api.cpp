// The declared functions of CUDA against its own headers: as many arguments, pointers where those are, and the same
// sizes.
#include <doctest/doctest.h>

#include "cuda_api.h"

#if __has_include(<cuda_runtime_api.h>) && __has_include(<cuda.h>)
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <type_traits>

namespace {

template <class Ours, class Theirs>
constexpr bool is_alike() {
    return std::is_pointer_v<Ours> == std::is_pointer_v<Theirs> && sizeof(Ours) == sizeof(Theirs);
}

template <class Ours, class Theirs>
struct Alike : std::false_type {};
template <class OurResult, class... Ours, class TheirResult, class... Theirs>
struct Alike<OurResult (*)(Ours...), TheirResult (*)(Theirs...)> {
    static constexpr bool compare() {
        if constexpr (sizeof...(Ours) == sizeof...(Theirs)) {
            return is_alike<OurResult, TheirResult>() && (is_alike<Ours, Theirs>() && ...);
        } else {
            return false;
        }
    }
    static constexpr bool value = compare();
};

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
    CHECK(kHostMapped == cudaHostAllocMapped);
    CHECK(kStreamNonBlocking == cudaStreamNonBlocking);
}
#else
TEST_CASE("the declared functions and numbers of CUDA are those of its headers") {
    MESSAGE("skipped: CUDA's headers are not here");
}
#endif
