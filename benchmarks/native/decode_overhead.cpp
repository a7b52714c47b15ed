// What the decode loop itself costs: it runs over an engine that computes nothing, in PaliGemma 3B's shape.
//
// decode_overhead CASE ANSWERS prints JSON: microseconds, allocations and bytes allocated per token, from an answer's
// first token to its last, and the engine's runs per token. CASE: lone, four (sequences), or drafts (half of an answer
// is the last one's).
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "decoder.h"

// Allocations are counted where they come from: every malloc of the process goes through here (glibc).
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

namespace {

size_t allocations = 0, allocated_bytes = 0;

void count(size_t bytes) {
    ++allocations;
    allocated_bytes += bytes;
}

}  // namespace

extern "C" {
void* malloc(size_t bytes) {
    count(bytes);
    return __libc_malloc(bytes);
}
void* calloc(size_t items, size_t bytes) {
    count(items * bytes);
    return __libc_calloc(items, bytes);
}
void* realloc(void* old, size_t bytes) {
    count(bytes);
    return __libc_realloc(old, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
    count(bytes);
    return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** out, size_t alignment, size_t bytes) {
    count(bytes);
    *out = __libc_memalign(alignment, bytes);
    return *out ? 0 : ENOMEM;
}
}

using namespace palijet;

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kLayers = 18, kHidden = 2048, kHeadDim = 256, kImageRows = 256, kTokens = 64;
constexpr int32_t kVocabulary = 251;

// The graph contract without arithmetic: the next token is a function of the row's place alone, and in the second half
// of an answer of `news` as well.
class EmptyEngine : public Engine {
  public:
    EmptyEngine() {
        const auto f32 = ElementType::kFloat32, i32 = ElementType::kInt32;
        inputs_ = {{"inputs_embeds", f32, {-1, -1, kHidden}},
                   {"past_length", i32, {-1}},
                   {"prefix_length", i32, {-1}},
                   {"logits_index", i32, {-1}},
                   {"target", i32, {-1}}};
        outputs_ = {{"token", i32, {-1}}, {"logprob", f32, {-1}}, {"target_logprob", f32, {-1}}};
        for (int64_t layer = 0; layer < kLayers; ++layer) {
            for (const char* part : {"key.", "value."}) {
                const std::string name = part + std::to_string(layer);
                inputs_.push_back({"past_" + name, f32, {-1, -1, 1, kHeadDim}});
                outputs_.push_back({"new_" + name, f32, {-1, -1, 1, kHeadDim}});
            }
        }
        in_.resize(inputs_.size());
        out_.resize(outputs_.size());
    }

    const std::vector<TensorInfo>& inputs() const override { return inputs_; }
    const std::vector<TensorInfo>& outputs() const override { return outputs_; }
    void bind_input(size_t index, const TensorView& tensor) override {
        check_fits("the decoder", inputs_[index], tensor);
        in_[index] = tensor;
    }
    void bind_output(size_t index, const TensorView& tensor) override {
        check_fits("the decoder", outputs_[index], tensor);
        out_[index] = tensor;
    }

    void run() override {
        const auto started = Clock::now();
        const int64_t rows = in_[0].shape[1], wanted = in_[3].shape[0];
        const auto* past_length = static_cast<const int32_t*>(in_[1].data);
        const auto* logits_index = static_cast<const int32_t*>(in_[3].data);
        for (int64_t i = 0; i < wanted; ++i) {
            const int64_t place = past_length[logits_index[i] / rows] + logits_index[i] % rows;
            const int64_t changed = place % kTokens > kTokens / 2 ? news : 0;
            static_cast<int32_t*>(out_[0].data)[i] = static_cast<int32_t>((place * 7 + changed) % kVocabulary);
            static_cast<float*>(out_[1].data)[i] = static_cast<float*>(out_[2].data)[i] = -1;
        }
        ++runs;
        inside += Clock::now() - started;
    }

    int64_t news = 0, runs = 0;
    Clock::duration inside{};

  private:
    std::vector<TensorInfo> inputs_, outputs_;
    std::vector<TensorView> in_, out_;
};

// A table of zeros, of a file that has lost its name already.
std::unique_ptr<EmbeddingTable> empty_table() {
    std::string path = (std::filesystem::temp_directory_path() / "decode_overhead.XXXXXX").string();
    const int file = mkstemp(path.data());
    if (file < 0) throw std::runtime_error(path + ": " + std::strerror(errno));
    const std::vector<char> zeros(static_cast<size_t>(kVocabulary * kHidden) * 4);
    std::ofstream(path, std::ios::binary).write(zeros.data(), static_cast<std::streamsize>(zeros.size()));
    auto table = std::make_unique<EmbeddingTable>(path, EmbeddingLayout{kVocabulary, kHidden, StoredType::kFloat32, 1});
    std::remove(path.c_str());
    return table;
}

struct Moment {
    Clock::time_point time;
    Clock::duration inside;
    size_t allocations, bytes;
    int64_t runs;
};

}  // namespace

int main(int argc, char** argv) {
    const std::string which = argc == 3 ? argv[1] : "";
    const int answers = argc == 3 ? std::atoi(argv[2]) : 0;
    if ((which != "lone" && which != "four" && which != "drafts") || answers < 2) {
        std::fprintf(stderr, "decode_overhead lone|four|drafts ANSWERS, of which there are 2 at least\n");
        return 2;
    }
    const int64_t batch = which == "four" ? 4 : 1;
    EmptyEngine engine;
    const auto table = empty_table();
    Decoder decoder(engine, *table, batch, 512);
    Drafter drafter({}, {false});
    const std::vector<float> image(static_cast<size_t>(kImageRows * kHidden));
    const std::vector<int32_t> prompt(16, 5);
    const Prefix prefix{image.data(), kImageRows, &prompt, which == "drafts" ? &drafter : nullptr};
    const std::vector<Prefix> prefixes(static_cast<size_t>(batch), prefix);

    Moment first{}, last{};
    int64_t chosen = 0;
    GenerateOptions options;
    options.max_tokens = kTokens;
    options.on_token = [&](size_t, int32_t, float) {
        if (++chosen > batch && chosen < batch * kTokens) return;
        (chosen <= batch ? first : last) =
            Moment{Clock::now(), engine.inside, allocations, allocated_bytes, engine.runs};
    };
    double microseconds = 0;
    size_t times = 0, bytes = 0;
    int64_t runs = 0, tokens = 0;
    for (int answer = 0; answer < answers; ++answer) {
        engine.news = answer;
        chosen = 0;
        DecodeTimings timings;
        decoder.generate(prefixes, options, timings);
        if (!answer) continue;  // the first one fits buffers
        const auto outside = (last.time - first.time) - (last.inside - first.inside);
        microseconds += std::chrono::duration<double, std::micro>(outside).count();
        times += last.allocations - first.allocations;
        bytes += last.bytes - first.bytes;
        runs += last.runs - first.runs;
        tokens += batch * (kTokens - 1);
    }
    const auto per_token = [&](auto sum) { return static_cast<double>(sum) / static_cast<double>(tokens); };
    std::printf("{\"tokens\": %lld, \"us_per_token\": %.4f, \"allocations_per_token\": %.4f, ",
                static_cast<long long>(tokens), per_token(microseconds), per_token(times));
    std::printf("\"bytes_per_token\": %.4f, \"runs_per_token\": %.4f}\n", per_token(bytes), per_token(runs));
    return 0;
}
