// The token embedding table: a memory-mapped file of which only the rows that are asked for ever come into memory.
#pragma once

#include <cstdint>
#include <string>

#include "mapped_file.h"
#include "tensor.h"

namespace palijet {

enum class StoredType { kFloat32, kFloat16, kBFloat16 };

// numpy's names; InputError for any other.
StoredType stored_type(const std::string& name);

struct EmbeddingLayout {
    int64_t rows;   // vocabulary
    int64_t width;  // hidden size
    StoredType type;
    float scale;  // what a row is multiplied by
};

class EmbeddingTable {
  public:
    // Throws BundleError where the file cannot be opened or is not rows x width elements long.
    EmbeddingTable(const std::string& path, const EmbeddingLayout& layout);

    // Writes the scaled row of a token as [width] elements of `type`, float32 or float16. InputError where there is no
    // such token.
    void gather(int32_t token, ElementType type, void* row) const;

    int64_t width() const { return layout_.width; }

  private:
    EmbeddingLayout layout_;
    MappedFile file_;
};

}  // namespace palijet
