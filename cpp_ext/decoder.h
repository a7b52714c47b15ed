// The decode loop: a prefix in, tokens out, greedily, over the KV cache.
#pragma once

#include <functional>
#include <vector>

#include "embedding_table.h"
#include "engine.h"
#include "kv_cache.h"

namespace palijet {

// What a sequence starts from: rows that all see each other.
struct Prefix {
    const void* image_rows;  // [image_count, hidden] in the graph's element type, of the host or the engine's device
    int64_t image_count;
    const std::vector<int32_t>* prompt;  // token ids, with <bos> and the closing newline
};

struct GenerateOptions {
    int64_t max_tokens = 128;
    std::vector<int32_t> stop_tokens;
    // Called for each token as it is chosen; what it throws ends generation.
    std::function<void(size_t sequence, int32_t token, float logprob)> on_token;
    // Asked before each run of an engine; true ends generation, and must stay true.
    std::function<bool()> is_cancelled;
};

enum class StopReason { kStop, kMaxTokens, kCancelled };

struct Generation {
    std::vector<int32_t> tokens;  // without the stop token
    std::vector<float> logprobs;  // of each token
    float stop_logprob = 0;       // of the stop token, where there is one
    StopReason stop_reason = StopReason::kCancelled;
};

struct DecodeTimings {
    double prefill_ms = 0;
    double decode_ms = 0;
    int64_t calls = 0;  // runs of the decoder's engine
};

class Decoder {
  public:
    // The engine's graph follows the graph contract. `max_rows`: of a sequence, prefix and answer together.
    Decoder(Engine& engine, const EmbeddingTable& embeddings, int64_t max_batch, int64_t max_rows);

    // One generation per prefix, all in one batch. `timings` are added to.
    std::vector<Generation> generate(const std::vector<Prefix>& prefixes, const GenerateOptions& options,
                                     DecodeTimings& timings);

    int64_t max_batch() const { return cache_.max_batch(); }
    int64_t max_rows() const { return cache_.max_rows(); }
    ElementType row_type() const { return row_type_; }
    int64_t hidden() const { return embeddings_.width(); }

  private:
    struct Ports {  // places of the graph's inputs and outputs
        size_t inputs_embeds, past_length, prefix_length, logits_index, token, logprob;
        std::vector<size_t> past, fresh;  // by block of the cache
    };

    static Ports find_ports(const Engine& engine);
    static CacheLayout cache_layout(const Engine& engine, const Ports& ports, int64_t max_batch, int64_t max_rows);

    void prefill(const std::vector<Prefix>& prefixes);
    void step();
    void run(int64_t new_rows);
    void gather(const int32_t* tokens, int64_t count, int64_t index);  // their embeddings into rows from `index` on
    uint8_t* input_row(int64_t index) { return inputs_.get() + static_cast<size_t>(index) * row_bytes_; }
    void reserve(int64_t rows);  // of the inputs

    Engine& engine_;
    Device& device_;
    const EmbeddingTable& embeddings_;
    Ports ports_;
    ElementType row_type_;
    size_t row_bytes_;
    KvCache cache_;

    Memory inputs_;                       // [batch, new rows, hidden], what the engine is given
    Memory gathered_;                     // as large, of the host: where embedding rows wait to be copied
    int64_t reserved_ = 0;                // rows of either
    std::vector<int32_t> prefix_length_;  // [batch]
    std::vector<int32_t> new_count_;      // [batch]: how many of the new rows are not padding
    std::vector<int32_t> logits_index_;   // [batch]
    std::vector<int32_t> token_;          // [batch]
    std::vector<float> logprob_;          // [batch]
    int64_t batch_ = 0;
    int64_t calls_ = 0;
};

}  // namespace palijet
