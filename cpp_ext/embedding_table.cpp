#include "embedding_table.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "error.h"
#include "half.h"

namespace palijet {

StoredType stored_type(const std::string& name) {
    if (name == "float32") return StoredType::kFloat32;
    if (name == "float16") return StoredType::kFloat16;
    if (name == "bfloat16") return StoredType::kBFloat16;
    throw InputError("embeddings of type " + name + " are not known; give float32, float16 or bfloat16");
}

EmbeddingTable::EmbeddingTable(const std::string& path, const EmbeddingLayout& layout) : layout_(layout) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) throw BundleError(path + " cannot be opened: " + std::strerror(errno));
    struct stat status{};
    fstat(file, &status);
    bytes_ = static_cast<size_t>(layout.rows * layout.width) * (layout.type == StoredType::kFloat32 ? 4 : 2);
    if (bytes_ == 0 || static_cast<size_t>(status.st_size) != bytes_) {
        close(file);
        throw BundleError(path + " has " + std::to_string(status.st_size) + " bytes where its manifest asks for " +
                          std::to_string(bytes_) + "; export again or copy the bundle once more");
    }
    void* mapped = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (mapped == MAP_FAILED) throw BundleError(path + " cannot be mapped: " + std::strerror(errno));
    madvise(mapped, bytes_, MADV_RANDOM);  // no read-ahead: neighbours in the vocabulary are strangers in a text
    data_ = mapped;
}

EmbeddingTable::~EmbeddingTable() { munmap(const_cast<void*>(data_), bytes_); }

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
            return static_cast<const float*>(data_)[index];
        case StoredType::kFloat16:
            return float_from_half(static_cast<const uint16_t*>(data_)[index]);
        case StoredType::kBFloat16:
            return float_from_bfloat16(static_cast<const uint16_t*>(data_)[index]);
    }
    return 0;
}

}  // namespace palijet
