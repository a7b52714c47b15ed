// Frames in, the decoder's image rows out.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine.h"
#include "turns.h"

namespace palijet {

// Rows of encoded images, where the decoder reads them: [count, image rows, hidden].
class EncodedImages {
  public:
    EncodedImages(Memory memory, size_t capacity, size_t image_bytes)
        : memory_(std::move(memory)), capacity_(capacity), image_bytes_(image_bytes) {}

    size_t count() const { return count_; }
    void set_count(size_t count) { count_ = count; }
    size_t capacity() const { return capacity_; }
    uint8_t* rows(size_t image) const { return memory_.get() + image * image_bytes_; }

  private:
    Memory memory_;
    size_t capacity_;  // images
    size_t image_bytes_;
    size_t count_ = 0;
};

struct EncodeTimings {
    double preprocess_ms = 0;
    double vision_ms = 0;
};

class ImageEncoder {
  public:
    // `rows_place`: where the decoder wants the rows.
    ImageEncoder(std::shared_ptr<Engine> vision, int64_t image_size, Place rows_place);

    // All images in one run. They are the caller's until it lets go of them; their memory is then used again. None if
    // it was cancelled. Calls from several threads queue.
    std::shared_ptr<const EncodedImages> encode(const std::vector<ImageView>& images,
                                                const std::function<bool()>& is_cancelled, EncodeTimings& timings);

    int64_t image_rows() const { return rows_info().shape[1]; }
    const TensorInfo& rows_info() const { return vision_->outputs()[rows_port_]; }  // [B, image rows, hidden]

  private:
    struct Pool;

    std::shared_ptr<EncodedImages> take(size_t images);
    void reserve_pixels(size_t images);
    size_t pixel_bytes() const;  // of an image

    std::shared_ptr<Engine> vision_;
    std::unique_ptr<Preprocessor> preprocessor_;
    size_t pixels_port_, rows_port_;
    Place rows_place_;
    Turns turns_;
    Memory pixels_;        // [images, 3, size, size] float32
    size_t reserved_ = 0;  // images that there is room for
    std::shared_ptr<Pool> pool_;
};

}  // namespace palijet
