// The dimensions of a tensor, held in place: shapes are made per step, and a step allocates nothing.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace palijet {

class Shape {
  public:
    static constexpr size_t kMaxRank = 8;

    Shape() = default;
    Shape(std::initializer_list<int64_t> dimensions) : Shape(of_rank(dimensions.size())) {
        std::copy(dimensions.begin(), dimensions.end(), begin());
    }
    static Shape of_rank(size_t rank) {
        if (rank > kMaxRank) throw std::length_error("a tensor of more than 8 dimensions");
        Shape shape;
        shape.rank_ = rank;
        return shape;
    }

    size_t size() const { return rank_; }
    int64_t* data() { return dimensions_.data(); }
    const int64_t* data() const { return dimensions_.data(); }
    int64_t* begin() { return data(); }
    int64_t* end() { return data() + rank_; }
    const int64_t* begin() const { return data(); }
    const int64_t* end() const { return data() + rank_; }
    int64_t& operator[](size_t i) { return dimensions_[i]; }
    int64_t operator[](size_t i) const { return dimensions_[i]; }
    int64_t back() const { return rank_ ? dimensions_[rank_ - 1] : 1; }

    bool operator==(const Shape& other) const { return std::equal(begin(), end(), other.begin(), other.end()); }
    bool operator!=(const Shape& other) const { return !(*this == other); }

    // Whether `given` is this shape, where -1 leaves a dimension open.
    bool admits(const Shape& given) const {
        return std::equal(begin(), end(), given.begin(), given.end(),
                          [](int64_t open, int64_t dimension) { return open < 0 || open == dimension; });
    }

    std::string to_string() const {
        std::string text = "[";
        for (size_t i = 0; i < rank_; ++i) {
            text += (i ? ", " : "") + (dimensions_[i] < 0 ? std::string("?") : std::to_string(dimensions_[i]));
        }
        return text + "]";
    }

  private:
    std::array<int64_t, kMaxRank> dimensions_{};
    size_t rank_ = 0;
};

}  // namespace palijet
