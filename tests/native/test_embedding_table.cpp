#include <doctest/doctest.h>

#include <cstdio>
#include <fstream>
#include <vector>

#include "embedding_table.h"
#include "error.h"
#include "half.h"

using namespace palijet;

namespace {

std::string write(const std::vector<uint16_t>& elements) {
    const std::string path = std::tmpnam(nullptr);
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(elements.data()), static_cast<std::streamsize>(elements.size() * 2));
    return path;
}

}  // namespace

TEST_CASE("a row is widened, scaled and rounded to the graph's type") {
    const EmbeddingTable table(write({0x3f80, 0x4000, 0xbf00, 0x3e80}), {2, 2, StoredType::kBFloat16, 4.0f});
    float row[2];
    table.gather(1, ElementType::kFloat32, row);
    CHECK(row[0] == -2.0f);
    CHECK(row[1] == 1.0f);
    uint16_t halves[2];
    table.gather(0, ElementType::kFloat16, halves);
    CHECK(float_from_half(halves[0]) == 4.0f);
    CHECK(float_from_half(halves[1]) == 8.0f);
}

TEST_CASE("a token outside the vocabulary is refused") {
    const EmbeddingTable table(write({0, 0, 0, 0}), {2, 2, StoredType::kFloat16, 1.0f});
    float row[2];
    CHECK_THROWS_AS(table.gather(2, ElementType::kFloat32, row), InputError);
    CHECK_THROWS_AS(table.gather(-1, ElementType::kFloat32, row), InputError);
}

TEST_CASE("a file that is not the table is refused") {
    CHECK_THROWS_AS(EmbeddingTable(write({0, 0, 0}), {2, 2, StoredType::kFloat16, 1.0f}), BundleError);
    CHECK_THROWS_AS(EmbeddingTable(write({}), {0, 2, StoredType::kFloat16, 1.0f}), BundleError);
    CHECK_THROWS_AS(EmbeddingTable("/does/not/exist", {2, 2, StoredType::kFloat16, 1.0f}), BundleError);
    CHECK_THROWS_AS(stored_type("int8"), InputError);
}
