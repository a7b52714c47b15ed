// Needs PALIJET_ONNXRUNTIME (libonnxruntime) and PALIJET_TEST_BUNDLE (a bundle) in the environment.
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "onnx_engine.h"

using namespace palijet;

TEST_CASE("a library that is not there, or is none, is named") {
    CHECK_THROWS_WITH_AS(OnnxEngine("any.onnx", "/does/not/exist.so", {}),
                         doctest::Contains("onnxruntime cannot be opened"), EngineError);
}

TEST_CASE("a real graph runs over bound memory") {
    const char* library = std::getenv("PALIJET_ONNXRUNTIME");
    const char* bundle = std::getenv("PALIJET_TEST_BUNDLE");
    if (!library || !bundle) {
        MESSAGE("skipped: PALIJET_ONNXRUNTIME or PALIJET_TEST_BUNDLE is not set");
        return;
    }
    const std::string graph = std::string(bundle) + "/decoder.onnx";
    CHECK_THROWS_AS(OnnxEngine("/does/not/exist.onnx", library, {}), EngineError);
    OnnxEngine engine(graph, library, {1, false});
    CHECK_THROWS_WITH_AS(engine.run(), doctest::Contains("was not given"), EngineError);

    std::vector<std::vector<uint8_t>> memory;
    const auto bind = [&](const TensorInfo& info, bool is_input, size_t index) {
        TensorView view{nullptr, info.type, info.shape};
        for (int64_t& dimension : view.shape) dimension = dimension < 0 ? 1 : dimension;
        memory.emplace_back(view.bytes());
        view.data = memory.back().data();
        is_input ? engine.bind_input(index, view) : engine.bind_output(index, view);
        return view;
    };
    std::vector<TensorView> outputs;
    const TensorView first = bind(engine.inputs()[0], true, 0);
    for (size_t i = 1; i < engine.inputs().size(); ++i) bind(engine.inputs()[i], true, i);
    for (size_t i = 0; i < engine.outputs().size(); ++i) outputs.push_back(bind(engine.outputs()[i], false, i));
    for (int run = 0; run < 3; ++run) engine.run();
    const size_t token = index_of(engine.outputs(), "token");
    CHECK(*static_cast<const int32_t*>(outputs[token].data) >= 0);

    TensorView same_place = first;
    same_place.type = ElementType::kInt64;
    CHECK_THROWS_WITH_AS(engine.bind_input(0, same_place), doctest::Contains("was given int64"), EngineError);
    TensorView wrong{memory[0].data(), ElementType::kInt64, {1, 1, 1}};
    CHECK_THROWS_WITH_AS(engine.bind_input(0, wrong), doctest::Contains("was given int64"), EngineError);
}
