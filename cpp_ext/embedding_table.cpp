#include "embedding_table.h"

#include "error.h"
#include "half.h"

namespace palijet {

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
    const int64_t first = token * layout_.width;
    for (int64_t i = 0; i < layout_.width; ++i) {
        const float value = element(first + i) * layout_.scale;
        if (type == ElementType::kFloat16) {
            static_cast<uint16_t*>(row)[i] = half_from_float(value);
        } else {
            static_cast<float*>(row)[i] = value;
        }
    }
}

float EmbeddingTable::element(int64_t index) const {
    switch (layout_.type) {
        case StoredType::kFloat32:
            return reinterpret_cast<const float*>(file_.data())[index];
        case StoredType::kFloat16:
            return float_from_half(reinterpret_cast<const uint16_t*>(file_.data())[index]);
        case StoredType::kBFloat16:
            return float_from_bfloat16(reinterpret_cast<const uint16_t*>(file_.data())[index]);
    }
    return 0;
}

}  // namespace palijet
