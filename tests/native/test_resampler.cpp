#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "cpu_preprocessor.h"
#include "error.h"

using namespace palijet;

namespace {

// The exact bicubic average of a pixel's neighbourhood along both axes, in floating point and unrounded in between.
double smooth(const std::vector<uint8_t>& plane, int64_t width, int64_t height, int64_t out_width, int64_t out_height,
              int64_t x, int64_t y) {
    const auto weights = [](int64_t in, int64_t out, int64_t i) {
        const Taps taps(in, out);
        std::vector<std::pair<int64_t, double>> list;
        for (int64_t t = 0; t < taps.count(i); ++t) {
            list.emplace_back(taps.first(i) + t, taps.weights(i)[t] / std::ldexp(1.0, kFractionBits));
        }
        return list;
    };
    double sum = 0;
    for (const auto& [row, vertical] : weights(height, out_height, y)) {
        for (const auto& [column, horizontal] : weights(width, out_width, x)) {
            sum += vertical * horizontal * plane[static_cast<size_t>(row * width + column)];
        }
    }
    return std::clamp(sum, 0.0, 255.0);
}

}  // namespace

TEST_CASE("weights add up to one, whatever the sizes") {
    std::mt19937 random(3);
    for (int round = 0; round < 500; ++round) {
        const int64_t in = std::uniform_int_distribution<int64_t>(1, 3000)(random);
        const int64_t out = std::uniform_int_distribution<int64_t>(1, 500)(random);
        const Taps taps(in, out);
        for (int64_t i = 0; i < out; ++i) {
            int64_t sum = 0;
            for (int64_t t = 0; t < taps.count(i); ++t) sum += taps.weights(i)[t];
            REQUIRE(std::abs(sum - (1 << kFractionBits)) <= taps.count(i));
            REQUIRE(taps.first(i) >= 0);
            REQUIRE(taps.first(i) + taps.count(i) <= in);
        }
    }
}

TEST_CASE("frames of any size, layout and stride are read within their bounds and resized") {
    std::mt19937 random(11);
    const auto pick = [&](int64_t low, int64_t high) {
        return std::uniform_int_distribution<int64_t>(low, high)(random);
    };
    for (int round = 0; round < 400; ++round) {
        const int64_t width = pick(1, 70), height = pick(1, 70),
                      channels = std::vector<int64_t>{1, 3, 4}[static_cast<size_t>(pick(0, 2))];
        const int64_t out_width = pick(1, 60), out_height = pick(1, 60);
        const int64_t pixel_gap = pick(0, 2), row_gap = pick(0, 5);
        const bool planar = pick(0, 1), flip_x = pick(0, 1), flip_y = pick(0, 1);
        ImageView view;
        view.width = width;
        view.height = height;
        view.channels = channels;
        view.format = pick(0, 1) ? PixelFormat::kBgr : PixelFormat::kRgb;
        view.channel_stride = planar ? height * (width + row_gap) : 1;
        view.column_stride = planar ? 1 : channels + pixel_gap;
        view.row_stride = planar ? width + row_gap : width * view.column_stride + row_gap;
        // Exactly as many bytes as the view covers, so that the sanitizer sees one byte too far.
        const int64_t last =
            (height - 1) * view.row_stride + (width - 1) * view.column_stride + (channels - 1) * view.channel_stride;
        std::vector<uint8_t> pixels(static_cast<size_t>(last + 1));
        for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(pick(0, 255));
        view.data = pixels.data();
        if (flip_x) view.data += (width - 1) * view.column_stride, view.column_stride = -view.column_stride;
        if (flip_y) view.data += (height - 1) * view.row_stride, view.row_stride = -view.row_stride;

        Resampler resampler(out_width, out_height);
        const std::vector<uint8_t> resized = resampler.resize(view);
        const int64_t planes = channels == 1 ? 1 : 3;
        REQUIRE(static_cast<int64_t>(resized.size()) == planes * out_width * out_height);

        const int64_t plane = pick(0, planes - 1), x = pick(0, out_width - 1), y = pick(0, out_height - 1);
        const int64_t channel = planes == 1 ? 0 : view.format == PixelFormat::kBgr ? 2 - plane : plane;
        std::vector<uint8_t> one;
        for (int64_t row = 0; row < height; ++row) {
            for (int64_t column = 0; column < width; ++column) {
                one.push_back(
                    view.data[row * view.row_stride + column * view.column_stride + channel * view.channel_stride]);
            }
        }
        const double exact = smooth(one, width, height, out_width, out_height, x, y);
        // The rounding and clipping between the passes may move a pixel by what one pass overshoots.
        REQUIRE(std::abs(resized[static_cast<size_t>((plane * out_height + y) * out_width + x)] - exact) <= 24.0);
    }
}

TEST_CASE("tables are kept while sizes stay and made anew when they change") {
    Resampler resampler(20, 10);
    std::vector<uint8_t> large(90 * 60, 200), small(30 * 20, 100);
    ImageView view{large.data(), 60, 90, 1, 90, 1, 0, PixelFormat::kBgr};
    CHECK(resampler.resize(view)[50] == 200);
    ImageView other{small.data(), 20, 30, 1, 30, 1, 0, PixelFormat::kBgr};
    CHECK(resampler.resize(other)[50] == 100);
    CHECK(resampler.resize(view)[199] == 200);
}

TEST_CASE("pixels are normalised to -1 ... 1, grey for all three colours") {
    std::vector<uint8_t> grey(8 * 8, 255);
    grey[0] = 0;
    const ImageView view{grey.data(), 8, 8, 1, 8, 1, 0, PixelFormat::kBgr};
    std::vector<float> out(3 * 8 * 8);
    CpuPreprocessor(8).run(view, out.data());
    for (const int64_t plane : {0, 64, 128}) {
        CHECK(out[static_cast<size_t>(plane)] == -1.0f);
        CHECK(out[static_cast<size_t>(plane + 1)] == 1.0f);
    }
}

TEST_CASE("what is no frame is refused") {
    uint8_t pixel[4] = {};
    Resampler resampler(4, 4);
    CHECK_THROWS_AS(resampler.resize({pixel, 0, 1, 1, 1, 1, 0, PixelFormat::kBgr}), InputError);
    CHECK_THROWS_AS(resampler.resize({pixel, 1, 1, 2, 2, 2, 1, PixelFormat::kBgr}), InputError);
    CHECK_THROWS_AS(Resampler(0, 4), InputError);
}
