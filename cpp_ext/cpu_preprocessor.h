// Preprocessing on the host.
#pragma once

#include <cstdint>
#include <vector>

#include "preprocessor.h"
#include "resampler.h"

namespace palijet {

class CpuPreprocessor final : public Preprocessor {
  public:
    explicit CpuPreprocessor(int64_t size);

    void run(const ImageView& image, float* pixels) override;
    int64_t size() const override { return size_; }
    Place place() const override { return Place::kHost; }

  private:
    ImageView to_rgb(const ImageView& nv12);

    int64_t size_;
    Resampler resampler_;
    std::vector<uint8_t> rgb_;  // [height, width, 3] of an NV12 frame
    float table_[256];          // normalised() of every pixel: a division saved per element
};

}  // namespace palijet
