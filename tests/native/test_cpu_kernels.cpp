#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "attention.h"
#include "cpu_kernels.h"
#include "flush_to_zero.h"
#include "half.h"
#include "thread_pool.h"

using namespace palijet;

namespace {

std::vector<const CpuKernels*> all_kernels() {
    std::vector<const CpuKernels*> kernels{&CpuKernels::portable()};
    if (CpuKernels::fast()) kernels.push_back(CpuKernels::fast());
    return kernels;
}

struct Random {
    std::mt19937 engine{20261124};

    int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine); }
    std::vector<float> normal(int64_t count) {
        std::normal_distribution<float> distribution;
        std::vector<float> values(static_cast<size_t>(count));
        for (float& value : values) value = distribution(engine);
        return values;
    }
};

// A layer of random weights, exactly as large as it must be, so that sanitizers see a read too many.
struct Layer {
    LinearWeights weights;
    std::vector<uint8_t> data;
    std::vector<uint16_t> scales;
    std::vector<float> exact;  // [in, out]

    Layer(WeightFormat format, int64_t in, int64_t out, int64_t block, Random& random) {
        weights.format = format;
        weights.in = in;
        weights.out = out;
        weights.block = format == WeightFormat::kInt8Block || format == WeightFormat::kInt4Block ? block : 0;
        weights.input_scale = 0.02f;
        const int64_t rows = weights.block ? in / block : 1;
        for (int64_t i = 0; i < rows * out; ++i) {
            // Now and then a scale that is too small for an FP16's full precision.
            scales.push_back(random.pick(0, 9) ? half_from_float(0.001f * static_cast<float>(random.pick(1, 90)))
                                               : static_cast<uint16_t>(random.pick(1, 1023)));
        }
        const auto append = [&](const auto& value) {
            const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
            data.insert(data.end(), bytes, bytes + sizeof value);
        };
        for (int64_t i = 0; i < in * out; ++i) {
            const int64_t k = i / out, column = i % out;
            const float scale =
                float_from_half(scales[static_cast<size_t>((weights.block ? k / block : 0) * out + column)]);
            if (weights.is_float()) {
                const uint16_t half = half_from_float(0.01f * static_cast<float>(random.pick(-90, 90)));
                exact.push_back(float_from_half(half));
                if (format == WeightFormat::kFloat16) {
                    append(half);
                } else {
                    append(exact.back());
                }
            } else if (format == WeightFormat::kInt4Block) {
                const auto value = random.pick(-8, 7);
                exact.push_back(static_cast<float>(value) * scale);
                if (i % 2 == 0) data.push_back(0);
                data.back() = static_cast<uint8_t>(data.back() | (value & 15) << (i % 2 * 4));
            } else {
                const auto value = static_cast<int8_t>(random.pick(-128, 127));
                exact.push_back(static_cast<float>(value) * scale);
                append(value);
            }
        }
        weights.data = data.data();
        weights.scale = scales.data();
    }
};

// Rows as a layer wants them, and the values that they then stand for.
struct Input {
    LinearInput input;
    std::vector<float> rows, scales;
    std::vector<int8_t> integers;
    std::vector<int32_t> sums;
    std::vector<double> exact;

    Input(const CpuKernels& kernels, const LinearWeights& weights, int64_t count, const std::vector<float>& values)
        : rows(values) {
        input.count = count;
        input.rows = rows.data();
        input.rows_stride = weights.in;
        input.segment = weights.block ? weights.block : kSegment;
        input.stride = (weights.in + 3) / 4 * 4;
        const int64_t segments = (weights.in + input.segment - 1) / input.segment;
        integers.resize(static_cast<size_t>(count * input.stride));
        scales.resize(static_cast<size_t>(count * segments));
        sums.resize(static_cast<size_t>(count * segments));
        for (int64_t row = 0; row < count && !weights.is_float(); ++row) {
            const float* from = rows.data() + row * weights.in;
            int8_t* to = integers.data() + row * input.stride;
            if (weights.block) {
                kernels.quantize_blocks(from, weights.in, input.segment, to, scales.data() + row * segments,
                                        sums.data() + row * segments);
            } else {
                kernels.quantize(from, weights.in, input.segment, weights.input_scale, to,
                                 sums.data() + row * segments);
            }
        }
        input.integers = integers.data();
        input.scales = scales.data();
        input.sums = sums.data();
        for (int64_t i = 0; i < count * weights.in; ++i) {
            const int64_t row = i / weights.in, k = i % weights.in;
            const double scale =
                weights.block ? scales[static_cast<size_t>(row * segments + k / input.segment)] : weights.input_scale;
            exact.push_back(weights.is_float() ? rows[static_cast<size_t>(i)]
                                               : integers[static_cast<size_t>(row * input.stride + k)] * scale);
        }
    }
};

constexpr WeightFormat kFormats[] = {WeightFormat::kFloat32, WeightFormat::kFloat16, WeightFormat::kInt8,
                                     WeightFormat::kInt8Block, WeightFormat::kInt4Block};

}  // namespace

TEST_CASE("products of any shape and format are what plain arithmetic gives") {
    Random random;
    const FlushToZero as_the_engine;
    for (const CpuKernels* kernels : all_kernels()) {
        MatMulScratch scratch;
        for (int round = 0; round < 150; ++round) {
            const WeightFormat format = kFormats[round % 5];
            const int64_t block = 32 * random.pick(1, 4);
            const bool in_blocks = format == WeightFormat::kInt8Block || format == WeightFormat::kInt4Block;
            const int64_t in = in_blocks ? block * random.pick(1, 9) : random.pick(1, 700);
            const int64_t out = random.pick(1, 200) * (format == WeightFormat::kInt4Block ? 2 : 1);
            const int64_t count = random.pick(0, 2) ? random.pick(1, 8) : random.pick(9, 40);
            const Layer layer(format, in, out, block, random);
            const Input input(*kernels, layer.weights, count, random.normal(count * in));
            const int64_t first = out > 140 ? 128 : 0;
            std::vector<float> found(static_cast<size_t>(count * (out - first)), 777.0f);
            kernels->multiply(layer.weights, input.input, first, out - first, found.data(), out - first, scratch);
            for (int64_t row = 0; row < count; ++row) {
                for (int64_t column = first; column < out; ++column) {
                    double expected = 0, size = 0;
                    for (int64_t k = 0; k < in; ++k) {
                        const double term = input.exact[static_cast<size_t>(row * in + k)] *
                                            layer.exact[static_cast<size_t>(k * out + column)];
                        expected += term;
                        size += std::fabs(term);
                    }
                    const double value = found[static_cast<size_t>(row * (out - first) + column - first)];
                    INFO(kernels->name, " format ", static_cast<int>(format), " ", in, "x", out, " block ", block,
                         " rows ", count, " from ", first, ": row ", row, " column ", column);
                    REQUIRE(std::fabs(value - expected) <= 1e-5 * size + 1e-6);
                }
            }
        }
    }
}

TEST_CASE("a row's product is the same, bit for bit, however many rows are beside it") {
    Random random;
    for (const CpuKernels* kernels : all_kernels()) {
        MatMulScratch scratch;
        for (const WeightFormat format : kFormats) {
            const int64_t in = 1152, out = 256, count = 37;
            const Layer layer(format, in, out, 64, random);
            const std::vector<float> values = random.normal(count * in);
            std::vector<float> together(static_cast<size_t>(count * out)), alone(static_cast<size_t>(out));
            const Input all(*kernels, layer.weights, count, values);
            kernels->multiply(layer.weights, all.input, 0, out, together.data(), out, scratch);
            for (int64_t row = 0; row < count; ++row) {
                const Input one(*kernels, layer.weights, 1,
                                std::vector<float>(values.begin() + row * in, values.begin() + (row + 1) * in));
                kernels->multiply(layer.weights, one.input, 0, out, alone.data(), out, scratch);
                REQUIRE(std::memcmp(alone.data(), together.data() + row * out, static_cast<size_t>(out) * 4) == 0);
            }
        }
    }
}

TEST_CASE("rounding to integers is QuantizeLinear's: ties to even, and clamped") {
    for (const CpuKernels* kernels : all_kernels()) {
        const std::vector<float> x{0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 126.5f, 127.5f, 1e9f, -128.5f, -1e9f, 0.49999f, 3};
        const std::vector<int8_t> expected{0, 2, 2, 0, -2, 126, 127, 127, -128, -128, 0, 3};
        std::vector<int8_t> integers(x.size());
        int32_t sum = 0;
        kernels->quantize(x.data(), static_cast<int64_t>(x.size()), 128, 1.0f, integers.data(), &sum);
        CHECK(integers == expected);
        CHECK(sum == 2 + 2 - 2 + 126 + 127 + 127 - 128 - 128 + 3);
    }
}

TEST_CASE("the functions of rows are the exact ones to seven digits") {
    Random random;
    for (const CpuKernels* kernels : all_kernels()) {
        for (int round = 0; round < 50; ++round) {
            const int64_t width = random.pick(1, 300);
            std::vector<float> x = random.normal(width), up = random.normal(width), out(x.size());
            for (float& value : x) value *= 4;
            for (const bool exact : {false, true}) {
                kernels->gated_gelu(x.data(), up.data(), width, exact, out.data());
                for (size_t i = 0; i < x.size(); ++i) {
                    const double v = x[i];
                    const double inner = std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v);
                    const double gelu =
                        exact ? 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))) : 0.5 * v * (1 + std::tanh(inner));
                    REQUIRE(out[i] == doctest::Approx(gelu * up[i]).epsilon(1e-5).scale(1));
                }
            }
            std::vector<float> capped = x;
            kernels->soft_cap(capped.data(), width, 3.0f);
            for (size_t i = 0; i < x.size(); ++i) {
                REQUIRE(capped[i] == doctest::Approx(3 * std::tanh(x[i] / 3.0)).epsilon(1e-5).scale(1));
            }
            const float highest = kernels->highest(x.data(), width);
            REQUIRE(highest == *std::max_element(x.begin(), x.end()));
            std::vector<float> powers = x;
            powers[0] = -std::numeric_limits<float>::infinity();
            const double sum = kernels->exponentiate(powers.data(), width, highest);
            double expected = 0;
            for (size_t i = 1; i < x.size(); ++i) expected += std::exp(static_cast<double>(x[i]) - highest);
            REQUIRE(sum == doctest::Approx(expected).epsilon(1e-5).scale(1));
            REQUIRE(powers[0] == 0);
        }
    }
}

TEST_CASE("attention in blocks is attention, wherever the keys lie, and each query's own to the last bit") {
    Random random;
    for (const CpuKernels* kernels : all_kernels()) {
        AttentionScratch scratch;
        for (int round = 0; round < 60; ++round) {
            const int64_t dim = random.pick(0, 2) ? 8 * random.pick(1, 20) : 64 * random.pick(1, 4);
            const int64_t kv_heads = random.pick(1, 3), stride = kv_heads * dim;
            const int64_t keys = random.pick(1, 200), past = random.pick(0, keys), count = random.pick(1, 20);
            const bool is_half = round % 4 == 0;
            std::vector<float> key = random.normal(keys * stride), value = random.normal(keys * stride);
            std::vector<uint16_t> half_key, half_value;
            for (float& v : key) half_key.push_back(half_from_float(v));
            for (float& v : value) half_value.push_back(half_from_float(v));
            if (is_half) {
                for (size_t i = 0; i < key.size(); ++i) {
                    key[i] = float_from_half(half_key[i]);
                    value[i] = float_from_half(half_value[i]);
                }
            }
            const int64_t head = random.pick(0, kv_heads - 1);
            const auto at = [&](const std::vector<float>& whole, const std::vector<uint16_t>& half, int64_t row) {
                const int64_t i = row * stride + head * dim;
                return is_half ? static_cast<const void*>(half.data() + i) : static_cast<const void*>(whole.data() + i);
            };
            const auto rows = [&](int64_t cached) {
                return KeyValueRows{at(key, half_key, 0),
                                    at(value, half_value, 0),
                                    at(key, half_key, cached),
                                    at(value, half_value, cached),
                                    cached,
                                    stride,
                                    is_half ? ElementType::kFloat16 : ElementType::kFloat32};
            };
            const AttentionShape shape{dim, 0.2f, random.pick(0, 1) ? 5.0f : 0.0f};
            const std::vector<float> query = random.normal(count * dim);
            std::vector<float> found(query.size()), alone(static_cast<size_t>(dim));
            std::vector<const float*> queries;
            std::vector<float*> out;
            std::vector<Visible> visible;
            for (int64_t i = 0; i < count; ++i) {
                queries.push_back(query.data() + i * dim);
                out.push_back(found.data() + i * dim);
                const int64_t first = random.pick(0, keys - 1);
                visible.push_back({first, random.pick(first + 1, keys)});
            }
            attend(*kernels, shape, rows(past), queries.data(), visible.data(), count, out.data(), scratch);
            for (int64_t i = 0; i < count; ++i) {
                const Visible seen = visible[static_cast<size_t>(i)];
                std::vector<double> weights;
                double total = 0;
                for (int64_t row = seen.first; row < seen.end; ++row) {
                    double score = 0;
                    for (int64_t d = 0; d < dim; ++d) {
                        score += queries[static_cast<size_t>(i)][d] *
                                 key[static_cast<size_t>(row * stride + head * dim + d)];
                    }
                    score *= shape.scale;
                    if (shape.cap != 0) score = shape.cap * std::tanh(score / shape.cap);
                    weights.push_back(std::exp(score));
                    total += weights.back();
                }
                for (int64_t d = 0; d < dim; ++d) {
                    double expected = 0;
                    for (int64_t row = seen.first; row < seen.end; ++row) {
                        expected += weights[static_cast<size_t>(row - seen.first)] / total *
                                    value[static_cast<size_t>(row * stride + head * dim + d)];
                    }
                    REQUIRE(out[static_cast<size_t>(i)][d] == doctest::Approx(expected).epsilon(2e-5).scale(1));
                }
                float* lone = alone.data();
                attend(*kernels, shape, rows(random.pick(0, keys)), &queries[static_cast<size_t>(i)],
                       &visible[static_cast<size_t>(i)], 1, &lone, scratch);
                REQUIRE(std::memcmp(lone, out[static_cast<size_t>(i)], static_cast<size_t>(dim) * 4) == 0);
            }
        }
    }
}

TEST_CASE("threads of a pool do every piece once, and what one throws is thrown") {
    for (const int threads : {1, 2, 5}) {
        ThreadPool pool(threads);
        CHECK(pool.size() == threads);
        for (int shift = 0; shift < 20; ++shift) {
            const ThreadPool::Shift on(pool);
            for (int round = 0; round < 50; ++round) {
                std::vector<int> done(static_cast<size_t>(threads));
                pool.run([&](int thread) { ++done[static_cast<size_t>(thread)]; });
                REQUIRE(done == std::vector<int>(static_cast<size_t>(threads), 1));
            }
            CHECK_THROWS_AS(pool.run([&](int thread) {
                if (thread == threads - 1) throw std::logic_error("from a thread");
            }),
                            std::logic_error);
        }
    }
}
