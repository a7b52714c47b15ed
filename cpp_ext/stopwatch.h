// Milliseconds between laps.
#pragma once

#include <chrono>

namespace palijet {

class Stopwatch {
  public:
    double lap_ms() {
        const auto now = std::chrono::steady_clock::now();
        const std::chrono::duration<double, std::milli> passed = now - started_;
        started_ = now;
        return passed.count();
    }

  private:
    std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace palijet
