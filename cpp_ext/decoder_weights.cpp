#include "decoder_weights.h"

#include "error.h"
#include "half.h"

namespace palijet {

namespace {

// Finds tensors in the file and checks them.
class Reader {
  public:
    Reader(const std::string& path, const MappedFile& file, const std::map<std::string, StoredLinear>& linears,
           const std::map<std::string, StoredTensor>& norms)
        : path_(path), file_(file), linears_(linears), norms_(norms) {}

    LinearWeights linear(const std::string& name, int64_t in, int64_t out) const {
        const auto found = linears_.find(name);
        if (found == linears_.end()) throw broken(name + " is not there");
        const StoredLinear& stored = found->second;
        LinearWeights weights;
        weights.format = format_of(name, stored);
        weights.in = in;
        weights.out = out;
        weights.data = tensor(name + ".weight", stored.weight, {in, out});
        if (weights.is_float()) return weights;
        weights.block = stored.block;
        weights.input_scale = stored.input_scale;
        if (stored.scale.dtype != "float16") throw broken(name + ".scale is " + stored.scale.dtype);
        if (stored.block == 0) {
            if (!(stored.input_scale > 0)) throw broken(name + " has no scale of its input");
            weights.scale = scales(name, stored.scale, {out});
            return weights;
        }
        if (stored.block < 32 || stored.block > 512 || stored.block % 32 != 0 || in % stored.block != 0) {
            throw broken(name + " has blocks of " + std::to_string(stored.block) + " of its " + std::to_string(in) +
                         " inputs");
        }
        if (weights.format == WeightFormat::kInt4Block && out % 2 != 0) throw broken(name + " has an odd width");
        weights.scale = scales(name, stored.scale, {in / stored.block, out});
        return weights;
    }

    std::vector<float> norm(const std::string& name, int64_t width) const {
        const auto found = norms_.find(name);
        if (found == norms_.end()) throw broken(name + " is not there");
        const StoredTensor& stored = found->second;
        const uint8_t* data = tensor(name, stored, {width});
        std::vector<float> weights(static_cast<size_t>(width));
        if (stored.dtype == "float32") {
            std::copy_n(reinterpret_cast<const float*>(data), width, weights.begin());
        } else if (stored.dtype == "float16") {
            const auto* half = reinterpret_cast<const uint16_t*>(data);
            for (int64_t i = 0; i < width; ++i) weights[static_cast<size_t>(i)] = float_from_half(half[i]);
        } else {
            throw broken(name + " is " + stored.dtype);
        }
        return weights;
    }

  private:
    BundleError broken(const std::string& what) const {
        return BundleError(path_ + ": " + what + "; export again or copy the bundle once more");
    }

    WeightFormat format_of(const std::string& name, const StoredLinear& stored) const {
        const std::string& dtype = stored.weight.dtype;
        if (dtype == "float32") return WeightFormat::kFloat32;
        if (dtype == "float16") return WeightFormat::kFloat16;
        if (dtype == "int8") return stored.block ? WeightFormat::kInt8Block : WeightFormat::kInt8;
        if (dtype == "int4" && stored.block) return WeightFormat::kInt4Block;
        throw broken(name + " is of type " + dtype);
    }

    const uint8_t* tensor(const std::string& name, const StoredTensor& stored,
                          const std::vector<int64_t>& shape) const {
        if (stored.shape != shape) throw broken(name + " has another shape than this model's");
        int64_t bits = stored.dtype == "float32" ? 32 : stored.dtype == "float16" ? 16 : stored.dtype == "int8" ? 8 : 4;
        for (const int64_t size : shape) bits *= size;
        const int64_t bytes = (bits + 7) / 8, size = static_cast<int64_t>(file_.size());
        if (stored.offset < 0 || stored.offset % 64 != 0 || bytes > size || stored.offset > size - bytes) {
            throw broken(name + " does not lie within the file");
        }
        return file_.data() + stored.offset;
    }

    const uint16_t* scales(const std::string& name, const StoredTensor& stored,
                           const std::vector<int64_t>& shape) const {
        return reinterpret_cast<const uint16_t*>(tensor(name + ".scale", stored, shape));
    }

    const std::string& path_;
    const MappedFile& file_;
    const std::map<std::string, StoredLinear>& linears_;
    const std::map<std::string, StoredTensor>& norms_;
};

}  // namespace

DecoderWeights::DecoderWeights(const std::string& path, const DecoderArithmetic& a,
                               const std::map<std::string, StoredLinear>& linears,
                               const std::map<std::string, StoredTensor>& norms)
    : file(path) {
    for (const int64_t size : {a.hidden, a.intermediate, a.heads, a.kv_heads, a.head_dim, a.vocab}) {
        if (size < 1) throw BundleError(path + ": the manifest lacks the decoder's sizes; export again");
    }
    if (a.layers() == 0 || a.heads % a.kv_heads != 0 || a.head_dim % 2 != 0) {
        throw BundleError(path + ": the manifest's sizes of the decoder do not fit each other; export again");
    }
    const Reader reader(path, file, linears, norms);
    for (size_t i = 0; i < a.layers(); ++i) {
        const std::string name = "text.layers." + std::to_string(i);
        Layer layer;
        layer.input_norm = reader.norm(name + ".input_layernorm", a.hidden);
        layer.attention_norm = reader.norm(name + ".post_attention_layernorm", a.hidden);
        if (a.has_post_norms) {
            layer.mlp_norm = reader.norm(name + ".pre_feedforward_layernorm", a.hidden);
            layer.end_norm = reader.norm(name + ".post_feedforward_layernorm", a.hidden);
        }
        layer.qkv = reader.linear(name + ".self_attn.qkv_proj", a.hidden, (a.heads + 2 * a.kv_heads) * a.head_dim);
        layer.out = reader.linear(name + ".self_attn.o_proj", a.heads * a.head_dim, a.hidden);
        layer.gate_up = reader.linear(name + ".mlp.gate_up_proj", a.hidden, 2 * a.intermediate);
        layer.down = reader.linear(name + ".mlp.down_proj", a.intermediate, a.hidden);
        layers.push_back(std::move(layer));
    }
    norm = reader.norm("text.norm", a.hidden);
    head = reader.linear("lm_head", a.hidden, a.vocab);
}

}  // namespace palijet
