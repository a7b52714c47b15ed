// The coefficient table of one resize along one axis: Pillow's antialiased bicubic in fixed point.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pixel_math.h"

namespace palijet {

class Taps {
  public:
    Taps() = default;
    Taps(int64_t in, int64_t out);

    bool are_of(int64_t in, int64_t out) const { return in == in_ && out == out_; }
    int64_t first(int64_t out) const { return first_[static_cast<size_t>(out)]; }
    int64_t count(int64_t out) const { return count_[static_cast<size_t>(out)]; }
    const int32_t* weights(int64_t out) const { return weights_.data() + out * width_; }
    TapsView view() const { return {first_.data(), count_.data(), weights_.data(), width_}; }
    size_t out_count() const { return first_.size(); }
    size_t weight_count() const { return weights_.size(); }

  private:
    std::vector<int32_t> first_, count_;  // [out]
    std::vector<int32_t> weights_;        // [out, width_]
    int64_t width_ = 0;
    int64_t in_ = 0, out_ = 0;
};

}  // namespace palijet
