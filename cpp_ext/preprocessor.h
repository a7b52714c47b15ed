// A frame becomes what the vision encoder is given.
#pragma once

#include "image_view.h"
#include "resampler.h"

namespace palijet {

// SigLIP's normalisation: a mean and a standard deviation of 0.5 on pixels of [0, 1].
inline float normalised(uint8_t pixel) { return (static_cast<float>(pixel) - 127.5f) / 127.5f; }

// Squashes a frame to a square as Pillow's bicubic does and normalises it.
class Preprocessor {
  public:
    explicit Preprocessor(int64_t size);

    // Writes [3, size, size] float32 in [-1, 1], red, green, blue. InputError for an empty frame or one of 2 or over 4
    // channels.
    void run(const ImageView& image, float* pixels);

    int64_t size() const { return size_; }

  private:
    int64_t size_;
    Resampler resampler_;
    float table_[256];  // normalised() of every pixel: a division saved per element
};

}  // namespace palijet
