// Calls from several threads to what can serve one at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <thread>

#include "error.h"

namespace palijet {

class Turns {
  public:
    // One call's turn, until it is destroyed.
    class Turn {
      public:
        // Waits for it, and looks up now and then whether it is still wanted.
        Turn(Turns& turns, const std::function<bool()>& is_cancelled) : turns_(turns) {
            if (turns.serving_ == std::this_thread::get_id()) {
                throw InputError("a callback cannot ask the model that is calling it; ask once its answer is whole");
            }
            do {
                if (is_cancelled && is_cancelled()) return;
                has_come_ = turns.mutex_.try_lock_for(std::chrono::milliseconds(20));
            } while (!has_come_);
            turns.serving_ = std::this_thread::get_id();
        }
        ~Turn() {
            if (!has_come_) return;
            turns_.serving_ = std::thread::id();
            turns_.mutex_.unlock();
        }
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;

        bool has_come() const { return has_come_; }  // false: cancelled first

      private:
        Turns& turns_;
        bool has_come_ = false;
    };

  private:
    std::timed_mutex mutex_;
    std::atomic<std::thread::id> serving_{};  // the thread whose turn it is
};

}  // namespace palijet
