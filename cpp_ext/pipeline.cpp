#include "pipeline.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "stopwatch.h"

namespace palijet {

Pipeline::Pipeline(std::shared_ptr<Engine> vision, std::shared_ptr<Engine> decoder,
                   std::shared_ptr<EmbeddingTable> embeddings, const PipelineOptions& options)
    : vision_(std::move(vision)),
      decoder_engine_(std::move(decoder)),
      embeddings_(std::move(embeddings)),
      preprocessor_(vision_->device().make_preprocessor(options.image_size)),
      decoder_(*decoder_engine_, *embeddings_, options.max_batch, options.max_rows),
      pixels_port_(index_of(vision_->inputs(), "pixel_values")),
      rows_port_(index_of(vision_->outputs(), "image_rows")),
      image_rows_(vision_->outputs()[rows_port_].shape[1]),
      shares_device_(&vision_->device() == &decoder_engine_->device()) {
    const TensorInfo& rows = vision_->outputs()[rows_port_];  // [B, N, H]
    if (rows.shape.back() != decoder_.hidden() || rows.type != decoder_.row_type()) {
        throw EngineError("the vision graph's rows do not fit the decoder; export both again");
    }
    reserve(1);
}

// One call's turn on the pipeline.
class Pipeline::Turn {
  public:
    // Waits for it, and looks up now and then whether it is still wanted.
    Turn(Pipeline& pipeline, const GenerateOptions& options) : pipeline_(pipeline) {
        if (pipeline.answering_ == std::this_thread::get_id()) {
            throw InputError("a callback cannot ask the model that is calling it; ask once its answer is whole");
        }
        const auto is_cancelled = [&] { return options.is_cancelled && options.is_cancelled(); };
        do {
            if (is_cancelled()) return;
            has_come_ = pipeline.mutex_.try_lock_for(std::chrono::milliseconds(20));
        } while (!has_come_);
        pipeline.answering_ = std::this_thread::get_id();
    }
    ~Turn() {
        if (!has_come_) return;
        pipeline_.answering_ = std::thread::id();
        pipeline_.mutex_.unlock();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    bool has_come() const { return has_come_; }  // false: cancelled first

  private:
    Pipeline& pipeline_;
    bool has_come_ = false;
};

std::vector<Generation> Pipeline::generate(const std::vector<ImageView>& images, const std::vector<Request>& requests,
                                           const GenerateOptions& options, Timings& timings) {
    check(images, requests, options);
    const Turn turn(*this, options);
    if (!turn.has_come()) return std::vector<Generation>(requests.size());  // each of them cancelled
    Stopwatch total;
    encode(images, timings);

    std::vector<Generation> generations;
    generations.reserve(requests.size());
    DecodeTimings decoding;
    const auto batch = static_cast<size_t>(decoder_.max_batch());
    for (size_t first = 0; first < requests.size(); first += batch) {
        std::vector<Prefix> prefixes;
        GenerateOptions part = options;
        if (options.on_token) {
            part.on_token = [&options, first](size_t sequence, int32_t token, float logprob) {
                options.on_token(first + sequence, token, logprob);
            };
        }
        for (size_t i = first; i < std::min(first + batch, requests.size()); ++i) {
            prefixes.push_back({encoded_.get() + requests[i].image * row_bytes(), image_rows_, &requests[i].prompt});
        }
        for (Generation& generation : decoder_.generate(prefixes, part, decoding)) {
            generations.push_back(std::move(generation));
        }
    }
    timings.prefill_ms = decoding.prefill_ms;
    timings.decode_ms = decoding.decode_ms;
    timings.decoder_calls = decoding.calls;
    timings.total_ms = total.lap_ms();
    return generations;
}

void Pipeline::check(const std::vector<ImageView>& images, const std::vector<Request>& requests,
                     const GenerateOptions& options) const {
    if (images.empty() || requests.empty()) throw InputError("there is nothing to answer; give an image and a prompt");
    if (options.max_tokens < 1)
        throw InputError("max_tokens is " + std::to_string(options.max_tokens) + "; give 1 or more");
    for (const Request& request : requests) {
        if (request.image >= images.size()) throw InputError("a prompt asks about an image that is not there");
        if (request.prompt.empty()) throw InputError("a prompt has no tokens, not even <bos>");
        const int64_t prefix = image_rows_ + static_cast<int64_t>(request.prompt.size());
        const int64_t room = decoder_.max_rows() - prefix + 1;  // the last token is never fed back
        if (room < 1) {
            throw InputError("the prompt has " + std::to_string(request.prompt.size()) +
                             " tokens and the cache has room for " + std::to_string(decoder_.max_rows() - image_rows_) +
                             "; shorten it or load the model with a larger max_rows");
        }
        if (options.max_tokens > room) {
            throw InputError("max_tokens is " + std::to_string(options.max_tokens) + " and the cache has room for " +
                             std::to_string(room) +
                             " after this prompt; ask for fewer or load the model with a larger max_rows");
        }
    }
}

void Pipeline::encode(const std::vector<ImageView>& images, Timings& timings) {
    Stopwatch watch;
    reserve(images.size());
    for (size_t i = 0; i < images.size(); ++i) {
        preprocessor_->run(images[i], reinterpret_cast<float*>(pixels_.get() + i * pixel_bytes()));
    }
    vision_->device().synchronize();
    timings.preprocess_ms = watch.lap_ms();

    const auto count = static_cast<int64_t>(images.size());
    const int64_t size = preprocessor_->size();
    const TensorInfo& rows = vision_->outputs()[rows_port_];
    vision_->bind_input(pixels_port_,
                        {pixels_.get(), ElementType::kFloat32, {count, 3, size, size}, preprocessor_->place()});
    vision_->bind_output(rows_port_, {encoded_.get(),
                                      rows.type,
                                      {count, image_rows_, decoder_.hidden()},
                                      shares_device_ ? vision_->device().place() : Place::kHost});
    vision_->run();
    timings.vision_ms = watch.lap_ms();
}

void Pipeline::reserve(size_t images) {
    if (images <= room_) return;
    Device& device = vision_->device();
    const bool pixels_on_device = preprocessor_->place() == device.place();
    const size_t pixels = images * pixel_bytes(), rows = images * row_bytes();
    pixels_ = pixels_on_device ? device.allocate(pixels) : device.allocate_host(pixels);
    encoded_ = shares_device_ ? device.allocate(rows) : device.allocate_host(rows);
    room_ = images;
}

size_t Pipeline::pixel_bytes() const {
    return static_cast<size_t>(3 * preprocessor_->size() * preprocessor_->size()) * sizeof(float);
}

size_t Pipeline::row_bytes() const {
    return static_cast<size_t>(image_rows_ * decoder_.hidden()) * size_of(decoder_.row_type());
}

}  // namespace palijet
