// The road of one frame: preprocess, vision, prefill and the decode loop, in one call.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "decoder.h"

namespace palijet {

struct PipelineOptions {
    int64_t image_size;     // pixels, the side of the vision encoder's square
    int64_t max_rows;       // of a sequence in the cache: prefix and answer
    int64_t max_batch = 4;  // sequences decoded together
};

// A prompt and the image it is asked about.
struct Request {
    size_t image;
    std::vector<int32_t> prompt;  // token ids, with <bos> and the closing newline
};

struct Timings {
    double preprocess_ms = 0;
    double vision_ms = 0;
    double prefill_ms = 0;
    double decode_ms = 0;
    double total_ms = 0;
    int64_t decoder_calls = 0;
};

class Pipeline {
  public:
    Pipeline(std::shared_ptr<Engine> vision, std::shared_ptr<Engine> decoder,
             std::shared_ptr<EmbeddingTable> embeddings, const PipelineOptions& options);

    // One generation per request, in their order; each image is encoded once. More requests than a batch holds are
    // answered batch after batch. Calls from several threads queue; one that is cancelled leaves the queue.
    std::vector<Generation> generate(const std::vector<ImageView>& images, const std::vector<Request>& requests,
                                     const GenerateOptions& options, Timings& timings);

    int64_t image_rows() const { return image_rows_; }
    int64_t max_rows() const { return decoder_.max_rows(); }

  private:
    class Turn;

    void check(const std::vector<ImageView>& images, const std::vector<Request>& requests,
               const GenerateOptions& options) const;
    void encode(const std::vector<ImageView>& images, Timings& timings);  // images -> encoded_
    void reserve(size_t images);
    size_t pixel_bytes() const;  // of an image
    size_t row_bytes() const;    // of an image's rows

    std::timed_mutex mutex_;
    std::atomic<std::thread::id> answering_{};  // the thread whose turn it is
    std::shared_ptr<Engine> vision_;
    std::shared_ptr<Engine> decoder_engine_;
    std::shared_ptr<EmbeddingTable> embeddings_;
    std::unique_ptr<Preprocessor> preprocessor_;
    Decoder decoder_;
    size_t pixels_port_, rows_port_;
    int64_t image_rows_;
    bool shares_device_;  // image rows stay where the vision engine wrote them
    Memory pixels_;       // [images, 3, size, size] float32
    Memory encoded_;      // [images, image rows, hidden] in the decoder's element type
    size_t room_ = 0;     // images that either has room for
};

}  // namespace palijet
