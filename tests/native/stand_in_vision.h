// A stand-in for a vision engine: an image of one grey level g becomes the rows g, g + 1, g + 2.
#pragma once

#include <cmath>
#include <vector>

#include "engine.h"
#include "stand_in_engine.h"

namespace palijet::tests {

class StandInVision : public Engine {
  public:
    static constexpr int64_t kSize = 4;  // pixels
    static constexpr int64_t kRows = 3;

    StandInVision()
        : inputs_{{"pixel_values", ElementType::kFloat32, {-1, 3, kSize, kSize}}},
          outputs_{{"image_rows", ElementType::kFloat32, {-1, kRows, StandInEngine::kHidden}}} {}

    const std::vector<TensorInfo>& inputs() const override { return inputs_; }
    const std::vector<TensorInfo>& outputs() const override { return outputs_; }
    void bind_input(size_t, const TensorView& tensor) override { in_ = tensor; }
    void bind_output(size_t, const TensorView& tensor) override { out_ = tensor; }

    void run() override {
        ++runs;
        const auto* pixels = static_cast<const float*>(in_.data);
        auto* rows = static_cast<float*>(out_.data);
        for (int64_t b = 0; b < in_.shape[0]; ++b) {
            const auto grey = static_cast<float>(std::lround(pixels[b * 3 * kSize * kSize] * 127.5f + 127.5f));
            for (int64_t n = 0; n < kRows; ++n) {
                for (int64_t h = 0; h < StandInEngine::kHidden; ++h) *rows++ = grey + static_cast<float>(n);
            }
        }
    }

    int runs = 0;

  private:
    std::vector<TensorInfo> inputs_, outputs_;
    TensorView in_, out_;
};

}  // namespace palijet::tests
