// An embedding table whose row of a token is the token's number, twice: what the stand-in decoder reads.
#pragma once

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

#include "embedding_table.h"
#include "stand_in_engine.h"

namespace palijet::tests {

inline std::shared_ptr<EmbeddingTable> number_table() {
    const std::string path = std::tmpnam(nullptr);
    std::ofstream file(path, std::ios::binary);
    for (int32_t token = 0; token < StandInEngine::kVocabulary; ++token) {
        const float row[2] = {static_cast<float>(token), static_cast<float>(token)};
        file.write(reinterpret_cast<const char*>(row), sizeof row);
    }
    file.close();
    auto table = std::make_shared<EmbeddingTable>(
        path, EmbeddingLayout{StandInEngine::kVocabulary, StandInEngine::kHidden, StoredType::kFloat32, 1.0f});
    std::remove(path.c_str());  // it stays mapped
    return table;
}

}  // namespace palijet::tests
