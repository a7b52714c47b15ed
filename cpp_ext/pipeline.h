// The road of one frame: preprocess, vision, prefill and the decode loop, in one call.
#pragma once

#include <memory>
#include <vector>

#include "decoder.h"
#include "image_encoder.h"

namespace palijet {

struct PipelineOptions {
    int64_t image_size;     // pixels, the side of the vision encoder's square
    int64_t max_rows;       // of a sequence in the cache: prefix and answer
    int64_t max_batch = 4;  // sequences decoded together
};

// A prompt and the image it is asked about.
struct Request {
    size_t image;
    std::vector<int32_t> prompt;                 // token ids, with <bos> and the closing newline
    std::shared_ptr<Drafter> drafter = nullptr;  // or none; no two requests of a call share one
};

struct Timings {
    double preprocess_ms = 0;
    double vision_ms = 0;
    double prefill_ms = 0;
    double decode_ms = 0;
    double total_ms = 0;
    int64_t decoder_calls = 0;
};

// Calls from several threads queue; one that is cancelled leaves the queue. While one call decodes, another may encode.
class Pipeline {
  public:
    Pipeline(std::shared_ptr<Engine> vision, std::shared_ptr<Engine> decoder,
             std::shared_ptr<EmbeddingTable> embeddings, const PipelineOptions& options);

    // All images in one run of the vision encoder; none if it was cancelled.
    std::shared_ptr<const EncodedImages> encode(const std::vector<ImageView>& images, const GenerateOptions& options,
                                                Timings& timings);

    // One generation per request, in their order. `encoded` may be none, of a cancelled call.
    std::vector<Generation> generate(const std::shared_ptr<const EncodedImages>& encoded,
                                     const std::vector<Request>& requests, const GenerateOptions& options,
                                     Timings& timings);

    // The same from the images on, each of which is encoded once.
    std::vector<Generation> generate(const std::vector<ImageView>& images, const std::vector<Request>& requests,
                                     const GenerateOptions& options, Timings& timings);

    // The log-probabilities of each choice's tokens to begin the answer; fewer choices if it was cancelled.
    std::vector<std::vector<float>> score(const std::shared_ptr<const EncodedImages>& encoded, const Request& request,
                                          const std::vector<std::vector<int32_t>>& choices,
                                          const GenerateOptions& options, Timings& timings);

    int64_t image_rows() const { return encoder_.image_rows(); }
    int64_t max_rows() const { return decoder_.max_rows(); }

  private:
    void check(size_t images, const Request& request, int64_t max_tokens) const;

    std::shared_ptr<Engine> decoder_engine_;
    std::shared_ptr<EmbeddingTable> embeddings_;
    ImageEncoder encoder_;
    Decoder decoder_;
    Turns turns_;  // on the decoder
};

}  // namespace palijet
