#include "step_costs.h"

#include <algorithm>

namespace palijet {

namespace {

constexpr int kWarmUp = 3;           // samples: memory is taken and graphs are recorded by the first runs of a shape
constexpr double kForgetting = 0.1;  // of what is known, by each sample

}  // namespace

void StepCosts::Average::take(double sample) {
    ++samples;
    if (samples == 1) {
        value = sample;
    } else if (samples <= kWarmUp) {
        value = std::min(value, sample);
    } else {
        // What was interrupted says little about the device.
        value += kForgetting * (std::min(sample, 2 * value) - value);
    }
}

void StepCosts::observe_prefill(int64_t rows, double ms) {
    if (rows > 0) prefill_row_.take(ms / static_cast<double>(rows));
}

void StepCosts::observe_step(int64_t rows, double ms) {
    if (rows > 0 && rows <= kMostRows) steps_[static_cast<size_t>(rows)].take(ms);
}

std::optional<double> StepCosts::step_ms(int64_t rows) const {
    if (rows < 1 || rows > kMostRows) return std::nullopt;
    int64_t fewer = rows;
    while (fewer > 0 && !steps_[static_cast<size_t>(fewer)].samples) --fewer;
    if (fewer == 0) return std::nullopt;
    double cost = steps_[static_cast<size_t>(fewer)].value;
    if (fewer == rows) return cost;
    cost += static_cast<double>(rows - fewer) * prefill_row_ms();
    for (int64_t more = rows + 1; more <= kMostRows; ++more) {
        const Average& known = steps_[static_cast<size_t>(more)];
        if (known.samples) return std::min(cost, std::max(known.value, steps_[static_cast<size_t>(fewer)].value));
    }
    return cost;
}

}  // namespace palijet
