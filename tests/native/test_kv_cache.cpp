#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "cpu_device.h"
#include "error.h"
#include "kv_cache.h"
#include "stand_in_device.h"

using namespace palijet;

namespace {

constexpr int64_t kWidth = 6;  // kv_heads * head_dim

KvCache make_cache(int64_t max_batch, int64_t max_rows, Device& device = CpuDevice::instance()) {
    return KvCache({2, 2, 3, ElementType::kFloat32, max_batch, max_rows}, device);
}

// What a cache is, plainly: for each block and sequence the rows it holds.
struct PlainCache {
    std::vector<std::vector<std::vector<float>>> rows;  // [block][sequence][row * kWidth]

    PlainCache(size_t blocks, int64_t batch)
        : rows(blocks, std::vector<std::vector<float>>(static_cast<size_t>(batch))) {}
};

// Fills the fresh rows with numbers of their own and takes counts[b] of them into both caches.
void append(KvCache& cache, PlainCache& plain, const std::vector<int32_t>& counts, int64_t new_rows, float& next,
            Device& device = CpuDevice::instance()) {
    for (size_t block = 0; block < cache.blocks(); ++block) {
        const TensorView fresh = cache.fresh(block, new_rows);
        std::vector<float> values(fresh.bytes() / sizeof(float));
        for (size_t b = 0; b < counts.size(); ++b) {
            for (int64_t i = 0; i < new_rows * kWidth; ++i) {
                const float value = next++;
                values[b * static_cast<size_t>(new_rows * kWidth) + static_cast<size_t>(i)] = value;
                if (i < counts[b] * kWidth) plain.rows[block][b].push_back(value);
            }
        }
        device.copy(fresh.data, values.data(), fresh.bytes());
    }
    cache.append(counts, new_rows);
}

void compare(KvCache& cache, const PlainCache& plain, Device& device = CpuDevice::instance()) {
    const auto* lengths = static_cast<const int32_t*>(cache.lengths().data);
    for (size_t block = 0; block < cache.blocks(); ++block) {
        const TensorView past = cache.past(block);
        const int64_t bound = past.shape[1];
        REQUIRE(bound >= 1);
        std::vector<float> values(past.bytes() / sizeof(float));
        device.copy(values.data(), past.data, past.bytes());
        device.synchronize();
        for (size_t b = 0; b < plain.rows[block].size(); ++b) {
            const auto& expected = plain.rows[block][b];
            REQUIRE(lengths[b] * kWidth == static_cast<int64_t>(expected.size()));
            REQUIRE(bound >= lengths[b]);
            const float* first = values.data() + static_cast<int64_t>(b) * bound * kWidth;
            REQUIRE(std::equal(expected.begin(), expected.end(), first));
            for (int64_t i = lengths[b] * kWidth; i < bound * kWidth; ++i) REQUIRE(std::isfinite(first[i]));
        }
    }
}

}  // namespace

TEST_CASE("an empty cache is given to the graph as one row of zeros") {
    KvCache cache = make_cache(2, 100);
    cache.start(2, 50);
    const TensorView past = cache.past(0);
    CHECK(past.shape == Shape{2, 1, 2, 3});
    for (int64_t i = 0; i < 2 * kWidth; ++i) CHECK(static_cast<const float*>(past.data)[i] == 0);
}

TEST_CASE("the rows given to the graph grow in steps, so that shapes seldom change") {
    KvCache cache = make_cache(1, 300);
    PlainCache plain(cache.blocks(), 1);
    float next = 1;
    cache.start(1, 300);
    append(cache, plain, {10}, 10, next);
    int changes = 0;
    int64_t bound = cache.past(0).shape[1];
    for (int i = 0; i < 250; ++i) {
        append(cache, plain, {1}, 1, next);
        if (cache.past(0).shape[1] != bound) ++changes;
        bound = cache.past(0).shape[1];
    }
    CHECK(changes == 4);  // 64 -> 128 -> 192 -> 256 -> 320
    compare(cache, plain);
}

TEST_CASE("rewind forgets rejected drafts") {
    KvCache cache = make_cache(1, 64);
    PlainCache plain(cache.blocks(), 1);
    float next = 1;
    cache.start(1, 64);
    append(cache, plain, {8}, 8, next);
    append(cache, plain, {5}, 5, next);
    cache.rewind(0, 9);
    for (auto& block : plain.rows) block[0].resize(9 * kWidth);
    compare(cache, plain);
    append(cache, plain, {3}, 3, next);
    compare(cache, plain);
}

TEST_CASE("what an earlier answer left behind never reaches the graph") {
    KvCache cache = make_cache(2, 80);
    PlainCache poisoned(cache.blocks(), 1);
    float next = std::numeric_limits<float>::quiet_NaN();
    cache.start(1, 80);
    append(cache, poisoned, {80}, 80, next);
    for (const int64_t batch : {1, 2}) {
        PlainCache plain(cache.blocks(), batch);
        float clean = 1;
        cache.start(batch, 40);
        append(cache, plain, std::vector<int32_t>(static_cast<size_t>(batch), 3), 3, clean);
        compare(cache, plain);
    }
}

TEST_CASE("what does not fit is refused") {
    KvCache cache = make_cache(2, 10);
    CHECK_THROWS_AS(cache.start(3, 5), InputError);
    CHECK_THROWS_AS(cache.start(1, 11), InputError);
    CHECK_THROWS_AS(cache.start(0, 1), InputError);
    cache.start(2, 4);
    CHECK_THROWS_AS(cache.append({5, 1}, 5), InputError);
    CHECK_THROWS_AS(cache.append({2, 1}, 1), InputError);
    CHECK_THROWS_AS(cache.rewind(0, 1), InputError);
    CHECK_THROWS_AS(cache.rewind(2, 0), InputError);
}

namespace {

void operate_at_random(Device& device, int rounds) {
    std::mt19937 random(20261123);
    const auto pick = [&](int64_t low, int64_t high) {
        return std::uniform_int_distribution<int64_t>(low, high)(random);
    };
    int64_t operations = 0;
    for (int round = 0; round < rounds; ++round) {
        const int64_t max_batch = pick(1, 4), max_rows = pick(1, 200);
        KvCache cache = make_cache(max_batch, max_rows, device);
        float next = 1;
        for (int use = 0; use < 3; ++use) {
            const int64_t batch = pick(1, max_batch), rows = pick(1, max_rows);
            cache.start(batch, rows);
            PlainCache plain(cache.blocks(), batch);
            const int64_t room = batch == 1 ? max_rows : rows;
            for (int step = 0; step < 20; ++step, ++operations) {
                if (pick(0, 3) == 0) {
                    const int64_t b = pick(0, batch - 1);
                    const auto length = static_cast<int32_t>(pick(0, cache.length(b)));
                    cache.rewind(b, length);
                    for (auto& block : plain.rows)
                        block[static_cast<size_t>(b)].resize(static_cast<size_t>(length * kWidth));
                } else {
                    int64_t longest = 0;
                    for (int64_t b = 0; b < batch; ++b) longest = std::max<int64_t>(longest, cache.length(b));
                    if (longest == room) continue;
                    const int64_t new_rows = pick(1, std::min<int64_t>(room - longest, 40));
                    std::vector<int32_t> counts;
                    for (int64_t b = 0; b < batch; ++b) counts.push_back(static_cast<int32_t>(pick(0, new_rows)));
                    append(cache, plain, counts, new_rows, next, device);
                }
                compare(cache, plain, device);
            }
        }
    }
    MESSAGE(operations << " random operations");
}

}  // namespace

TEST_CASE("any sequence of operations leaves what a plain model of the cache holds") {
    operate_at_random(CpuDevice::instance(), 300);
}

TEST_CASE("on a GPU the cache holds the same") {
    operate_at_random(*palijet::tests::stand_in_device(), 20);
    CHECK(palijet::tests::stand_in_cuda().living() == 0);
}
