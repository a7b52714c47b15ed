#include "cpu_engine.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

#include "flush_to_zero.h"

namespace palijet {

namespace {

enum Input : size_t { kEmbeds, kPastLength, kPrefixLength, kLogitsIndex, kTarget, kPast };
enum Output : size_t { kToken, kLogprob, kTargetLogprob, kNew };

constexpr int64_t kPieceRows = 512;       // that go through an MLP together: its inner rows are the widest
constexpr int64_t kSharedRows = 8;        // from which on row by row work is worth sharing
constexpr int64_t kSeen = 1024;           // logits added up together, whatever the stripe
constexpr int64_t kHeadStripe = 1 << 15;  // logits that a thread keeps at a time, over all rows

}  // namespace

CpuEngine::CpuEngine(std::shared_ptr<const DecoderWeights> weights, const DecoderArithmetic& arithmetic,
                     const CpuKernels& kernels, const CpuOptions& options)
    : weights_(std::move(weights)), arithmetic_(arithmetic), kernels_(kernels), pool_(options.threads) {
    const DecoderArithmetic& a = arithmetic_;
    inputs_ = {{"inputs_embeds", a.type, {-1, -1, a.hidden}},
               {"past_length", ElementType::kInt32, {-1}},
               {"prefix_length", ElementType::kInt32, {-1}},
               {"logits_index", ElementType::kInt32, {-1}},
               {"target", ElementType::kInt32, {-1}}};
    outputs_ = {{"token", ElementType::kInt32, {-1}},
                {"logprob", ElementType::kFloat32, {-1}},
                {"target_logprob", ElementType::kFloat32, {-1}}};
    for (size_t i = 0; i < a.layers(); ++i) {
        for (const char* part : {"key.", "value."}) {
            const std::string name = part + std::to_string(i);
            inputs_.push_back({"past_" + name, a.type, {-1, -1, a.kv_heads, a.head_dim}});
            outputs_.push_back({"new_" + name, a.type, {-1, -1, a.kv_heads, a.head_dim}});
        }
    }
    in_.resize(inputs_.size());
    out_.resize(outputs_.size());
    const auto threads = static_cast<size_t>(pool_.size());
    products_.resize(threads);
    attentions_.resize(threads);
    logits_.resize(threads);
    // As the graph counts: float32 powers of a float32 base.
    for (int64_t i = 0; i < a.head_dim; i += 2) {
        const float exponent = static_cast<float>(i) / static_cast<float>(a.head_dim);
        frequencies_.push_back(1.0f / std::pow(a.rope_base, exponent));
    }
}

// Calls work(part, first, count) for ranges of the columns, one per thread: finer pieces, taken as they come, measured
// 10 % slower at 4 bits, for weights are prefetched along a range.
template <class Work>
void CpuEngine::by_columns(int64_t columns, Work work) {
    const int64_t step = CpuKernels::kColumnStep, steps = (columns + step - 1) / step;
    pool_.run([&](int part) {
        const int64_t first = steps * part / pool_.size() * step;
        const int64_t end = std::min(columns, steps * (part + 1) / pool_.size() * step);
        if (first < end) work(part, first, end - first);
    });
}

// Calls work(row) for each row; many are shared among the threads.
template <class Work>
void CpuEngine::by_rows(int64_t count, Work work) {
    if (count < kSharedRows) {
        for (int64_t row = 0; row < count; ++row) work(row);
        return;
    }
    pool_.run([&](int part) {
        const int64_t first = count * part / pool_.size(), end = count * (part + 1) / pool_.size();
        for (int64_t row = first; row < end; ++row) work(row);
    });
}

void CpuEngine::bind_input(size_t index, const TensorView& tensor) {
    check_fits("the decoder", inputs_[index], tensor);
    in_[index] = tensor;
}

void CpuEngine::bind_output(size_t index, const TensorView& tensor) {
    check_fits("the decoder", outputs_[index], tensor);
    out_[index] = tensor;
}

CpuEngine::Call CpuEngine::read_call() const {
    const auto require = [](bool fits, const std::string& name) {
        if (!fits) throw EngineError("the decoder was given " + name + " that does not fit its other inputs");
    };
    for (size_t i = 0; i < in_.size(); ++i) {
        if (!in_[i].data) throw EngineError("the decoder: " + inputs_[i].name + " was not given");
    }
    for (size_t i = 0; i < out_.size(); ++i) {
        if (!out_[i].data) throw EngineError("the decoder: " + outputs_[i].name + " was not given");
    }
    const auto integers = [&](size_t i) { return static_cast<const int32_t*>(in_[i].data); };
    Call call{in_[kEmbeds].shape[0], in_[kEmbeds].shape[1],   in_[kPast].shape[1],    in_[kLogitsIndex].shape[0],
              integers(kPastLength), integers(kPrefixLength), integers(kLogitsIndex), integers(kTarget)};
    require(call.batch > 0 && call.rows > 0, "inputs_embeds");
    for (const size_t i : {kPastLength, kPrefixLength}) require(in_[i].shape[0] == call.batch, inputs_[i].name);
    require(in_[kTarget].shape[0] == call.wanted, "target");
    for (const size_t i : {kToken, kLogprob, kTargetLogprob})
        require(out_[i].shape[0] == call.wanted, outputs_[i].name);
    for (size_t i = kPast; i < in_.size(); ++i) {
        require(in_[i].shape[0] == call.batch && in_[i].shape[1] == call.past_rows, inputs_[i].name);
    }
    for (size_t i = kNew; i < out_.size(); ++i) {
        require(out_[i].shape[0] == call.batch && out_[i].shape[1] == call.rows, outputs_[i].name);
    }
    for (int64_t b = 0; b < call.batch; ++b) {
        require(call.past_length[b] >= 0 && call.past_length[b] <= call.past_rows, "past_length");
        require(call.prefix_length[b] >= 0 && call.prefix_length[b] <= call.rows, "prefix_length");
    }
    for (int64_t i = 0; i < call.wanted; ++i) {
        require(call.logits_index[i] >= 0 && call.logits_index[i] < call.batch * call.rows, "logits_index");
        require(call.target[i] >= 0 && call.target[i] < arithmetic_.vocab, "target");
    }
    return call;
}

void CpuEngine::run() {
    const Call call = read_call();
    const ThreadPool::Shift shift(pool_);
    const FlushToZero fast;
    embed(call);
    find_rotations(call);
    // Rows whose next token is told, each once: the last layer and the head compute no others.
    place_.assign(static_cast<size_t>(call.batch * call.rows), -1);
    wanted_.clear();
    for (int64_t i = 0; i < call.wanted; ++i) {
        int32_t& place = place_[static_cast<size_t>(call.logits_index[i])];
        if (place >= 0) continue;
        place = static_cast<int32_t>(wanted_.size());
        wanted_.push_back(call.logits_index[i]);
    }
    for (size_t i = 0; i < arithmetic_.layers(); ++i) layer(call, i, i + 1 == arithmetic_.layers());
    if (call.wanted) choose(call);
}

void CpuEngine::embed(const Call& call) {
    const int64_t count = call.batch * call.rows * arithmetic_.hidden;
    float* x = x_.reserve(count);
    if (arithmetic_.type == ElementType::kFloat16) {
        kernels_.from_half(static_cast<const uint16_t*>(in_[kEmbeds].data), count, x);
    } else {
        std::memcpy(x, in_[kEmbeds].data, static_cast<size_t>(count) * sizeof(float));
    }
}

// Angles in float32, of positions that PaliGemma counts from 1.
void CpuEngine::find_rotations(const Call& call) {
    const auto half = static_cast<int64_t>(frequencies_.size());
    float* cosine = cosine_.reserve(call.batch * call.rows * half);
    float* sine = sine_.reserve(call.batch * call.rows * half);
    by_rows(call.batch * call.rows, [&](int64_t row) {
        const auto position = static_cast<float>(call.past_length[row / call.rows] + row % call.rows + 1);
        for (int64_t i = 0; i < half; ++i) {
            const float angle = position * frequencies_[static_cast<size_t>(i)];
            cosine[row * half + i] = std::cos(angle);
            sine[row * half + i] = std::sin(angle);
        }
    });
}

void CpuEngine::layer(const Call& call, size_t index, bool is_last) {
    const DecoderArithmetic& a = arithmetic_;
    const DecoderWeights::Layer& weights = weights_->layers[index];
    const int64_t count = call.batch * call.rows, half = a.head_dim / 2;
    const int64_t key_width = a.kv_heads * a.head_dim, query_width = a.heads * a.head_dim;
    const int64_t qkv_width = query_width + 2 * key_width;

    float* normed = normed_.reserve(count * a.hidden);
    float* qkv = qkv_.reserve(count * qkv_width);
    norm(x_.get(), weights.input_norm, a.epsilon, normed, count);
    multiply(weights.qkv, prepare(weights.qkv, normed, a.hidden, count), qkv);
    by_rows(count, [&](int64_t row) {
        float* heads = qkv + row * qkv_width;
        for (int64_t head = 0; head < a.heads + a.kv_heads; ++head) {
            kernels_.rotate(heads + head * a.head_dim, cosine_.get() + row * half, sine_.get() + row * half, half);
        }
        for (const size_t part : {0, 1}) {  // keys, values
            const float* from = heads + query_width + static_cast<int64_t>(part) * key_width;
            void* to = out_[kNew + 2 * index + part].data;
            if (a.type == ElementType::kFloat16) {
                kernels_.to_half(from, key_width, static_cast<uint16_t*>(to) + row * key_width);
            } else {
                std::copy_n(from, key_width, static_cast<float*>(to) + row * key_width);
            }
        }
    });
    if (is_last && !call.wanted) return;
    attend_all(call, index);
    if (!is_last) {
        for (int64_t first = 0; first < count; first += kPieceRows) {
            rows_behind_attention(weights, x_.get() + first * a.hidden, attended_.get() + first * query_width,
                                  std::min(kPieceRows, count - first));
        }
        return;
    }
    const auto wanted = static_cast<int64_t>(wanted_.size());
    float* x = head_input_.reserve(wanted * a.hidden);
    float* attended = head_attended_.reserve(wanted * query_width);
    for (int64_t i = 0; i < wanted; ++i) {
        const int64_t row = wanted_[static_cast<size_t>(i)];
        std::copy_n(x_.get() + row * a.hidden, a.hidden, x + i * a.hidden);
        std::copy_n(attended_.get() + row * query_width, query_width, attended + i * query_width);
    }
    for (int64_t first = 0; first < wanted; first += kPieceRows) {
        rows_behind_attention(weights, x + first * a.hidden, attended + first * query_width,
                              std::min(kPieceRows, wanted - first));
    }
}

// Pieces of work are some queries of one sequence and one head of the keys; the queries of a group of heads share
// those.
void CpuEngine::attend_all(const Call& call, size_t index) {
    const DecoderArithmetic& a = arithmetic_;
    const int64_t group = a.heads / a.kv_heads, key_width = a.kv_heads * a.head_dim;
    const int64_t query_width = a.heads * a.head_dim, qkv_width = query_width + 2 * key_width;
    const int64_t queries_of_head = call.rows * group, heads = call.batch * a.kv_heads;
    // As many as share the work of laying out the keys, but not so many that a thread is left without.
    const int64_t share = (queries_of_head * heads + pool_.size() - 1) / pool_.size();
    const int64_t piece_queries = std::clamp<int64_t>(share, 1, kQueryBlock);
    const int64_t pieces_of_head = (queries_of_head + piece_queries - 1) / piece_queries;
    const int64_t pieces = heads * pieces_of_head;
    const auto element = static_cast<int64_t>(size_of(a.type));
    float* attended = attended_.reserve(call.batch * call.rows * query_width);
    const int64_t window = a.windows[index];

    const auto work = [&](int64_t piece, AttentionScratch& scratch) {
        const int64_t kv_head = piece / pieces_of_head % a.kv_heads;
        const int64_t b = piece / pieces_of_head / a.kv_heads;
        const int64_t past = call.past_length[b], prefix = call.prefix_length[b];
        const auto at = [&](const void* data, int64_t rows) -> const void* {
            return static_cast<const uint8_t*>(data) + (b * rows * key_width + kv_head * a.head_dim) * element;
        };
        const KeyValueRows rows{at(in_[kPast + 2 * index].data, call.past_rows),
                                at(in_[kPast + 2 * index + 1].data, call.past_rows),
                                at(out_[kNew + 2 * index].data, call.rows),
                                at(out_[kNew + 2 * index + 1].data, call.rows),
                                past,
                                key_width,
                                a.type};
        const float* queries[kQueryBlock];
        float* out[kQueryBlock];
        Visible visible[kQueryBlock];
        const int64_t first = piece % pieces_of_head * piece_queries;
        const int64_t count = std::min(piece_queries, queries_of_head - first);
        for (int64_t i = 0; i < count; ++i) {
            const int64_t t = (first + i) / group, head = kv_head * group + (first + i) % group;
            // The prefix sees itself whole, whatever the window.
            const bool in_prefix = t < prefix;
            Visible& seen = visible[i];
            seen = {0, past + (in_prefix ? prefix : t + 1)};
            if (window) seen.first = std::max<int64_t>(0, past + t + 1 - window);
            if (window && in_prefix) seen.first = std::min(seen.first, past);
            const int64_t row = b * call.rows + t;
            queries[i] = qkv_.get() + row * qkv_width + head * a.head_dim;
            out[i] = attended + row * query_width + head * a.head_dim;
        }
        attend(kernels_, {a.head_dim, a.attention_scale, a.attention_cap}, rows, queries, visible, count, out, scratch);
    };
    std::atomic<int64_t> next{0};
    pool_.run([&](int part) {
        for (int64_t piece = next++; piece < pieces; piece = next++) {
            work(piece, attentions_[static_cast<size_t>(part)]);
        }
    });
}

// x: [count, hidden], attended: [count, heads * head_dim].
void CpuEngine::rows_behind_attention(const DecoderWeights::Layer& layer, float* x, const float* attended,
                                      int64_t count) {
    float* branch = branch_.reserve(count * arithmetic_.hidden);
    multiply(layer.out, prepare(layer.out, attended, arithmetic_.heads * arithmetic_.head_dim, count), branch);
    add_branch(x, branch, arithmetic_.has_post_norms ? &layer.attention_norm : nullptr, count);
    mlp(layer, x, count);
}

void CpuEngine::mlp(const DecoderWeights::Layer& layer, float* x, int64_t count) {
    const DecoderArithmetic& a = arithmetic_;
    const int64_t inner = a.intermediate;
    float* normed = normed_.reserve(count * a.hidden);
    norm(x, a.has_post_norms ? layer.mlp_norm : layer.attention_norm, a.epsilon, normed, count);
    const LinearInput input = prepare(layer.gate_up, normed, a.hidden, count);
    float* gated = gated_.reserve(count * 2 * inner);
    // A thread makes the gate and what it gates of the same columns, so that it can go on with them at once.
    by_columns(inner, [&](int part, int64_t first, int64_t columns) {
        MatMulScratch& scratch = products_[static_cast<size_t>(part)];
        float* gate = gated + first;
        kernels_.multiply(layer.gate_up, input, first, columns, gate, 2 * inner, scratch);
        kernels_.multiply(layer.gate_up, input, inner + first, columns, gate + inner, 2 * inner, scratch);
        for (int64_t row = 0; row < count; ++row) {
            float* here = gate + row * 2 * inner;
            kernels_.gated_gelu(here, here + inner, columns, a.exact_gelu, here);
        }
    });
    float* branch = branch_.reserve(count * a.hidden);
    multiply(layer.down, prepare(layer.down, gated, 2 * inner, count), branch);
    add_branch(x, branch, a.has_post_norms ? &layer.end_norm : nullptr, count);
}

// The tokens that follow the wanted rows; a thread looks through its part of the vocabulary.
void CpuEngine::choose(const Call& call) {
    const DecoderArithmetic& a = arithmetic_;
    const auto rows = static_cast<int64_t>(wanted_.size());
    float* x = head_input_.get();
    norm(x, weights_->norm, a.epsilon, x, rows);
    const LinearInput input = prepare(weights_->head, x, a.hidden, rows);
    const Best nothing{-std::numeric_limits<float>::infinity(), 0, 0};
    best_.assign(static_cast<size_t>(pool_.size() * rows), nothing);
    float* target_logits = target_logits_.reserve(call.wanted);
    const int64_t stripe = std::max<int64_t>(1, kHeadStripe / rows / kSeen) * kSeen;
    by_columns(a.vocab, [&](int part, int64_t start, int64_t count) {
        float* logits = logits_[static_cast<size_t>(part)].reserve(rows * stripe);
        for (int64_t first = start; first < start + count; first += stripe) {
            const int64_t columns = std::min(stripe, start + count - first);
            kernels_.multiply(weights_->head, input, first, columns, logits, stripe,
                              products_[static_cast<size_t>(part)]);
            if (a.logit_cap != 0) {
                for (int64_t row = 0; row < rows; ++row) kernels_.soft_cap(logits + row * stripe, columns, a.logit_cap);
            }
            for (int64_t i = 0; i < call.wanted; ++i) {
                const int64_t column = call.target[i] - first;
                if (column < 0 || column >= columns) continue;
                target_logits[i] = logits[place_[static_cast<size_t>(call.logits_index[i])] * stripe + column];
            }
            for (int64_t row = 0; row < rows; ++row) {
                Best& best = best_[static_cast<size_t>(part * rows + row)];
                for (int64_t seen = 0; seen < columns; seen += kSeen) {
                    see(logits + row * stripe + seen, first + seen, std::min(kSeen, columns - seen), best);
                }
            }
        }
    });
    for (int64_t i = 0; i < call.wanted; ++i) {
        const auto row = static_cast<size_t>(place_[static_cast<size_t>(call.logits_index[i])]);
        Best all = nothing;
        for (int part = 0; part < pool_.size(); ++part) {
            const Best& here = best_[static_cast<size_t>(part) * static_cast<size_t>(rows) + row];
            if (here.total == 0) continue;
            if (here.logit == all.logit) all.token = std::min(all.token, here.token);  // of equals the first wins
            if (here.logit > all.logit) {
                all.total = all.total * std::exp(static_cast<double>(all.logit) - here.logit) + here.total;
                all.logit = here.logit;
                all.token = here.token;
            } else {
                all.total += here.total * std::exp(static_cast<double>(here.logit) - all.logit);
            }
        }
        const double log_total = std::log(all.total);
        static_cast<int32_t*>(out_[kToken].data)[i] = all.token;
        static_cast<float*>(out_[kLogprob].data)[i] = static_cast<float>(-log_total);
        static_cast<float*>(out_[kTargetLogprob].data)[i] =
            static_cast<float>(static_cast<double>(target_logits[i]) - all.logit - log_total);
    }
}

// logits: of the `count` tokens from `first` on; they are used up.
void CpuEngine::see(float* logits, int64_t first, int64_t count, Best& best) const {
    const float highest = kernels_.highest(logits, count);
    if (highest > best.logit) {
        const float* at = std::find(logits, logits + count, highest);
        best.total *= std::exp(static_cast<double>(best.logit) - highest);
        best.logit = highest;
        best.token = static_cast<int32_t>(first + (at - logits));
    }
    best.total += kernels_.exponentiate(logits, count, best.logit);
}

void CpuEngine::norm(const float* x, const std::vector<float>& weight, float epsilon, float* out, int64_t count) {
    const int64_t width = arithmetic_.hidden;
    by_rows(count,
            [&](int64_t row) { kernels_.rms_norm(x + row * width, weight.data(), width, epsilon, out + row * width); });
}

// Rows x: [count, stride] as the weights want them.
LinearInput CpuEngine::prepare(const LinearWeights& weights, const float* x, int64_t stride, int64_t count) {
    LinearInput input;
    input.count = count;
    if (weights.is_float()) {
        input.rows = x;
        input.rows_stride = stride;
        return input;
    }
    const int64_t in = weights.in, segment = weights.block ? weights.block : kSegment;
    const int64_t segments = (in + segment - 1) / segment;
    input.stride = (in + 3) / 4 * 4;
    input.segment = segment;
    int8_t* values = integers_.reserve(count * input.stride);
    float* scales = integer_scales_.reserve(count * segments);
    int32_t* sums = integer_sums_.reserve(count * segments);
    input.integers = values;
    input.scales = scales;
    input.sums = sums;
    by_rows(count, [&](int64_t row) {
        const float* from = x + row * stride;
        int8_t* to = values + row * input.stride;
        if (weights.block) {
            kernels_.quantize_blocks(from, in, segment, to, scales + row * segments, sums + row * segments);
        } else {
            kernels_.quantize(from, in, segment, weights.input_scale, to, sums + row * segments);
        }
        std::fill(to + in, to + input.stride, int8_t{0});
    });
    return input;
}

// out: [count, weights.out].
void CpuEngine::multiply(const LinearWeights& weights, const LinearInput& input, float* out) {
    by_columns(weights.out, [&](int part, int64_t first, int64_t columns) {
        kernels_.multiply(weights, input, first, columns, out + first, weights.out,
                          products_[static_cast<size_t>(part)]);
    });
}

// x += branch, which Gemma 2 normalises first.
void CpuEngine::add_branch(float* x, float* branch, const std::vector<float>* post_norm, int64_t count) {
    const int64_t width = arithmetic_.hidden;
    by_rows(count, [&](int64_t row) {
        float* part = branch + row * width;
        if (post_norm) kernels_.rms_norm(part, post_norm->data(), width, arithmetic_.post_epsilon, part);
        kernels_.add(x + row * width, part, width);
    });
}

}  // namespace palijet
