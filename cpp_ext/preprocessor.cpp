#include "preprocessor.h"

namespace palijet {

Preprocessor::Preprocessor(int64_t size) : size_(size), resampler_(size, size) {
    for (int pixel = 0; pixel < 256; ++pixel) table_[pixel] = normalised(static_cast<uint8_t>(pixel));
}

void Preprocessor::run(const ImageView& image, float* pixels) {
    const std::vector<uint8_t>& resized = resampler_.resize(image);
    const int64_t plane = size_ * size_;
    const bool grey = image.channels == 1;
    for (int64_t i = 0; i < 3 * plane; ++i) {
        pixels[i] = table_[resized[static_cast<size_t>(grey ? i % plane : i)]];
    }
}

}  // namespace palijet
