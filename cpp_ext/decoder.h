// The decode loop: prefixes in, tokens out, greedily, over the KV cache.
#pragma once

#include <functional>
#include <vector>

#include "drafter.h"
#include "embedding_table.h"
#include "engine.h"
#include "kv_cache.h"
#include "step_costs.h"

namespace palijet {

// What a sequence starts from: rows that all see each other.
struct Prefix {
    const void* image_rows;  // [image_count, hidden] in the graph's element type, of the host or the engine's device
    int64_t image_count;
    const std::vector<int32_t>* prompt;  // token ids, with <bos> and the closing newline
    Drafter* drafter = nullptr;          // guesses the answer's tokens, and learns from it; or none

    int64_t length() const { return image_count + static_cast<int64_t>(prompt->size()); }
};

struct GenerateOptions {
    int64_t max_tokens = 128;
    std::vector<int32_t> stop_tokens;
    // Called for each token as it is chosen; what it throws ends generation.
    std::function<void(size_t sequence, int32_t token, float logprob)> on_token;
    // Asked before each run of an engine; true ends generation, and must stay true.
    std::function<bool()> is_cancelled;

    bool cancelled() const { return is_cancelled && is_cancelled(); }
};

enum class StopReason { kStop, kMaxTokens, kCancelled };

struct Generation {
    std::vector<int32_t> tokens;  // without the stop token
    std::vector<float> logprobs;  // of each token
    float stop_logprob = 0;       // of the stop token, where there is one
    StopReason stop_reason = StopReason::kCancelled;
    int64_t calls = 0;     // runs of the decoder's engine that this answer took part in
    int64_t drafted = 0;   // guessed tokens that were verified
    int64_t accepted = 0;  // and held
};

struct DecodeTimings {
    double prefill_ms = 0;
    double decode_ms = 0;
    int64_t calls = 0;  // runs of the decoder's engine
};

class Decoder {
  public:
    // Rows of a prefill whose next token is told at most, drafts or choices: each costs a row of logits, a megabyte.
    static constexpr int64_t kMostWanted = 128;

    // The engine's graph follows the graph contract. `max_rows`: of a sequence, prefix and answer together.
    Decoder(Engine& engine, const EmbeddingTable& embeddings, int64_t max_batch, int64_t max_rows);

    // One generation per prefix. Up to `max_batch` are decoded together; one that ends makes room for the next at once.
    // Each is what it would be alone. `timings` are added to.
    std::vector<Generation> generate(const std::vector<Prefix>& prefixes, const GenerateOptions& options,
                                     DecodeTimings& timings);

    // The log-probabilities of the tokens of each of `choices`, were it what the answer to a prefix begins with; none
    // is empty. One prefill, and a run more for each choice of several tokens. Fewer choices if it was cancelled.
    std::vector<std::vector<float>> score(const Prefix& prefix, const std::vector<std::vector<int32_t>>& choices,
                                          const GenerateOptions& options, DecodeTimings& timings);

    int64_t max_batch() const { return cache_.max_batch(); }
    int64_t max_rows() const { return cache_.max_rows(); }
    ElementType row_type() const { return row_type_; }
    int64_t hidden() const { return embeddings_.width(); }

  private:
    struct Ports {  // places of the graph's inputs and outputs
        size_t inputs_embeds, past_length, prefix_length, logits_index, target, token, logprob, target_logprob;
        std::vector<size_t> past, fresh;  // by block of the cache
    };
    struct Sequence {       // one that is being decoded
        size_t number = 0;  // among the prefixes
        const Prefix* prefix = nullptr;
        Generation* generation = nullptr;
        Draft draft;
        bool ended = false;
    };
    struct Verdict {
        int64_t kept;  // tokens of the draft
        bool goes_on;
    };

    static Ports find_ports(const Engine& engine);
    static CacheLayout cache_layout(const Engine& engine, const Ports& ports, int64_t max_batch, int64_t max_rows);

    void prefill(Sequence& sequence, const GenerateOptions& options);
    void step(const GenerateOptions& options);
    int64_t draft(const GenerateOptions& options);
    Verdict accept(Sequence& sequence, size_t first, int64_t drafted, const GenerateOptions& options);
    static bool take(Sequence& sequence, int32_t token, float logprob, const GenerateOptions& options);
    static void end(Sequence& sequence);

    void place_prefix(const Prefix& prefix);
    double run_prefill(const Prefix& prefix, int64_t rows, int64_t wanted);
    double run_step(int64_t rows, int64_t wanted);
    double run(int64_t batch, int64_t rows, int64_t wanted);
    void gather(const int32_t* tokens, int64_t count, int64_t index);  // their embeddings into rows from `index` on
    void clear(int64_t index, int64_t count);                          // rows
    uint8_t* input_row(int64_t index) { return inputs_.get() + static_cast<size_t>(index) * row_bytes_; }
    void reserve_rows(int64_t rows);  // of the inputs

    Engine& engine_;
    Device& device_;
    const EmbeddingTable& embeddings_;
    Ports ports_;
    ElementType row_type_;
    size_t row_bytes_;
    KvCache cache_;
    StepCosts costs_;

    Memory inputs_;                       // [batch, rows, hidden], what the engine is given
    Memory gathered_;                     // as large, of the host: where embedding rows wait to be copied
    int64_t reserved_ = 0;                // rows of either
    std::vector<int32_t> no_rows_;        // [1]: 0, the past of a new sequence
    std::vector<int32_t> prefix_length_;  // [batch]
    std::vector<int32_t> new_count_;      // [batch]: how many of the new rows the cache is to keep
    std::vector<int32_t> logits_index_;   // [wanted]: rows whose next token is told
    std::vector<int32_t> target_;         // [wanted]: the token whose log-probability is told
    std::vector<int32_t> token_;          // [wanted]
    std::vector<float> logprob_;          // [wanted]
    std::vector<float> target_logprob_;   // [wanted]
    std::vector<Sequence> sequences_;     // [max_batch], those that are being decoded first, numbered as in the cache
    int64_t calls_ = 0;
};

}  // namespace palijet
