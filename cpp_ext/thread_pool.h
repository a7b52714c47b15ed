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

// Used by one thread at a time, which is one of the workers. Between pieces of work of one `Shift` the others wait
// without sleeping, for that takes as long as a small piece itself; between shifts they sleep.
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

    // Calls work(thread) on every thread, 0 <= thread < size(), and returns when all are done; within a shift. What one
    // of them throws is thrown.
    template <class Work>
    void run(Work&& work) {
        start([](void* context, int thread) { (*static_cast<std::remove_reference_t<Work>*>(context))(thread); },
              &work);
    }

  private:
    using Call = void (*)(void* context, int thread);

    void start(Call call, void* context);
    void call(int thread) noexcept;
    void work(int thread);

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool on_shift_ = false;
    bool ending_ = false;
    std::atomic<bool> has_shift_{false};
    std::atomic<uint64_t> round_{0};  // counts pieces of work
    std::atomic<int> busy_{0};        // workers that have not finished this one
    Call call_ = nullptr;
    void* context_ = nullptr;
    std::mutex failure_mutex_;
    std::exception_ptr failure_;
};

}  // namespace palijet
