#include "cpu_preprocessor.h"

#include "error.h"
#include "nv12.h"

namespace palijet {

CpuPreprocessor::CpuPreprocessor(int64_t size) : size_(size), resampler_(size, size) {
    for (int pixel = 0; pixel < 256; ++pixel) table_[pixel] = normalised(static_cast<uint8_t>(pixel));
}

void CpuPreprocessor::run(const ImageView& image, float* pixels) {
    if (image.place == Place::kDevice) {
        throw InputError(
            "the frame lies in CUDA memory, which this backend cannot read; load the model with backend='tensorrt' or "
            "'cuda', or give the frame in managed, mapped or the host's own memory");
    }
    check_layout(image);
    const std::vector<uint8_t>& resized = resampler_.resize(is_nv12(image.format) ? to_rgb(image) : image);
    const int64_t plane = size_ * size_;
    const bool grey = static_cast<int64_t>(resized.size()) == plane;
    for (int64_t i = 0; i < 3 * plane; ++i) {
        pixels[i] = table_[resized[static_cast<size_t>(grey ? i % plane : i)]];
    }
}

ImageView CpuPreprocessor::to_rgb(const ImageView& nv12) {
    rgb_.resize(static_cast<size_t>(3 * nv12.height * nv12.width));
    const Nv12Pass pass = nv12_pass(nv12, nv12.data, rgb_.data());
    compute_all(pass);
    return rgb_view(pass, Place::kHost);
}

}  // namespace palijet
