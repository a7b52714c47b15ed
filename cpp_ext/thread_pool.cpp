#include "thread_pool.h"

#include <sched.h>

#include <fstream>
#include <set>
#include <string>
#include <utility>

#include "flush_to_zero.h"

namespace palijet {

namespace {

// One per physical core: two threads of a core share the units that products need.
int physical_cores() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
    std::set<std::string> cores;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &allowed)) continue;
        std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
        std::string siblings = "cpu" + std::to_string(cpu);
        if (file) std::getline(file, siblings);
        cores.insert(siblings);
    }
    return std::max<int>(1, static_cast<int>(cores.size()));
}

void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Returns when `done`; gives the core away after a while, for the one that is waited for may need it.
template <class Done>
void wait_until(Done done) {
    constexpr int kSpins = 4000;
    for (int i = 0; !done(); ++i) {
        if (i < kSpins) {
            relax();
        } else {
            sched_yield();
        }
    }
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
    const int count = threads > 0 ? threads : physical_cores();
    for (int thread = 1; thread < count; ++thread) workers_.emplace_back([this, thread] { work(thread); });
}

ThreadPool::~ThreadPool() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
}

ThreadPool::Shift::Shift(ThreadPool& pool) : pool_(pool) {
    if (pool_.workers_.empty()) return;
    {
        const std::lock_guard lock(pool_.mutex_);
        pool_.on_shift_ = true;
        pool_.has_shift_.store(true, std::memory_order_release);
    }
    pool_.wake_.notify_all();
}

ThreadPool::Shift::~Shift() {
    if (pool_.workers_.empty()) return;
    const std::lock_guard lock(pool_.mutex_);
    pool_.on_shift_ = false;
    pool_.has_shift_.store(false, std::memory_order_release);
}

void ThreadPool::start(Call call, void* context) {
    call_ = call;
    context_ = context;
    busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    this->call(0);
    wait_until([this] { return busy_.load(std::memory_order_acquire) == 0; });
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::call(int thread) noexcept {
    try {
        call_(context_, thread);
    } catch (...) {
        const std::lock_guard lock(failure_mutex_);
        if (!failure_) failure_ = std::current_exception();
    }
}

void ThreadPool::work(int thread) {
    const FlushToZero fast;
    uint64_t done = 0;
    for (;;) {
        {
            std::unique_lock lock(mutex_);
            wake_.wait(
                lock, [this, &done] { return on_shift_ || ending_ || round_.load(std::memory_order_acquire) != done; });
            if (ending_) return;
        }
        for (;;) {
            wait_until([this, &done] {
                return round_.load(std::memory_order_acquire) != done || !has_shift_.load(std::memory_order_acquire);
            });
            if (round_.load(std::memory_order_acquire) == done) break;  // the shift is over
            ++done;
            call(thread);
            busy_.fetch_sub(1, std::memory_order_release);
        }
    }
}

}  // namespace palijet
