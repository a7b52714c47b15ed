#include "decoder.h"

#include <algorithm>
#include <string>

#include "stopwatch.h"

namespace palijet {

Decoder::Decoder(Engine& engine, const EmbeddingTable& embeddings, int64_t max_batch, int64_t max_rows)
    : engine_(engine),
      device_(engine.device()),
      embeddings_(embeddings),
      ports_(find_ports(engine)),
      row_type_(engine.inputs()[ports_.inputs_embeds].type),
      row_bytes_(static_cast<size_t>(embeddings.width()) * size_of(row_type_)),
      cache_(cache_layout(engine, ports_, max_batch, max_rows), device_) {
    if (engine.inputs()[ports_.inputs_embeds].shape.back() != embeddings.width()) {
        throw EngineError("the decoder's hidden size is not the embeddings'; export again");
    }
    const auto batch = static_cast<size_t>(max_batch);
    prefix_length_.resize(batch);
    new_count_.resize(batch);
    logits_index_.resize(batch);
    token_.resize(batch);
    logprob_.resize(batch);
    reserve(max_rows);
}

Decoder::Ports Decoder::find_ports(const Engine& engine) {
    const auto input = [&](const std::string& name) { return index_of(engine.inputs(), name); };
    const auto output = [&](const std::string& name) { return index_of(engine.outputs(), name); };
    Ports ports{input("inputs_embeds"),
                input("past_length"),
                input("prefix_length"),
                input("logits_index"),
                output("token"),
                output("logprob"),
                {},
                {}};
    const size_t layers = (engine.inputs().size() - 4) / 2;
    for (size_t layer = 0; layer < layers; ++layer) {
        for (const char* part : {"key.", "value."}) {
            ports.past.push_back(input("past_" + (part + std::to_string(layer))));
            ports.fresh.push_back(output("new_" + (part + std::to_string(layer))));
        }
    }
    return ports;
}

CacheLayout Decoder::cache_layout(const Engine& engine, const Ports& ports, int64_t max_batch, int64_t max_rows) {
    if (ports.past.empty()) throw EngineError("the decoder's graph has no past_key.0; export again");
    const TensorInfo& past = engine.inputs()[ports.past[0]];  // [B, P, kv_heads, head_dim]
    return {static_cast<int64_t>(ports.past.size() / 2), past.shape[2], past.shape[3], past.type, max_batch, max_rows};
}

std::vector<Generation> Decoder::generate(const std::vector<Prefix>& prefixes, const GenerateOptions& options,
                                          DecodeTimings& timings) {
    std::vector<Generation> generations(prefixes.size());
    for (Generation& generation : generations) {  // so that no step allocates
        generation.tokens.reserve(static_cast<size_t>(options.max_tokens));
        generation.logprobs.reserve(static_cast<size_t>(options.max_tokens));
    }
    std::vector<bool> running(prefixes.size(), true);
    const auto take = [&](size_t sequence) {  // the token just chosen; whether the sequence goes on
        Generation& generation = generations[sequence];
        const int32_t token = token_[sequence];
        const float logprob = logprob_[sequence];
        if (std::find(options.stop_tokens.begin(), options.stop_tokens.end(), token) != options.stop_tokens.end()) {
            generation.stop_reason = StopReason::kStop;
            generation.stop_logprob = logprob;
            return false;
        }
        generation.tokens.push_back(token);
        generation.logprobs.push_back(logprob);
        if (options.on_token) options.on_token(sequence, token, logprob);
        if (static_cast<int64_t>(generation.tokens.size()) < options.max_tokens) return true;
        generation.stop_reason = StopReason::kMaxTokens;
        return false;
    };

    int64_t longest = 0;
    for (const Prefix& prefix : prefixes) {
        longest = std::max(longest, prefix.image_count + static_cast<int64_t>(prefix.prompt->size()));
    }
    // The last token of an answer is never fed back.
    cache_.start(static_cast<int64_t>(prefixes.size()), longest + std::max<int64_t>(options.max_tokens - 1, 0));

    const auto is_cancelled = [&] { return options.is_cancelled && options.is_cancelled(); };
    if (is_cancelled()) return generations;
    calls_ = 0;
    Stopwatch watch;
    prefill(prefixes);
    timings.prefill_ms += watch.lap_ms();
    for (size_t b = 0; b < running.size(); ++b) running[b] = take(b);
    while (std::find(running.begin(), running.end(), true) != running.end()) {
        if (is_cancelled()) break;
        step();
        for (size_t b = 0; b < running.size(); ++b) {
            if (running[b]) running[b] = take(b);
        }
    }
    timings.decode_ms += watch.lap_ms();
    timings.calls += calls_;
    return generations;
}

// Image rows, prompt rows, and padding on the right: it is causal, so nobody sees it, and it is not appended.
void Decoder::prefill(const std::vector<Prefix>& prefixes) {
    batch_ = static_cast<int64_t>(prefixes.size());
    int64_t new_rows = 0;
    for (size_t b = 0; b < prefixes.size(); ++b) {
        prefix_length_[b] =
            static_cast<int32_t>(prefixes[b].image_count) + static_cast<int32_t>(prefixes[b].prompt->size());
        new_count_[b] = prefix_length_[b];
        new_rows = std::max<int64_t>(new_rows, prefix_length_[b]);
    }
    reserve(batch_ * new_rows);
    for (int64_t b = 0; b < batch_; ++b) {
        const Prefix& prefix = prefixes[static_cast<size_t>(b)];
        int64_t index = b * new_rows;
        device_.copy(input_row(index), prefix.image_rows, static_cast<size_t>(prefix.image_count) * row_bytes_);
        index += prefix.image_count;
        gather(prefix.prompt->data(), static_cast<int64_t>(prefix.prompt->size()), index);
        index += static_cast<int64_t>(prefix.prompt->size());
        logits_index_[static_cast<size_t>(b)] = static_cast<int32_t>(index - 1);
        const auto padding = static_cast<size_t>((b + 1) * new_rows - index);
        if (padding) device_.clear_rows(input_row(index), row_bytes_, row_bytes_, padding);
    }
    run(new_rows);
}

// One row per sequence: the token chosen last. Those that have ended keep their place and are not listened to.
void Decoder::step() {
    for (int64_t b = 0; b < batch_; ++b) {
        const auto i = static_cast<size_t>(b);
        prefix_length_[i] = 0;
        new_count_[i] = 1;
        logits_index_[i] = static_cast<int32_t>(b);
    }
    gather(token_.data(), batch_, 0);
    run(1);
}

void Decoder::run(int64_t new_rows) {
    const Shape per_sequence{batch_};
    engine_.bind_input(ports_.inputs_embeds, {inputs_.get(), row_type_, {batch_, new_rows, hidden()}, device_.place()});
    engine_.bind_input(ports_.past_length, cache_.lengths());
    engine_.bind_input(ports_.prefix_length, {prefix_length_.data(), ElementType::kInt32, per_sequence});
    engine_.bind_input(ports_.logits_index, {logits_index_.data(), ElementType::kInt32, per_sequence});
    engine_.bind_output(ports_.token, {token_.data(), ElementType::kInt32, per_sequence});
    engine_.bind_output(ports_.logprob, {logprob_.data(), ElementType::kFloat32, per_sequence});
    for (size_t block = 0; block < cache_.blocks(); ++block) {
        engine_.bind_input(ports_.past[block], cache_.past(block));
        engine_.bind_output(ports_.fresh[block], cache_.fresh(block, new_rows));
    }
    engine_.run();
    ++calls_;
    cache_.append(new_count_, new_rows);
}

void Decoder::gather(const int32_t* tokens, int64_t count, int64_t index) {
    uint8_t* rows = gathered_.get() + static_cast<size_t>(index) * row_bytes_;
    for (int64_t i = 0; i < count; ++i) {
        embeddings_.gather(tokens[i], row_type_, rows + static_cast<size_t>(i) * row_bytes_);
    }
    device_.copy(input_row(index), rows, static_cast<size_t>(count) * row_bytes_);
}

void Decoder::reserve(int64_t rows) {
    if (rows <= reserved_) return;
    const size_t bytes = static_cast<size_t>(rows) * row_bytes_;
    inputs_ = device_.allocate(bytes);
    gathered_ = device_.allocate_host(bytes);
    reserved_ = rows;
}

}  // namespace palijet
