// Threads that do one piece of work together, again and again.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace palijet {

// Used by one thread at a time, which does a part of the work itself. Between pieces of work of one `Shift` the workers
// wait without sleeping, for that takes as long as a small piece itself; between shifts they sleep. A part that its
// worker has not begun when the caller is through with its own, for another process has the core, is the caller's.
class ThreadPool {
  public:
    // `threads` in all; 0: one per physical core that the process may use.
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const { return static_cast<int>(workers_.size()) + 1; }

    class Shift {
      public:
        explicit Shift(ThreadPool& pool);
        ~Shift();
        Shift(const Shift&) = delete;
        Shift& operator=(const Shift&) = delete;

      private:
        ThreadPool& pool_;
    };

    // Calls work(part) for every part, 0 <= part < size(), no two of them at a time on one thread, and returns when all
    // are done; within a shift. What one of them throws is thrown.
    template <class Work>
    void run(Work&& work) {
        start([](void* context, int part) { (*static_cast<std::remove_reference_t<Work>*>(context))(part); }, &work);
    }

  private:
    using Call = void (*)(void* context, int part);

    struct alignas(64) Worker {            // its own cache line
        std::atomic<uint64_t> claimed{0};  // the last round whose part somebody took
        std::atomic<uint64_t> done{0};     // the last round whose part is done
        std::thread thread;
    };

    void start(Call call, void* context);
    void call(int part) noexcept;
    void work(Worker& worker, int part);
    static bool claim(Worker& worker, uint64_t round);

    std::vector<Worker> workers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool on_shift_ = false;
    bool ending_ = false;
    std::atomic<bool> has_shift_{false};
    std::atomic<uint64_t> round_{0};  // counts pieces of work
    Call call_ = nullptr;             // of this round; read by who has claimed a part of it
    void* context_ = nullptr;
    std::mutex failure_mutex_;
    std::exception_ptr failure_;
};

}  // namespace palijet
