// A stand-in for a decoder's engine: follows the graph contract over a language of its own, in which the next token is
// a function of all rows that a sequence has seen. So a row that is lost, doubled or another sequence's shows in the
// tokens.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
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
                   {"target", i32, {-1}},
                   {"past_key.0", f32, {-1, -1, 1, 1}},
                   {"past_value.0", f32, {-1, -1, 1, 1}}};
        outputs_ = {{"token", i32, {-1}},
                    {"logprob", f32, {-1}},
                    {"target_logprob", f32, {-1}},
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

    // The log-probability of a token to be the next.
    static float logprob(const std::vector<float>& rows, int32_t token) {
        return -static_cast<float>(rows.size()) - static_cast<float>(std::abs(token - next_token(rows)));
    }

    const std::vector<TensorInfo>& inputs() const override { return inputs_; }
    const std::vector<TensorInfo>& outputs() const override { return outputs_; }
    void bind_input(size_t index, const TensorView& tensor) override { in_.at(index) = tensor; }
    void bind_output(size_t index, const TensorView& tensor) override { out_.at(index) = tensor; }

    void run() override {
        if (before_run) before_run();
        ++runs;
        rows += rows_of_call();
        const int64_t batch = in_[0].shape[0], new_rows = in_[0].shape[1], past_rows = in_[5].shape[1];
        const int64_t wanted = in_[3].shape[0];
        const auto* embeds = static_cast<const float*>(in_[0].data);
        const auto* past_length = static_cast<const int32_t*>(in_[1].data);
        const auto* prefix_length = static_cast<const int32_t*>(in_[2].data);
        const auto* logits_index = static_cast<const int32_t*>(in_[3].data);
        const auto* target = static_cast<const int32_t*>(in_[4].data);
        const auto* past = static_cast<const float*>(in_[5].data);
        std::vector<float> keys;  // kept apart until all is read: new rows may lie among the past ones
        for (int64_t row = 0; row < batch * new_rows; ++row) keys.push_back(embeds[row * kHidden]);
        for (int64_t i = 0; i < wanted; ++i) {
            const int64_t b = logits_index[i] / new_rows, last = logits_index[i] % new_rows;
            // A row of the prefix sees all of the prefix, any other what stands before it.
            const int64_t end = std::max<int64_t>(last + 1, prefix_length[b]);
            std::vector<float> seen(past + b * past_rows, past + b * past_rows + past_length[b]);
            seen.insert(seen.end(), keys.begin() + b * new_rows, keys.begin() + b * new_rows + end);
            static_cast<int32_t*>(out_[0].data)[i] = next_token(seen);
            static_cast<float*>(out_[1].data)[i] = logprob(seen, next_token(seen));
            static_cast<float*>(out_[2].data)[i] = logprob(seen, target[i]);
        }
        for (size_t row = 0; row < keys.size(); ++row) {
            static_cast<float*>(out_[3].data)[row] = keys[row];
            static_cast<float*>(out_[4].data)[row] = -keys[row];
        }
    }

    std::function<void()> before_run;
    // Of the call that is bound, over its whole batch.
    int64_t rows_of_call() const { return in_[0].shape[0] * in_[0].shape[1]; }

    int runs = 0;
    int64_t rows = 0;  // of all runs

  private:
    std::vector<TensorInfo> inputs_, outputs_;
    std::vector<TensorView> in_, out_;
};

}  // namespace palijet::tests
