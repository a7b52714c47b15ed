// Ctrl-C during a call that holds no GIL.
#pragma once

#include <atomic>
#include <csignal>

namespace palijet {

// For the time of a call on the main thread, notes SIGINT and hands it on to Python's own handler. Asking Python for
// signals takes the GIL, which another thread may hold for milliseconds; so the loop looks at the note first and asks
// only when there is one.
class InterruptWatch {
  public:
    explicit InterruptWatch(bool on_main_thread) {
        if (!on_main_thread) return;
        struct sigaction current{};
        sigaction(SIGINT, nullptr, &current);
        const bool has_info = current.sa_flags & SA_SIGINFO;
        // A callback that asks another model watches within a watch: the outer handler serves both.
        active_ = has_info && current.sa_sigaction == &note;
        // Who lets SIGINT kill the process, or ignores it, means that for this call too.
        if (active_ || (!has_info && (current.sa_handler == SIG_DFL || current.sa_handler == SIG_IGN))) return;
        active_ = installed_ = true;
        noted() = 0;
        previous() = current;
        struct sigaction action{};
        action.sa_sigaction = &note;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigemptyset(&action.sa_mask);
        sigaction(SIGINT, &action, nullptr);
    }
    ~InterruptWatch() {
        if (installed_) sigaction(SIGINT, &previous(), nullptr);
    }
    InterruptWatch(const InterruptWatch&) = delete;
    InterruptWatch& operator=(const InterruptWatch&) = delete;

    // Whether SIGINT came since the last time this was asked.
    bool take() { return active_ && noted().exchange(0) != 0; }

  private:
    static std::atomic<int>& noted() {
        static std::atomic<int> value{0};
        return value;
    }
    static struct sigaction& previous() {
        static struct sigaction action{};
        return action;
    }
    static void note(int signal, siginfo_t* info, void* context) {
        noted().store(1);
        const struct sigaction& next = previous();
        if (next.sa_flags & SA_SIGINFO) {
            next.sa_sigaction(signal, info, context);
        } else {
            next.sa_handler(signal);
        }
    }

    bool active_ = false;     // whether SIGINT is noted during this call
    bool installed_ = false;  // whether by this watch
};

}  // namespace palijet
