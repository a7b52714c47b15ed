#include "embedding_table.h"

#include "error.h"
#include "half.h"

namespace palijet {

namespace {

// A loop for each pair of types, which the compiler can vectorize.
template <class Stored, class Widen>
void write_scaled(const Stored* stored, Widen widen, int64_t width, float scale, ElementType type, void* row) {
    if (type == ElementType::kFloat16) {
        auto* out = static_cast<uint16_t*>(row);
        for (int64_t i = 0; i < width; ++i) out[i] = half_from_float(widen(stored[i]) * scale);
    } else {
        auto* out = static_cast<float*>(row);
        for (int64_t i = 0; i < width; ++i) out[i] = widen(stored[i]) * scale;
    }
}

}  // namespace

StoredType stored_type(const std::string& name) {
    if (name == "float32") return StoredType::kFloat32;
    if (name == "float16") return StoredType::kFloat16;
    if (name == "bfloat16") return StoredType::kBFloat16;
    throw InputError("embeddings of type " + name + " are not known; give float32, float16 or bfloat16");
}

EmbeddingTable::EmbeddingTable(const std::string& path, const EmbeddingLayout& layout) : layout_(layout), file_(path) {
    const size_t bytes =
        static_cast<size_t>(layout.rows * layout.width) * (layout.type == StoredType::kFloat32 ? 4 : 2);
    if (bytes == 0 || file_.size() != bytes) {
        throw BundleError(path + " has " + std::to_string(file_.size()) + " bytes where its manifest asks for " +
                          std::to_string(bytes) + "; export again or copy the bundle once more");
    }
    file_.expect_scattered_reads();  // neighbours in the vocabulary are strangers in a text
}

void EmbeddingTable::gather(int32_t token, ElementType type, void* row) const {
    if (token < 0 || token >= layout_.rows) {
        throw InputError("token " + std::to_string(token) + " is not in the vocabulary of " +
                         std::to_string(layout_.rows) + "; the tokenizer is another model's");
    }
    const auto read = [&](auto stored, auto widen) {
        write_scaled(stored + token * layout_.width, widen, layout_.width, layout_.scale, type, row);
    };
    const auto* halves = reinterpret_cast<const uint16_t*>(file_.data());
    switch (layout_.type) {
        case StoredType::kFloat32:
            return read(reinterpret_cast<const float*>(file_.data()), [](float value) { return value; });
        case StoredType::kFloat16:
            return read(halves, [](uint16_t bits) { return float_from_half(bits); });
        case StoredType::kBFloat16:
            return read(halves, [](uint16_t bits) { return float_from_bfloat16(bits); });
    }
}

}  // namespace palijet
