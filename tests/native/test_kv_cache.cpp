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

    explicit PlainCache(size_t blocks) : rows(blocks) {}

    // The last sequence takes the number of the one that goes.
    void remove(int64_t sequence) {
        for (auto& block : rows) {
            std::swap(block[static_cast<size_t>(sequence)], block.back());
            block.pop_back();
        }
    }
};

// Fills rows that the graph would write with numbers of their own.
std::vector<float> fill(const TensorView& rows, float& next, Device& device) {
    std::vector<float> values(rows.bytes() / sizeof(float));
    for (float& value : values) value = next++;
    device.copy(rows.data, values.data(), rows.bytes());
    return values;
}

// Takes the first counts[b] of some fresh rows of each sequence into both caches.
void append(KvCache& cache, PlainCache& plain, const std::vector<int32_t>& counts, int64_t new_rows, float& next,
            Device& device = CpuDevice::instance()) {
    for (size_t block = 0; block < cache.blocks(); ++block) {
        const std::vector<float> values = fill(cache.fresh(block, new_rows), next, device);
        for (size_t b = 0; b < counts.size(); ++b) {
            const auto first = values.begin() + static_cast<int64_t>(b) * new_rows * kWidth;
            auto& rows = plain.rows[block][b];
            rows.insert(rows.end(), first, first + counts[b] * kWidth);
        }
    }
    cache.append(counts, new_rows);
}

// A sequence more in both caches, of whose `new_rows` first rows `count` are kept.
void begin(KvCache& cache, PlainCache& plain, int64_t count, int64_t new_rows, float& next,
           Device& device = CpuDevice::instance()) {
    const int64_t sequence = cache.add();
    for (size_t block = 0; block < cache.blocks(); ++block) {
        const std::vector<float> values = fill(cache.first_rows(block, sequence, new_rows), next, device);
        plain.rows[block].emplace_back(values.begin(), values.begin() + count * kWidth);
    }
    cache.begin(sequence, count);
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

TEST_CASE("a new sequence has one row of zeros for its past") {
    KvCache cache = make_cache(2, 100);
    const TensorView past = cache.no_past();
    CHECK(past.shape == Shape{1, 1, 2, 3});
    for (int64_t i = 0; i < kWidth; ++i) CHECK(static_cast<const float*>(past.data)[i] == 0);
}

TEST_CASE("the rows given to the graph grow in steps, so that shapes seldom change") {
    KvCache cache = make_cache(1, 300);
    PlainCache plain(cache.blocks());
    float next = 1;
    cache.start(1, 300);
    begin(cache, plain, 10, 10, next);
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
    PlainCache plain(cache.blocks());
    float next = 1;
    cache.start(1, 64);
    begin(cache, plain, 8, 8, next);
    append(cache, plain, {5}, 5, next);
    cache.rewind(0, 9);
    for (auto& block : plain.rows) block[0].resize(9 * kWidth);
    compare(cache, plain);
    append(cache, plain, {3}, 3, next);
    compare(cache, plain);
}

TEST_CASE("what an earlier answer left behind never reaches the graph") {
    KvCache cache = make_cache(2, 80);
    PlainCache poisoned(cache.blocks());
    float next = std::numeric_limits<float>::quiet_NaN();
    cache.start(1, 80);
    begin(cache, poisoned, 80, 80, next);
    for (const int64_t batch : {1, 2}) {
        PlainCache plain(cache.blocks());
        float clean = 1;
        cache.start(batch, 40);
        for (int64_t b = 0; b < batch; ++b) begin(cache, plain, 3, 3, clean);
        compare(cache, plain);
    }
}

TEST_CASE("what a sequence left that ended never reaches the one in its place") {
    KvCache cache = make_cache(2, 80);
    PlainCache plain(cache.blocks());
    cache.start(2, 80);
    float poison = std::numeric_limits<float>::quiet_NaN(), clean = 1;
    begin(cache, plain, 70, 70, poison);
    begin(cache, plain, 5, 6, clean);
    cache.remove(0);
    plain.remove(0);
    compare(cache, plain);
    begin(cache, plain, 2, 2, clean);
    compare(cache, plain);
}

TEST_CASE("what does not fit is refused") {
    KvCache cache = make_cache(2, 10);
    CHECK_THROWS_AS(cache.start(3, 5), InputError);
    CHECK_THROWS_AS(cache.start(1, 11), InputError);
    CHECK_THROWS_AS(cache.start(0, 1), InputError);
    cache.start(2, 4);
    CHECK_THROWS_AS(cache.begin(0, 1), InputError);
    CHECK_THROWS_AS(cache.remove(0), InputError);
    cache.add();
    cache.add();
    CHECK_THROWS_AS(cache.add(), InputError);
    CHECK_THROWS_AS(cache.first_rows(0, 2, 1), InputError);
    CHECK_THROWS_AS(cache.first_rows(0, 0, 5), InputError);
    CHECK_THROWS_AS(cache.begin(0, 5), InputError);
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
            const int64_t sequences = pick(1, max_batch), rows = pick(1, max_rows);
            cache.start(sequences, rows);
            PlainCache plain(cache.blocks());
            const int64_t room = sequences == 1 ? max_rows : rows;
            for (int step = 0; step < 25; ++step, ++operations) {
                const int64_t batch = cache.batch();
                const int64_t what = pick(0, 5);
                if (batch < sequences && (!batch || what == 0)) {
                    const int64_t new_rows = pick(1, std::min<int64_t>(room, 60));
                    begin(cache, plain, pick(1, new_rows), new_rows, next, device);
                } else if (what == 1) {
                    const int64_t b = pick(0, batch - 1);
                    cache.remove(b);
                    plain.remove(b);
                } else if (what == 2) {
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
                if (cache.batch()) compare(cache, plain, device);
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
