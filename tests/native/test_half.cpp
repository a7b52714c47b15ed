#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>

#include "cpu_kernels.h"
#include "flush_to_zero.h"
#include "half.h"

using namespace palijet;

TEST_CASE("every half survives the way to float and back") {
    for (uint32_t bits = 0; bits < 65536; ++bits) {
        const auto half = static_cast<uint16_t>(bits);
        const float value = float_from_half(half);
        if (std::isnan(value)) {
            CHECK(std::isnan(float_from_half(half_from_float(value))));
        } else {
            REQUIRE(half_from_float(value) == half);
        }
    }
}

TEST_CASE("a half is the same float where subnormals are flushed to zero") {
    for (const CpuKernels* kernels : std::array{&CpuKernels::portable(), CpuKernels::fast()}) {
        if (!kernels) continue;
        for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
            const auto half = static_cast<uint16_t>(bits | 0x8000);
            const auto exponent = static_cast<int>(bits >> 10), mantissa = static_cast<int>(bits & 1023);
            const float expected = exponent ? -std::ldexp(1024.0f + static_cast<float>(mantissa), exponent - 25)
                                            : -std::ldexp(static_cast<float>(mantissa), -24);
            const FlushToZero as_the_engine;
            float value = 0;
            kernels->from_half(&half, 1, &value);
            REQUIRE(value == expected);
            uint16_t back = 0;
            kernels->to_half(&value, 1, &back);
            REQUIRE(back == half);
        }
    }
}

TEST_CASE("a float becomes the nearest half, ties to even") {
    CHECK(half_from_float(1.0f) == 0x3c00);
    CHECK(half_from_float(1.0f + 1.0f / 2048) == 0x3c00);     // a tie, down to even
    CHECK(half_from_float(1.0f + 3.0f / 2048) == 0x3c02);     // a tie, up to even
    CHECK(half_from_float(65519.0f) == 0x7bff);               // the largest finite
    CHECK(half_from_float(65520.0f) == 0x7c00);               // infinite from here on
    CHECK(half_from_float(std::ldexp(1.0f, -24)) == 0x0001);  // the smallest
    CHECK(half_from_float(std::ldexp(1.0f, -25)) == 0x0000);  // a tie with zero
    CHECK(half_from_float(-std::numeric_limits<float>::infinity()) == 0xfc00);
}

TEST_CASE("a bfloat16 is the upper half of a float") {
    CHECK(float_from_bfloat16(0x3f80) == 1.0f);
    CHECK(float_from_bfloat16(0xc049) == -3.140625f);
}
