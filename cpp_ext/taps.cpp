#include "taps.h"

#include <algorithm>
#include <cmath>

namespace palijet {

namespace {

constexpr double kSupport = 2.0;

double bicubic(double x) {
    constexpr double a = -0.5;
    x = std::fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

int32_t fixed_point(double weight) {
    const double scaled = weight * (1 << kFractionBits);
    return static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

}  // namespace

Taps::Taps(int64_t in, int64_t out) : in_(in), out_(out) {
    const double scale = static_cast<double>(in) / static_cast<double>(out);
    const double filter_scale = std::max(scale, 1.0);
    const double support = kSupport * filter_scale;
    width_ = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
    first_.resize(static_cast<size_t>(out));
    count_.resize(static_cast<size_t>(out));
    weights_.assign(static_cast<size_t>(out * width_), 0);
    std::vector<double> exact(static_cast<size_t>(width_));
    for (int64_t i = 0; i < out; ++i) {
        const double center = (static_cast<double>(i) + 0.5) * scale;
        const int64_t first = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
        const int64_t last = std::min(static_cast<int64_t>(center + support + 0.5), in);
        const int64_t count = last - first;
        double total = 0;
        for (int64_t tap = 0; tap < count; ++tap) {
            const double distance = static_cast<double>(tap + first) - center + 0.5;
            exact[static_cast<size_t>(tap)] = bicubic(distance * (1.0 / filter_scale));
            total += exact[static_cast<size_t>(tap)];
        }
        for (int64_t tap = 0; tap < count; ++tap) {
            const double weight =
                total != 0.0 ? exact[static_cast<size_t>(tap)] / total : exact[static_cast<size_t>(tap)];
            weights_[static_cast<size_t>(i * width_ + tap)] = fixed_point(weight);
        }
        first_[static_cast<size_t>(i)] = static_cast<int32_t>(first);
        count_[static_cast<size_t>(i)] = static_cast<int32_t>(count);
    }
}

}  // namespace palijet
