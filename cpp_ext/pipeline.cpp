#include "pipeline.h"

#include <algorithm>
#include <string>

#include "stopwatch.h"

namespace palijet {

Pipeline::Pipeline(std::shared_ptr<Engine> vision, std::shared_ptr<Engine> decoder,
                   std::shared_ptr<EmbeddingTable> embeddings, const PipelineOptions& options)
    : decoder_engine_(std::move(decoder)),
      embeddings_(std::move(embeddings)),
      encoder_(std::move(vision), options.image_size, decoder_engine_->device().place()),
      decoder_(*decoder_engine_, *embeddings_, options.max_batch, options.max_rows) {
    const TensorInfo& rows = encoder_.rows_info();
    if (rows.shape.back() != decoder_.hidden() || rows.type != decoder_.row_type()) {
        throw EngineError("the vision graph's rows do not fit the decoder; export both again");
    }
}

std::shared_ptr<const EncodedImages> Pipeline::encode(const std::vector<ImageView>& images,
                                                      const GenerateOptions& options, Timings& timings) {
    if (images.empty()) throw InputError("there is nothing to answer; give an image and a prompt");
    EncodeTimings encoding;
    Stopwatch total;
    auto encoded = encoder_.encode(images, options.is_cancelled, encoding);
    timings.preprocess_ms += encoding.preprocess_ms;
    timings.vision_ms += encoding.vision_ms;
    timings.total_ms += total.lap_ms();
    return encoded;
}

std::vector<Generation> Pipeline::generate(const std::shared_ptr<const EncodedImages>& encoded,
                                           const std::vector<Request>& requests, const GenerateOptions& options,
                                           Timings& timings) {
    if (!encoded) return std::vector<Generation>(requests.size());  // each of them cancelled
    if (requests.empty()) throw InputError("there is nothing to answer; give an image and a prompt");
    std::vector<Prefix> prefixes;
    prefixes.reserve(requests.size());
    for (const Request& request : requests) {
        check(encoded->count(), request, options.max_tokens);
        prefixes.push_back({encoded->rows(request.image), image_rows(), &request.prompt, request.drafter.get()});
    }
    const Turns::Turn turn(turns_, options.is_cancelled);
    if (!turn.has_come()) return std::vector<Generation>(requests.size());
    Stopwatch total;
    DecodeTimings decoding;
    auto generations = decoder_.generate(prefixes, options, decoding);
    timings.prefill_ms += decoding.prefill_ms;
    timings.decode_ms += decoding.decode_ms;
    timings.decoder_calls += decoding.calls;
    timings.total_ms += total.lap_ms();
    return generations;
}

std::vector<Generation> Pipeline::generate(const std::vector<ImageView>& images, const std::vector<Request>& requests,
                                           const GenerateOptions& options, Timings& timings) {
    if (requests.empty()) throw InputError("there is nothing to answer; give an image and a prompt");
    for (const Request& request : requests) check(images.size(), request, options.max_tokens);  // before anything runs
    return generate(encode(images, options, timings), requests, options, timings);
}

std::vector<std::vector<float>> Pipeline::score(const std::shared_ptr<const EncodedImages>& encoded,
                                                const Request& request,
                                                const std::vector<std::vector<int32_t>>& choices,
                                                const GenerateOptions& options, Timings& timings) {
    if (!encoded) return {};
    if (choices.empty()) throw InputError("there is nothing to choose from; give at least one choice");
    size_t longest = 0;
    for (const auto& choice : choices) {
        if (choice.empty()) throw InputError("a choice has no tokens; give each some text");
        longest = std::max(longest, choice.size());
    }
    check(encoded->count(), request, static_cast<int64_t>(longest) + 1);
    const Turns::Turn turn(turns_, options.is_cancelled);
    if (!turn.has_come()) return {};
    Stopwatch total;
    DecodeTimings decoding;
    auto scores =
        decoder_.score({encoded->rows(request.image), image_rows(), &request.prompt}, choices, options, decoding);
    timings.prefill_ms += decoding.prefill_ms;
    timings.decode_ms += decoding.decode_ms;
    timings.decoder_calls += decoding.calls;
    timings.total_ms += total.lap_ms();
    return scores;
}

void Pipeline::check(size_t images, const Request& request, int64_t max_tokens) const {
    if (max_tokens < 1) throw InputError("max_tokens is " + std::to_string(max_tokens) + "; give 1 or more");
    if (request.image >= images) throw InputError("a prompt asks about an image that is not there");
    if (request.prompt.empty()) throw InputError("a prompt has no tokens, not even <bos>");
    const int64_t prefix = image_rows() + static_cast<int64_t>(request.prompt.size());
    const int64_t room = decoder_.max_rows() - prefix + 1;  // the last token is never fed back
    if (room < 1) {
        throw InputError("the prompt has " + std::to_string(request.prompt.size()) +
                         " tokens and the cache has room for " + std::to_string(decoder_.max_rows() - image_rows()) +
                         "; shorten it or load the model with a larger max_rows");
    }
    if (max_tokens > room) {
        throw InputError("max_tokens is " + std::to_string(max_tokens) + " and the cache has room for " +
                         std::to_string(room) +
                         " after this prompt; ask for fewer or load the model with a larger max_rows");
    }
}

}  // namespace palijet
