// A frame becomes what the vision encoder is given.
#pragma once

#include "image_view.h"
#include "tensor.h"

namespace palijet {

// Squashes a frame to a square as Pillow's bicubic does and normalises it.
class Preprocessor {
  public:
    virtual ~Preprocessor() = default;

    // Writes [3, size, size] float32 in [-1, 1], red, green, blue. InputError for a frame that is empty, of 2 or over 4
    // channels, or in memory that cannot be read from here.
    virtual void run(const ImageView& image, float* pixels) = 0;

    virtual int64_t size() const = 0;
    virtual Place place() const = 0;  // where `pixels` are to lie
};

}  // namespace palijet
