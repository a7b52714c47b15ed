// The decoder's weights and arithmetic, as the manifest tells them: what an engine that reads no graph computes from.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "linear_weights.h"
#include "mapped_file.h"
#include "tensor.h"

namespace palijet {

struct DecoderArithmetic {
    int64_t hidden = 0;
    int64_t intermediate = 0;
    int64_t heads = 0;
    int64_t kv_heads = 0;
    int64_t head_dim = 0;
    int64_t vocab = 0;
    ElementType type = ElementType::kFloat32;  // of rows, keys and values as the graph has them
    float epsilon = 0;                         // of the norms that read the residual stream
    float post_epsilon = 0;                    // of those at the end of a branch, where there are any
    bool has_post_norms = false;
    float rope_base = 0;
    float attention_scale = 0;
    float attention_cap = 0;  // 0: none
    float logit_cap = 0;
    bool exact_gelu = false;
    std::vector<int64_t> windows;  // by layer: rows that attention reaches back, 0: all

    size_t layers() const { return windows.size(); }
};

// Where a tensor lies in the file.
struct StoredTensor {
    std::string dtype;  // "float32", "float16", "int8" or "int4"
    std::vector<int64_t> shape;
    int64_t offset = 0;  // bytes
};

struct StoredLinear {
    StoredTensor weight;  // [in, out]
    StoredTensor scale;   // of integers; of a weight in floats it has no shape
    int64_t block = 0;
    float input_scale = 0;
};

struct DecoderWeights {
    struct Layer {
        std::vector<float> input_norm, attention_norm, mlp_norm, end_norm;  // [hidden]; Gemma has the first two
        LinearWeights qkv, out, gate_up, down;
    };

    // Throws BundleError where a tensor is missing, of another shape or not within the file.
    DecoderWeights(const std::string& path, const DecoderArithmetic& arithmetic,
                   const std::map<std::string, StoredLinear>& linears,
                   const std::map<std::string, StoredTensor>& norms);

    std::vector<Layer> layers;
    std::vector<float> norm;  // [hidden], before the head
    LinearWeights head;
    MappedFile file;
};

}  // namespace palijet
