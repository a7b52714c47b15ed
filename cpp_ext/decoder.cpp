#include "decoder.h"

#include <algorithm>
#include <string>

#include "stopwatch.h"

namespace palijet {

namespace {

// Rows of a sequence in one step: few numbers, so that an engine meets few shapes.
constexpr int64_t kStepRows[] = {1, 2, 4, 8, Drafter::kMostTokens + 1};

}  // namespace

Decoder::Decoder(Engine& engine, const EmbeddingTable& embeddings, int64_t max_batch, int64_t max_rows)
    : engine_(engine),
      device_(engine.device()),
      embeddings_(embeddings),
      ports_(find_ports(engine)),
      row_type_(engine.inputs()[ports_.inputs_embeds].type),
      row_bytes_(static_cast<size_t>(embeddings.width()) * size_of(row_type_)),
      cache_(cache_layout(engine, ports_, max_batch, max_rows), device_),
      no_rows_(1),
      prefix_length_(static_cast<size_t>(max_batch)),
      new_count_(static_cast<size_t>(max_batch)),
      sequences_(static_cast<size_t>(max_batch)) {
    if (engine.inputs()[ports_.inputs_embeds].shape.back() != embeddings.width()) {
        throw EngineError("the decoder's hidden size is not the embeddings'; export again");
    }
    for (Sequence& sequence : sequences_) {
        sequence.draft.tokens.reserve(static_cast<size_t>(max_rows));
        sequence.draft.kinds.reserve(static_cast<size_t>(max_rows));
    }
    reserve_rows(max_rows);
    const auto wanted = static_cast<size_t>(std::max(kMostWanted, max_batch * (Drafter::kMostTokens + 1)));
    logits_index_.resize(wanted);
    target_.resize(wanted);
    token_.resize(wanted);
    logprob_.resize(wanted);
    target_logprob_.resize(wanted);
}

Decoder::Ports Decoder::find_ports(const Engine& engine) {
    const auto input = [&](const std::string& name) { return index_of(engine.inputs(), name); };
    const auto output = [&](const std::string& name) { return index_of(engine.outputs(), name); };
    Ports ports{input("inputs_embeds"),
                input("past_length"),
                input("prefix_length"),
                input("logits_index"),
                input("target"),
                output("token"),
                output("logprob"),
                output("target_logprob"),
                {},
                {}};
    const size_t layers = (engine.inputs().size() - 5) / 2;
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
    int64_t longest = 0;
    for (size_t i = 0; i < prefixes.size(); ++i) {
        generations[i].tokens.reserve(static_cast<size_t>(options.max_tokens));  // so that no step allocates
        generations[i].logprobs.reserve(static_cast<size_t>(options.max_tokens));
        longest = std::max(longest, prefixes[i].length());
    }
    const int64_t most = std::min(static_cast<int64_t>(prefixes.size()), max_batch());
    // The last token of an answer is never fed back.
    cache_.start(most, longest + std::max<int64_t>(options.max_tokens - 1, 0));

    calls_ = 0;
    Stopwatch watch;
    for (size_t next = 0;;) {
        const bool has_room = next < prefixes.size() && cache_.batch() < most;
        if ((!has_room && !cache_.batch()) || options.cancelled()) break;
        if (has_room) {
            Sequence& sequence = sequences_[static_cast<size_t>(cache_.batch())];
            sequence.number = next;
            sequence.prefix = &prefixes[next];
            sequence.generation = &generations[next];
            ++next;
            prefill(sequence, options);
            timings.prefill_ms += watch.lap_ms();
        } else {
            step(options);
            timings.decode_ms += watch.lap_ms();
        }
    }
    timings.calls += calls_;
    return generations;
}

// Image rows, prompt rows, draft rows. The new sequence is the cache's last.
void Decoder::prefill(Sequence& sequence, const GenerateOptions& options) {
    const Prefix& prefix = *sequence.prefix;
    const int64_t length = prefix.length();
    Draft& draft = sequence.draft;
    draft.clear();
    // The token that ends an answer by its length is chosen, not fed.
    const int64_t most = std::min(options.max_tokens, kMostWanted) - 1;
    if (prefix.drafter) prefix.drafter->begin(*prefix.prompt, most, costs_, draft);
    const auto drafted = static_cast<int64_t>(draft.size());

    place_prefix(prefix);
    gather(draft.tokens.data(), drafted, length);
    for (int64_t i = 0; i <= drafted; ++i) {
        logits_index_[static_cast<size_t>(i)] = static_cast<int32_t>(length - 1 + i);
    }
    const double ms = run_prefill(prefix, length + drafted, 1 + drafted);
    costs_.observe_prefill(length + drafted, ms);

    ++sequence.generation->calls;
    const int64_t number = cache_.batch() - 1;
    const Verdict verdict = accept(sequence, 0, drafted, options);
    if (prefix.drafter) {
        const double step_ms = costs_.step_ms(1).value_or(0);
        const double plain_ms = ms - static_cast<double>(drafted) * costs_.prefill_row_ms();
        prefix.drafter->account(ms, plain_ms + static_cast<double>(verdict.kept) * step_ms);
    }
    if (verdict.goes_on) {
        cache_.begin(number, length + verdict.kept);
    } else {
        end(sequence);
        cache_.remove(number);
    }
}

// For each sequence the token chosen last, what it is guessed to go on with, and padding on the right: that is causal,
// so nobody sees it, and it is not appended.
void Decoder::step(const GenerateOptions& options) {
    const int64_t batch = cache_.batch();
    const int64_t rows = draft(options);
    const int64_t wanted = batch * rows;
    reserve_rows(wanted);
    for (int64_t b = 0; b < batch; ++b) {
        const Sequence& sequence = sequences_[static_cast<size_t>(b)];
        const int64_t drafted = std::min(rows - 1, static_cast<int64_t>(sequence.draft.size()));
        gather(&sequence.generation->tokens.back(), 1, b * rows);
        gather(sequence.draft.tokens.data(), drafted, b * rows + 1);
        clear(b * rows + 1 + drafted, rows - 1 - drafted);
        prefix_length_[static_cast<size_t>(b)] = 0;
    }
    for (int64_t i = 0; i < wanted; ++i) logits_index_[static_cast<size_t>(i)] = static_cast<int32_t>(i);
    const double ms = run_step(rows, wanted);
    costs_.observe_step(wanted, ms);

    const double plain_ms = costs_.step_ms(batch).value_or(ms);
    const double cost_ms = costs_.step_ms(wanted).value_or(ms);
    std::vector<int32_t>& kept = new_count_;
    for (int64_t b = 0; b < batch; ++b) {
        Sequence& sequence = sequences_[static_cast<size_t>(b)];
        ++sequence.generation->calls;
        const int64_t drafted = std::min(rows - 1, static_cast<int64_t>(sequence.draft.size()));
        const Verdict verdict = accept(sequence, static_cast<size_t>(b * rows), drafted, options);
        kept[static_cast<size_t>(b)] = static_cast<int32_t>(verdict.goes_on ? 1 + verdict.kept : 0);
        sequence.ended = !verdict.goes_on;
        if (Drafter* drafter = sequence.prefix->drafter) {
            const double share = 1.0 / static_cast<double>(batch);
            drafter->account(cost_ms * share, plain_ms * share * static_cast<double>(1 + verdict.kept));
        }
    }
    cache_.append(kept, rows);
    for (int64_t b = batch - 1; b >= 0; --b) {
        Sequence& sequence = sequences_[static_cast<size_t>(b)];
        if (!sequence.ended) continue;
        end(sequence);
        cache_.remove(b);
        std::swap(sequence, sequences_[static_cast<size_t>(cache_.batch())]);
    }
}

// Has every sequence's drafter guess, and weighs what so many rows bring against what they cost. Returns the rows of
// the step; a sequence verifies as much of its draft as they take.
int64_t Decoder::draft(const GenerateOptions& options) {
    const int64_t batch = cache_.batch();
    int64_t longest = 0;
    bool adaptive = true;
    for (int64_t b = 0; b < batch; ++b) {
        Sequence& sequence = sequences_[static_cast<size_t>(b)];
        Drafter* drafter = sequence.prefix->drafter;
        sequence.draft.clear();
        if (!drafter) continue;
        const auto chosen = static_cast<int64_t>(sequence.generation->tokens.size());
        const int64_t room = options.max_tokens - chosen - 1;
        drafter->propose(sequence.generation->tokens, std::min(room, Drafter::kMostTokens), sequence.draft);
        longest = std::max(longest, static_cast<int64_t>(sequence.draft.size()));
        adaptive = adaptive && drafter->is_adaptive();
    }
    if (!adaptive) {
        return *std::find_if(std::begin(kStepRows), std::end(kStepRows), [&](int64_t rows) { return rows > longest; });
    }
    const auto plain_ms = costs_.step_ms(batch);
    if (!plain_ms) return 1;  // to be measured first
    int64_t best = 1;
    double best_rate = static_cast<double>(batch) / *plain_ms;  // tokens per millisecond
    for (const int64_t rows : kStepRows) {
        const auto cost_ms = costs_.step_ms(batch * rows);
        if (rows == 1 || rows / 2 > longest || !cost_ms) continue;
        double tokens = 0;
        bool may_lose = true;
        for (int64_t b = 0; b < batch; ++b) {
            const Sequence& sequence = sequences_[static_cast<size_t>(b)];
            ++tokens;
            if (!sequence.prefix->drafter || !sequence.draft.size()) continue;
            tokens += sequence.prefix->drafter->expected(sequence.draft, rows - 1);
            may_lose =
                may_lose && sequence.prefix->drafter->may_lose((*cost_ms - *plain_ms) / static_cast<double>(batch));
        }
        if (may_lose && tokens / *cost_ms > best_rate) {
            best = rows;
            best_rate = tokens / *cost_ms;
        }
    }
    return best;
}

// Goes down the rows from `first` on, each of which says what follows the one before, as long as the draft holds.
Decoder::Verdict Decoder::accept(Sequence& sequence, size_t first, int64_t drafted, const GenerateOptions& options) {
    const Draft& draft = sequence.draft;
    Verdict verdict{0, true};
    for (;; ++verdict.kept) {
        const size_t row = first + static_cast<size_t>(verdict.kept);
        verdict.goes_on = take(sequence, token_[row], logprob_[row], options);
        if (!verdict.goes_on || verdict.kept == drafted) break;
        if (draft.tokens[static_cast<size_t>(verdict.kept)] != token_[row]) break;
    }
    sequence.generation->drafted += drafted;
    sequence.generation->accepted += verdict.kept;
    if (sequence.prefix->drafter) sequence.prefix->drafter->learn(draft, &token_[first], verdict.kept);
    return verdict;
}

// The token just chosen; whether the sequence goes on.
bool Decoder::take(Sequence& sequence, int32_t token, float logprob, const GenerateOptions& options) {
    Generation& generation = *sequence.generation;
    if (std::find(options.stop_tokens.begin(), options.stop_tokens.end(), token) != options.stop_tokens.end()) {
        generation.stop_reason = StopReason::kStop;
        generation.stop_logprob = logprob;
        return false;
    }
    generation.tokens.push_back(token);
    generation.logprobs.push_back(logprob);
    if (options.on_token) options.on_token(sequence.number, token, logprob);
    if (static_cast<int64_t>(generation.tokens.size()) < options.max_tokens) return true;
    generation.stop_reason = StopReason::kMaxTokens;
    return false;
}

void Decoder::end(Sequence& sequence) {
    if (sequence.prefix->drafter) sequence.prefix->drafter->end(sequence.generation->tokens);
}

std::vector<std::vector<float>> Decoder::score(const Prefix& prefix, const std::vector<std::vector<int32_t>>& choices,
                                               const GenerateOptions& options, DecodeTimings& timings) {
    if (static_cast<int64_t>(choices.size()) > kMostWanted) {
        throw InputError(std::to_string(choices.size()) + " choices are more than the " + std::to_string(kMostWanted) +
                         " that can be weighed at once; give fewer");
    }
    std::vector<std::vector<float>> scores;
    size_t longest = 0;
    for (const auto& choice : choices) longest = std::max(longest, choice.size());
    const int64_t length = prefix.length();
    cache_.start(1, length + static_cast<int64_t>(longest));
    if (options.cancelled()) return scores;

    calls_ = 0;
    Stopwatch watch;
    const auto wanted = static_cast<int64_t>(choices.size());
    place_prefix(prefix);
    for (size_t i = 0; i < choices.size(); ++i) {  // one row, many questions
        logits_index_[i] = static_cast<int32_t>(length - 1);
        target_[i] = choices[i][0];
    }
    run_prefill(prefix, length, wanted);
    cache_.begin(0, length);
    for (int64_t i = 0; i < wanted; ++i) scores.push_back({target_logprob_[static_cast<size_t>(i)]});
    timings.prefill_ms += watch.lap_ms();

    constexpr int64_t kMostRows = Drafter::kMostTokens + 1;
    for (size_t i = 0; i < choices.size(); ++i) {
        const std::vector<int32_t>& choice = choices[i];
        const auto fed = static_cast<int64_t>(choice.size()) - 1;
        for (int64_t first = 0; first < fed; first += kMostRows) {
            if (options.cancelled()) {
                scores.resize(i);
                return scores;
            }
            const int64_t rows = std::min(kMostRows, fed - first);
            const int32_t* tokens = choice.data() + first;
            gather(tokens, rows, 0);
            prefix_length_[0] = 0;
            for (int64_t row = 0; row < rows; ++row) {
                logits_index_[static_cast<size_t>(row)] = static_cast<int32_t>(row);
                target_[static_cast<size_t>(row)] = tokens[row + 1];
            }
            run_step(rows, rows);
            new_count_[0] = static_cast<int32_t>(rows);
            cache_.append(new_count_, rows);
            scores[i].insert(scores[i].end(), target_logprob_.begin(), target_logprob_.begin() + rows);
        }
        cache_.rewind(0, static_cast<int32_t>(length));
    }
    timings.decode_ms += watch.lap_ms();
    timings.calls += calls_;
    return scores;
}

// Puts the rows of the image and the prompt where the engine reads them.
void Decoder::place_prefix(const Prefix& prefix) {
    reserve_rows(max_rows());
    device_.copy(input_row(0), prefix.image_rows, static_cast<size_t>(prefix.image_count) * row_bytes_);
    gather(prefix.prompt->data(), static_cast<int64_t>(prefix.prompt->size()), prefix.image_count);
}

// The first rows of a new sequence, which is added to the cache.
double Decoder::run_prefill(const Prefix& prefix, int64_t rows, int64_t wanted) {
    const int64_t number = cache_.add();
    prefix_length_[0] = static_cast<int32_t>(prefix.length());
    engine_.bind_input(ports_.past_length, {no_rows_.data(), ElementType::kInt32, {1}});
    for (size_t block = 0; block < cache_.blocks(); ++block) {
        engine_.bind_input(ports_.past[block], cache_.no_past());
        engine_.bind_output(ports_.fresh[block], cache_.first_rows(block, number, rows));
    }
    return run(1, rows, wanted);
}

// More rows of every sequence of the cache.
double Decoder::run_step(int64_t rows, int64_t wanted) {
    engine_.bind_input(ports_.past_length, cache_.lengths());
    for (size_t block = 0; block < cache_.blocks(); ++block) {
        engine_.bind_input(ports_.past[block], cache_.past(block));
        engine_.bind_output(ports_.fresh[block], cache_.fresh(block, rows));
    }
    return run(cache_.batch(), rows, wanted);
}

// Returns how long it took.
double Decoder::run(int64_t batch, int64_t rows, int64_t wanted) {
    const auto bind_wanted = [&](size_t port, std::vector<int32_t>& values) {
        engine_.bind_input(port, {values.data(), ElementType::kInt32, {wanted}});
    };
    Stopwatch watch;
    engine_.bind_input(ports_.inputs_embeds, {inputs_.get(), row_type_, {batch, rows, hidden()}, device_.place()});
    engine_.bind_input(ports_.prefix_length, {prefix_length_.data(), ElementType::kInt32, {batch}});
    bind_wanted(ports_.logits_index, logits_index_);
    bind_wanted(ports_.target, target_);
    engine_.bind_output(ports_.token, {token_.data(), ElementType::kInt32, {wanted}});
    engine_.bind_output(ports_.logprob, {logprob_.data(), ElementType::kFloat32, {wanted}});
    engine_.bind_output(ports_.target_logprob, {target_logprob_.data(), ElementType::kFloat32, {wanted}});
    engine_.run();
    ++calls_;
    return watch.lap_ms();
}

void Decoder::gather(const int32_t* tokens, int64_t count, int64_t index) {
    if (!count) return;
    uint8_t* rows = gathered_.get() + static_cast<size_t>(index) * row_bytes_;
    for (int64_t i = 0; i < count; ++i) {
        embeddings_.gather(tokens[i], row_type_, rows + static_cast<size_t>(i) * row_bytes_);
    }
    device_.copy(input_row(index), rows, static_cast<size_t>(count) * row_bytes_);
}

void Decoder::clear(int64_t index, int64_t count) {
    if (count) device_.clear_rows(input_row(index), row_bytes_, row_bytes_, static_cast<size_t>(count));
}

void Decoder::reserve_rows(int64_t rows) {
    if (rows <= reserved_) return;
    const size_t bytes = static_cast<size_t>(rows) * row_bytes_;
    inputs_ = device_.allocate(bytes);
    gathered_ = device_.allocate_host(bytes);
    reserved_ = rows;
}

}  // namespace palijet
