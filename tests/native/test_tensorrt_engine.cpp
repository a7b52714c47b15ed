// TensorRtEngine over stand-ins of libnvinfer and libcudart that compute through onnxruntime: what is tested is the
// core's side, not NVIDIA's. Needs PALIJET_ONNXRUNTIME (libonnxruntime) and PALIJET_TEST_BUNDLE (the demo checkpoint's
// bundle).
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>

#include "onnx_engine.h"
#include "pipeline.h"
#include "stand_in_device.h"
#include "tensorrt_engine.h"

using namespace palijet;
using namespace palijet::tests;

namespace {

constexpr int64_t kMaxRows = 200, kMaxBatch = 3;
constexpr int64_t kImageSize = 112;  // of the demo checkpoint, as what follows
const EmbeddingLayout kEmbeddings{1664, 192, StoredType::kBFloat16, 13.856406460551018f};

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

// A file for the time of a test.
class ScratchFile {
  public:
    explicit ScratchFile(const std::string& text)
        : path_("/tmp/palijet-plan-" + std::to_string(getpid()) + "-" + std::to_string(++count())) {
        std::ofstream(path_) << text;
    }
    ~ScratchFile() { std::remove(path_.c_str()); }
    ScratchFile(const ScratchFile&) = delete;
    ScratchFile& operator=(const ScratchFile&) = delete;
    const std::string& path() const { return path_; }

  private:
    static int& count() {
        static int value = 0;
        return value;
    }
    std::string path_;
};

struct Demo {
    std::string onnxruntime = environment("PALIJET_ONNXRUNTIME"), bundle = environment("PALIJET_TEST_BUNDLE");
    bool is_here = !onnxruntime.empty() && !bundle.empty();
    ScratchFile vision{plan("vision.onnx", "profile B 1 4")};
    ScratchFile decoder{plan("decoder.onnx",
                             "profile B 1 3 T 1 200 P 1 1 N 1 3\n"    // prefill
                             "profile B 1 3 T 1 16 P 1 200 N 1 3")};  // decode, and the verification of drafts
    std::vector<uint8_t> pixels;
    std::vector<ImageView> images;
    std::vector<Request> requests{
        {0, {2, 300, 17, 261}}, {1, {2, 261}}, {0, {2, 5, 900, 40, 8, 261}}, {1, {2, 77, 261}}};

    Demo() {
        if (!is_here) {
            MESSAGE("skipped: PALIJET_ONNXRUNTIME or PALIJET_TEST_BUNDLE is not set");
            return;
        }
        std::mt19937 random(5);
        pixels.resize(2 * 90 * 120 * 3);
        for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(random() % 256);
        for (int64_t i = 0; i < 2; ++i) images.push_back({pixels.data() + i * 90 * 120 * 3, 90, 120, 3, 360, 3, 1});
    }

    std::string plan(const std::string& graph, const std::string& profiles) const {
        return "stand-in plan\nonnxruntime " + onnxruntime + "\ngraph " + bundle + "/" + graph + "\n" + profiles + "\n";
    }

    std::shared_ptr<TensorRtEngine> engine(const std::string& plan, std::shared_ptr<CudaDevice> device,
                                           bool cuda_graphs = true) const {
        return std::make_shared<TensorRtEngine>(plan, std::move(device),
                                                TensorRtOptions{PALIJET_STAND_IN_TENSORRT, cuda_graphs});
    }

    std::vector<Generation> ask(Pipeline& pipeline, int64_t max_tokens = 40) const {
        GenerateOptions options;
        options.max_tokens = max_tokens;
        Timings timings;
        return pipeline.generate(images, requests, options, timings);
    }

    std::shared_ptr<EmbeddingTable> embeddings() const {
        return std::make_shared<EmbeddingTable>(bundle + "/embeddings.bin", kEmbeddings);
    }

    // The answers of the same graphs on the host.
    const std::vector<Generation>& expected() const {
        static const std::vector<Generation> answers = [this] {
            const auto open = [this](const char* graph) {
                return std::make_shared<OnnxEngine>(bundle + "/" + graph, onnxruntime, OnnxOptions{1, false});
            };
            Pipeline pipeline(open("vision.onnx"), open("decoder.onnx"), embeddings(),
                              {kImageSize, kMaxRows, kMaxBatch});
            return ask(pipeline);
        }();
        return answers;
    }
};

// The demo on TensorRT's stand-in.
struct OnTensorRt : Demo {
    std::shared_ptr<CudaDevice> device;
    std::shared_ptr<TensorRtEngine> vision_engine, decoder_engine;
    std::unique_ptr<Pipeline> pipeline;

    void load(bool cuda_graphs = true) {
        device = stand_in_device();
        vision_engine = engine(vision.path(), device, cuda_graphs);
        decoder_engine = engine(decoder.path(), device, cuda_graphs);
        pipeline = std::make_unique<Pipeline>(vision_engine, decoder_engine, embeddings(),
                                              PipelineOptions{kImageSize, kMaxRows, kMaxBatch});
    }
    void unload() {
        pipeline.reset();
        vision_engine.reset();
        decoder_engine.reset();
        device.reset();
    }
};

void compare(const std::vector<Generation>& found, const std::vector<Generation>& expected) {
    REQUIRE(found.size() == expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i].tokens == expected[i].tokens);
        CHECK(found[i].logprobs == expected[i].logprobs);
        CHECK(found[i].stop_reason == expected[i].stop_reason);
    }
}

}  // namespace

TEST_CASE_FIXTURE(OnTensorRt, "the whole decode loop gives the tokens of OnnxEngine, recorded as CUDA graphs or not") {
    if (!is_here) return;
    for (const bool cuda_graphs : {false, true}) {
        load(cuda_graphs);
        for (int round = 0; round < 3; ++round) compare(ask(*pipeline), expected());
        CHECK((decoder_engine->replays() > 0) == cuda_graphs);
        CHECK(decoder_engine->graph_note().empty());
        unload();
        CHECK(stand_in_cuda().living() == 0);
    }
}

TEST_CASE_FIXTURE(OnTensorRt, "most steps are replays, and set no shape and no address") {
    if (!is_here) return;
    load();
    ask(*pipeline);
    ask(*pipeline);
    const auto calls = [](const char* function) { return stand_in_cuda().calls(function); };
    const int64_t shapes = calls("setInputShape"), addresses = calls("setTensorAddress");
    const int64_t enqueued = calls("enqueueV3"), replayed = decoder_engine->replays();
    compare(ask(*pipeline), expected());
    CHECK(decoder_engine->replays() > replayed + 40);
    if (TensorRtEngine::compiled_major() < 10)
        return;  // one context per profile: batches of unlike size take turns on it
    CHECK(calls("setInputShape") == shapes);
    CHECK(calls("setTensorAddress") == addresses);
    CHECK(calls("enqueueV3") == enqueued);
}

TEST_CASE_FIXTURE(OnTensorRt,
                  "a failure in mid-answer is told in TensorRT's or CUDA's words, and the next answer is whole") {
    if (!is_here) return;
    struct Failure {
        const char* function;
        int64_t after;
        const char* sentence;
    };
    for (const Failure& failure : {
             Failure{"enqueueV3", 2, "failed to run: Error Code 3: [myelin] the enqueue was told to fail"},
             Failure{"createExecutionContext", 1,
                     "cannot be made ready to run: Error Code 3: [defaultAllocator.cpp] CUDA out of memory"},
             Failure{"setInputShape", 9, "told to refuse the shape of"},
             Failure{"setTensorAddress", 9, "told to refuse the address of"},
             Failure{"cudaMalloc", 1, "the GPU has no room for"},
             Failure{"cudaMemcpyAsync", 12, "a copy to or from the GPU failed: cudaErrorUnknown"},
             Failure{"cudaStreamSynchronize", 6, "the GPU failed: cudaErrorLaunchFailure"},
         }) {
        CAPTURE(failure.function);
        load();
        stand_in_cuda().fail(failure.function, failure.after);
        CHECK_THROWS_WITH_AS(ask(*pipeline), doctest::Contains(failure.sentence), EngineError);
        compare(ask(*pipeline), expected());
        unload();
        CHECK(stand_in_cuda().living() == 0);
    }
}

TEST_CASE_FIXTURE(OnTensorRt, "whatever fails, and whenever, the next answer is whole and nothing is lost") {
    if (!is_here) return;
    int64_t failed = 0;
    for (const char* function : {"cudaMalloc", "cudaHostAlloc", "cudaMemcpyAsync", "cudaMemset2DAsync",
                                 "cuLaunchKernel", "cudaStreamSynchronize", "enqueueV3", "createExecutionContext"}) {
        CAPTURE(function);
        for (int64_t after = 0; after < 80; after = after * 3 / 2 + 1) {
            CAPTURE(after);
            stand_in_cuda().fail(function, after);
            try {
                load();
                ask(*pipeline, 5);
                stand_in_cuda().fail(function, -1);
            } catch (const EngineError&) {
                ++failed;
            }
            if (!pipeline) load();
            const auto found = ask(*pipeline, 5);
            for (size_t i = 0; i < found.size(); ++i) {
                const std::vector<int32_t>& whole = expected()[i].tokens;
                REQUIRE(found[i].tokens == std::vector<int32_t>(whole.begin(), whole.begin() + 5));
            }
            unload();
            REQUIRE(stand_in_cuda().living() == 0);
        }
    }
    CHECK(failed > 25);
}

TEST_CASE_FIXTURE(OnTensorRt, "where recording fails the engine goes on without, and says why") {
    if (!is_here) return;
    struct Failure {
        const char* function;
        int64_t after;
        const char* note;
    };
    // Which enqueue is the first that is recorded: the first whose failure ends no answer.
    int64_t recorded = 0;
    for (bool ends = true; ends && recorded < 30; recorded += ends) {
        load();
        stand_in_cuda().fail("enqueueV3", recorded);
        try {
            ask(*pipeline);
            ends = false;
        } catch (const EngineError&) {
        }
        unload();
    }
    REQUIRE(recorded < 30);
    for (const Failure& failure : {
             Failure{"cudaStreamBeginCapture", 0, "a CUDA graph cannot be begun: cudaErrorUnknown"},
             Failure{"enqueueV3", recorded, "failed to run: Error Code 3: [myelin] the enqueue was told to fail"},
             Failure{"cudaStreamEndCapture", 0, "a CUDA graph cannot be recorded: cudaErrorStreamCaptureUnsupported"},
             Failure{"cudaGraphInstantiateWithFlags", 0, "a CUDA graph cannot be made: cudaErrorUnknown"},
         }) {
        CAPTURE(failure.function);
        load();
        stand_in_cuda().fail(failure.function, failure.after);
        for (int round = 0; round < 2; ++round) compare(ask(*pipeline), expected());
        CHECK(decoder_engine->graph_note().find(failure.note) != std::string::npos);
        CHECK(decoder_engine->replays() == 0);
        unload();
        CHECK(stand_in_cuda().living() == 0);
    }
    load();
    stand_in_cuda().fail("cudaGraphLaunch", 0);
    CHECK_THROWS_WITH_AS((ask(*pipeline), ask(*pipeline)), doctest::Contains("a CUDA graph cannot be started"),
                         EngineError);
    compare(ask(*pipeline), expected());
}

TEST_CASE_FIXTURE(Demo, "an engine that cannot be loaded says what and why, and leaves nothing behind") {
    if (!is_here) return;
    {
        const auto device = stand_in_device();
        CHECK_THROWS_WITH_AS(engine("/no/decoder.plan", device), doctest::Contains("/no/decoder.plan cannot be opened"),
                             EngineError);
        const ScratchFile empty(""), foreign("ftrt of another version");
        CHECK_THROWS_WITH_AS(engine(empty.path(), device), doctest::Contains("is empty"), EngineError);
        CHECK_THROWS_WITH_AS(engine(foreign.path(), device), doctest::Contains("magicTag does not match"), EngineError);
        CHECK_THROWS_WITH_AS(TensorRtEngine(decoder.path(), device, {"/no/libnvinfer.so"}),
                             doctest::Contains("TensorRT cannot be opened: /no/libnvinfer.so"), EngineError);
        CHECK_THROWS_WITH_AS(TensorRtEngine(decoder.path(), device, {onnxruntime}),
                             doctest::Contains("is not TensorRT"), EngineError);
        stand_in_cuda().fail("cudaMalloc", 0);
        CHECK_THROWS_WITH_AS(engine(decoder.path(), device), doctest::Contains("out of memory"), EngineError);
    }
    CHECK(stand_in_cuda().living() == 0);
}

TEST_CASE_FIXTURE(Demo, "what does not fit is refused by name before anything runs") {
    if (!is_here) return;
    const auto device = stand_in_device();
    const auto decoder_engine = engine(decoder.path(), device);
    const auto vision_engine = engine(vision.path(), device);
    CHECK(decoder_engine->inputs()[0].name == "inputs_embeds");
    CHECK(decoder_engine->inputs()[0].shape == Shape{-1, -1, 192});
    const Memory memory = device->allocate(1 << 20);
    CHECK_THROWS_WITH_AS(decoder_engine->bind_input(1, {memory.get(), ElementType::kInt64, {1}, Place::kDevice}),
                         doctest::Contains("past_length is int32 [?] and was given int64 [1]"), EngineError);
    CHECK_THROWS_WITH_AS(decoder_engine->run(), doctest::Contains("inputs_embeds was not given"), EngineError);

    std::vector<float> pixels(3 * kImageSize * kImageSize * 5), rows(5 * 49 * 192);
    const auto encode = [&](int64_t given, int64_t taken) {
        vision_engine->bind_input(0, {pixels.data(), ElementType::kFloat32, {given, 3, kImageSize, kImageSize}});
        vision_engine->bind_output(0, {rows.data(), ElementType::kFloat32, {taken, 49, 192}});
        vision_engine->run();
    };
    CHECK_THROWS_WITH_AS(encode(5, 5),
                         doctest::Contains("it takes pixel_values from [1, 3, 112, 112] to [4, 3, 112, 112] "
                                           "where it was given [5, 3, 112, 112]"),
                         EngineError);
    CHECK_THROWS_WITH_AS(encode(2, 1), doctest::Contains("image_rows is float32 [2, 49, 192] and was given"),
                         EngineError);
    encode(2, 2);
    vision_engine->bind_input(
        0, {memory.get() + 4, ElementType::kFloat32, {1, 3, kImageSize, kImageSize}, Place::kDevice});
    vision_engine->bind_output(0, {rows.data(), ElementType::kFloat32, {1, 49, 192}});
    CHECK_THROWS_WITH_AS(vision_engine->run(), doctest::Contains("pixel_values cannot be bound: Error Code 3"),
                         EngineError);
}

TEST_CASE_FIXTURE(Demo, "any number of shapes is served, though only some are kept ready") {
    if (!is_here) return;
    const auto device = stand_in_device();
    const ScratchFile wide(plan("vision.onnx", "profile B 1 40"));
    const auto vision_engine = engine(wide.path(), device);
    OnnxEngine onnx(bundle + "/vision.onnx", onnxruntime, {1, false});
    std::vector<float> pixels(3 * kImageSize * kImageSize * 20);
    std::mt19937 random(3);
    for (float& pixel : pixels) pixel = static_cast<float>(random() % 256) / 127.5f - 1;
    std::vector<float> rows(20 * 49 * 192), expected(rows.size());
    const auto encode = [&](Engine& engine, int64_t images, float* out) {
        engine.bind_input(0, {pixels.data(), ElementType::kFloat32, {images, 3, kImageSize, kImageSize}});
        engine.bind_output(0, {out, ElementType::kFloat32, {images, 49, 192}});
        engine.run();
    };
    encode(onnx, 20, expected.data());
    for (const int64_t images :
         {20, 1, 1, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 1, 1, 20, 20}) {
        std::fill(rows.begin(), rows.end(), 0.0f);
        encode(*vision_engine, images, rows.data());
        const auto count = static_cast<size_t>(images * 49 * 192);
        for (size_t i = 0; i < count; ++i) REQUIRE(rows[i] == doctest::Approx(expected[i]).epsilon(1e-3));
    }
    CHECK(vision_engine->replays() >= 2);
}

TEST_CASE("the engines of these tests have given everything back") { CHECK(stand_in_cuda().living() == 0); }
