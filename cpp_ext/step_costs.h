// What a run of the decoder costs on this device, measured while it works.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace palijet {

// Rows are counted over the whole batch. All durations are milliseconds.
class StepCosts {
  public:
    static constexpr int64_t kMostRows = 256;  // of a step; larger ones are not told apart

    void observe_prefill(int64_t rows, double ms);
    void observe_step(int64_t rows, double ms);

    // A step of so many rows: what was measured, else no less than it can be. A row costs no more than in a prefill,
    // where arithmetic binds, and no step costs more than one of more rows. None before the first step that was not
    // larger.
    std::optional<double> step_ms(int64_t rows) const;

    // A row more in a prefill; 0 before the first.
    double prefill_row_ms() const { return prefill_row_.value; }

  private:
    struct Average {  // forgets slowly, and at once that the first runs of a shape were slow
        double value = 0;
        int samples = 0;

        void take(double sample);
    };

    Average prefill_row_;
    std::array<Average, kMostRows + 1> steps_;
};

}  // namespace palijet
