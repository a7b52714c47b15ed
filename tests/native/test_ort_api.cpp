// The declared functions of onnxruntime against its own header: their slots and their signatures.
#include <doctest/doctest.h>

#include "ort_api.h"
#include "signature.h"

#if __has_include(<onnxruntime_c_api.h>)
#include <onnxruntime_c_api.h>

#pragma GCC diagnostic ignored "-Wignored-attributes"  // the header's functions have some; they are no matter here

namespace {

using palijet::tests::Alike;

#define CHECK_SLOT(slot, name, result, arguments)                           \
    static_assert(offsetof(OrtApi, name) == (slot) * sizeof(void*), #name); \
    static_assert(Alike<decltype(palijet::ort::Api::name), decltype(OrtApi::name)>::value, #name);
PALIJET_ORT_FUNCTIONS(CHECK_SLOT)

}  // namespace

TEST_CASE("the declared functions and numbers of onnxruntime are those of its header") {
    using namespace palijet::ort;
    CHECK(kFloat32 == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
    CHECK(kFloat16 == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16);
    CHECK(kInt32 == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32);
    CHECK(kInt64 == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
    CHECK(kUInt8 == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
    CHECK(kLogErrors == ORT_LOGGING_LEVEL_ERROR);
    CHECK(kDeviceAllocator == OrtDeviceAllocator);
    CHECK(kArenaAllocator == OrtArenaAllocator);
    CHECK(kDefaultMemory == OrtMemTypeDefault);
}
#else
TEST_CASE("the declared functions and numbers of onnxruntime are those of its header") {
    MESSAGE("skipped: onnxruntime's header is not here");
}
#endif
