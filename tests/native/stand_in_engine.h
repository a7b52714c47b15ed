// A stand-in for a decoder's engine: follows the graph contract over a language of its own, in which the next token is
// a function of all rows that a sequence has seen. So a row that is lost, doubled or another sequence's shows in the
// tokens.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "engine.h"

namespace palijet::tests {

class StandInEngine : public Engine {
  public:
    static constexpr int64_t kHidden = 2;
    static constexpr int32_t kVocabulary = 97;

    StandInEngine() {
        const auto f32 = ElementType::kFloat32, i32 = ElementType::kInt32;
        inputs_ = {{"inputs_embeds", f32, {-1, -1, kHidden}},
                   {"past_length", i32, {-1}},
                   {"prefix_length", i32, {-1}},
                   {"logits_index", i32, {-1}},
                   {"past_key.0", f32, {-1, -1, 1, 1}},
                   {"past_value.0", f32, {-1, -1, 1, 1}}};
        outputs_ = {{"token", i32, {-1}},
                    {"logprob", f32, {-1}},
                    {"new_key.0", f32, {-1, -1, 1, 1}},
                    {"new_value.0", f32, {-1, -1, 1, 1}}};
        in_.resize(inputs_.size());
        out_.resize(outputs_.size());
    }

    // The next token after rows of these numbers.
    static int32_t next_token(const std::vector<float>& rows) {
        int64_t state = 17;
        for (const float row : rows) state = (state * 31 + std::lround(row)) % 1000003;
        return static_cast<int32_t>(state % kVocabulary);
    }

    const std::vector<TensorInfo>& inputs() const override { return inputs_; }
    const std::vector<TensorInfo>& outputs() const override { return outputs_; }
    void bind_input(size_t index, const TensorView& tensor) override { in_.at(index) = tensor; }
    void bind_output(size_t index, const TensorView& tensor) override { out_.at(index) = tensor; }

    void run() override {
        if (before_run) before_run();
        ++runs;
        const int64_t batch = in_[0].shape[0], new_rows = in_[0].shape[1], past_rows = in_[4].shape[1];
        const auto* embeds = static_cast<const float*>(in_[0].data);
        const auto* past_length = static_cast<const int32_t*>(in_[1].data);
        const auto* prefix_length = static_cast<const int32_t*>(in_[2].data);
        const auto* logits_index = static_cast<const int32_t*>(in_[3].data);
        const auto* past = static_cast<const float*>(in_[4].data);
        auto* token = static_cast<int32_t*>(out_[0].data);
        auto* logprob = static_cast<float*>(out_[1].data);
        for (int64_t b = 0; b < batch; ++b) {
            for (int64_t t = 0; t < new_rows; ++t) {
                const int64_t row = b * new_rows + t;
                static_cast<float*>(out_[2].data)[row] = embeds[row * kHidden];
                static_cast<float*>(out_[3].data)[row] = -embeds[row * kHidden];
            }
            std::vector<float> seen(past + b * past_rows, past + b * past_rows + past_length[b]);
            const int64_t last = logits_index[b] - b * new_rows;
            if (prefix_length[b] != 0 && prefix_length[b] != last + 1) throw EngineError("a prefix of a wrong length");
            for (int64_t t = 0; t <= last; ++t) seen.push_back(embeds[(b * new_rows + t) * kHidden]);
            token[b] = next_token(seen);
            logprob[b] = -static_cast<float>(seen.size());
        }
    }

    std::function<void()> before_run;
    int runs = 0;

  private:
    std::vector<TensorInfo> inputs_, outputs_;
    std::vector<TensorView> in_, out_;
};

}  // namespace palijet::tests
