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
    explicit InterruptWatch(bool on_main_thread) : active_(on_main_thread) {
        if (!active_) return;
        noted() = 0;
        struct sigaction action{};
        action.sa_sigaction = &note;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigemptyset(&action.sa_mask);
        sigaction(SIGINT, &action, &previous());
    }
    ~InterruptWatch() {
        if (active_) sigaction(SIGINT, &previous(), nullptr);
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
        } else if (next.sa_handler != SIG_DFL && next.sa_handler != SIG_IGN) {
            next.sa_handler(signal);
        }
    }

    bool active_;
};

}  // namespace palijet
