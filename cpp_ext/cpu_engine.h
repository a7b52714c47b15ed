// The decoder on the CPU by kernels of our own: Gemma (arXiv:2403.08295) and Gemma 2 (arXiv:2408.00118) over the
// weights where the bundle has them. Follows the graph contract, so that it stands in for the decoder's graph.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "attention.h"
#include "cpu_kernels.h"
#include "decoder_weights.h"
#include "engine.h"
#include "thread_pool.h"

namespace palijet {

struct CpuOptions {
    int threads = 0;  // 0: as many as there are physical cores
};

// Weights are read from the file's pages and nowhere else, nothing is repacked, and no memory is taken by a run whose
// shapes were there before. A row's keys, values and tokens are the same, bit for bit, however many rows are computed
// with it: so drafts and batches change nothing.
class CpuEngine final : public Engine {
  public:
    CpuEngine(std::shared_ptr<const DecoderWeights> weights, const DecoderArithmetic& arithmetic,
              const CpuKernels& kernels, const CpuOptions& options);

    const std::vector<TensorInfo>& inputs() const override { return inputs_; }
    const std::vector<TensorInfo>& outputs() const override { return outputs_; }
    void bind_input(size_t index, const TensorView& tensor) override;
    void bind_output(size_t index, const TensorView& tensor) override;
    void run() override;

    const CpuKernels& kernels() const { return kernels_; }

  private:
    // A call's shapes and inputs.
    struct Call {
        int64_t batch, rows, past_rows, wanted;
        const int32_t *past_length, *prefix_length, *logits_index, *target;
    };
    struct Best {  // of the vocabulary, as far as it was seen
        float logit;
        int32_t token;
        double total;  // the sum of exp(logit - the best)
    };

    Call read_call() const;
    void embed(const Call& call);
    void find_rotations(const Call& call);
    void layer(const Call& call, size_t index, bool is_last);
    void attend_all(const Call& call, size_t index);
    void rows_behind_attention(const DecoderWeights::Layer& layer, float* x, const float* attended, int64_t count);
    void mlp(const DecoderWeights::Layer& layer, float* x, int64_t count);
    void choose(const Call& call);
    void see(float* logits, int64_t first, int64_t count, Best& best) const;

    void norm(const float* x, const std::vector<float>& weight, float epsilon, float* out, int64_t count);
    LinearInput prepare(const LinearWeights& weights, const float* x, int64_t stride, int64_t count);
    void multiply(const LinearWeights& weights, const LinearInput& input, float* out);
    void add_branch(float* x, float* branch, const std::vector<float>* post_norm, int64_t count);

    template <class Work>
    void by_rows(int64_t count, Work work);  // work(row), shared among the threads
    template <class Work>
    void by_columns(int64_t columns, Work work);  // work(part, first, count)

    std::shared_ptr<const DecoderWeights> weights_;
    DecoderArithmetic arithmetic_;
    const CpuKernels& kernels_;
    ThreadPool pool_;
    std::vector<TensorInfo> inputs_, outputs_;
    std::vector<TensorView> in_, out_;

    std::vector<float> frequencies_;      // [head_dim / 2]
    AlignedBuffer<float> x_;              // [batch * rows, hidden]: the residual stream
    AlignedBuffer<float> normed_;         // [batch * rows, hidden]
    AlignedBuffer<float> qkv_;            // [batch * rows, (heads + 2 kv_heads) * head_dim]
    AlignedBuffer<float> attended_;       // [batch * rows, heads * head_dim]
    AlignedBuffer<float> branch_;         // [batch * rows, hidden]
    AlignedBuffer<float> gated_;          // [rows of a piece, 2 * intermediate]
    AlignedBuffer<float> cosine_, sine_;  // [batch * rows, head_dim / 2]
    AlignedBuffer<int8_t> integers_;      // of a linear layer's input, see LinearInput
    AlignedBuffer<float> integer_scales_;
    AlignedBuffer<int32_t> integer_sums_;
    std::vector<MatMulScratch> products_;       // by part
    std::vector<AttentionScratch> attentions_;  // by part
    std::vector<AlignedBuffer<float>> logits_;  // by part: [wanted rows, a stripe]
    std::vector<int32_t> wanted_;               // rows whose next token is told, each once
    std::vector<int32_t> place_;                // [batch * rows]: where a row is among them
    std::vector<Best> best_;                    // [part, wanted row]
    AlignedBuffer<float> target_logits_;        // [wanted]
    AlignedBuffer<float> head_input_;           // [wanted rows, hidden]
    AlignedBuffer<float> head_attended_;        // [wanted rows, heads * head_dim]
};

}  // namespace palijet
