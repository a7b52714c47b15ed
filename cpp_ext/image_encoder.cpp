#include "image_encoder.h"

#include <mutex>

#include "stopwatch.h"

namespace palijet {

// What was let go of, to be used again.
struct ImageEncoder::Pool {
    std::shared_ptr<Engine> vision;  // whose device the memory is of
    std::mutex mutex;
    std::vector<std::unique_ptr<EncodedImages>> free;
};

ImageEncoder::ImageEncoder(std::shared_ptr<Engine> vision, int64_t image_size, Place rows_place)
    : vision_(std::move(vision)),
      preprocessor_(vision_->device().make_preprocessor(image_size)),
      pixels_port_(index_of(vision_->inputs(), "pixel_values")),
      rows_port_(index_of(vision_->outputs(), "image_rows")),
      rows_place_(rows_place),
      pool_(std::make_shared<Pool>()) {
    pool_->vision = vision_;
    reserve_pixels(1);
}

std::shared_ptr<const EncodedImages> ImageEncoder::encode(const std::vector<ImageView>& images,
                                                          const std::function<bool()>& is_cancelled,
                                                          EncodeTimings& timings) {
    const Turns::Turn turn(turns_, is_cancelled);
    if (!turn.has_come()) return nullptr;
    Stopwatch watch;
    std::shared_ptr<EncodedImages> encoded = take(images.size());
    reserve_pixels(images.size());
    for (size_t i = 0; i < images.size(); ++i) {
        preprocessor_->run(images[i], reinterpret_cast<float*>(pixels_.get() + i * pixel_bytes()));
    }
    vision_->device().synchronize();
    timings.preprocess_ms += watch.lap_ms();

    const auto count = static_cast<int64_t>(images.size());
    const int64_t size = preprocessor_->size();
    vision_->bind_input(pixels_port_,
                        {pixels_.get(), ElementType::kFloat32, {count, 3, size, size}, preprocessor_->place()});
    vision_->bind_output(
        rows_port_, {encoded->rows(0), rows_info().type, {count, image_rows(), rows_info().shape.back()}, rows_place_});
    vision_->run();
    encoded->set_count(images.size());
    timings.vision_ms += watch.lap_ms();
    return encoded;
}

std::shared_ptr<EncodedImages> ImageEncoder::take(size_t images) {
    std::unique_ptr<EncodedImages> found;
    {
        const std::lock_guard lock(pool_->mutex);
        if (!pool_->free.empty()) {
            found = std::move(pool_->free.back());
            pool_->free.pop_back();
        }
    }
    if (!found || found->capacity() < images) {
        Device& device = vision_->device();
        const size_t bytes = static_cast<size_t>(image_rows() * rows_info().shape.back()) * size_of(rows_info().type);
        found.reset();
        found = std::make_unique<EncodedImages>(
            rows_place_ == device.place() ? device.allocate(images * bytes) : device.allocate_host(images * bytes),
            images, bytes);
    }
    return {found.release(), [pool = pool_](EncodedImages* used) {
                const std::lock_guard lock(pool->mutex);
                pool->free.emplace_back(used);
            }};
}

void ImageEncoder::reserve_pixels(size_t images) {
    if (images <= reserved_) return;
    Device& device = vision_->device();
    const size_t bytes = images * pixel_bytes();
    pixels_ = preprocessor_->place() == device.place() ? device.allocate(bytes) : device.allocate_host(bytes);
    reserved_ = images;
}

size_t ImageEncoder::pixel_bytes() const {
    return static_cast<size_t>(3 * preprocessor_->size() * preprocessor_->size()) * sizeof(float);
}

}  // namespace palijet
