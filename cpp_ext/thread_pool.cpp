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

ThreadPool::ThreadPool(int threads) : workers_(static_cast<size_t>((threads > 0 ? threads : physical_cores()) - 1)) {
    int part = 1;
    for (Worker& worker : workers_) {
        worker.thread = std::thread([this, &worker, part] { work(worker, part); });
        ++part;
    }
}

ThreadPool::~ThreadPool() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    wake_.notify_all();
    for (Worker& worker : workers_) worker.thread.join();
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
    const uint64_t round = round_.fetch_add(1, std::memory_order_release) + 1;
    this->call(0);
    int part = 0;
    for (Worker& worker : workers_) {
        ++part;
        if (!claim(worker, round)) continue;
        this->call(part);
        worker.done.store(round, std::memory_order_relaxed);
    }
    for (Worker& worker : workers_) {
        wait_until([&] { return worker.done.load(std::memory_order_acquire) == round; });
    }
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

// Whether this round's part of a worker is the caller's now. It is not if that round is over.
bool ThreadPool::claim(Worker& worker, uint64_t round) {
    uint64_t before = round - 1;  // of each round every part is claimed
    return worker.claimed.compare_exchange_strong(before, round, std::memory_order_acq_rel);
}

void ThreadPool::call(int part) noexcept {
    try {
        call_(context_, part);
    } catch (...) {
        const std::lock_guard lock(failure_mutex_);
        if (!failure_) failure_ = std::current_exception();
    }
}

void ThreadPool::work(Worker& worker, int part) {
    const FlushToZero fast;
    uint64_t seen = 0;  // the last round
    for (;;) {
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [this] { return on_shift_ || ending_; });
            if (ending_) return;
        }
        for (;;) {
            uint64_t round = 0;
            wait_until([&] {
                round = round_.load(std::memory_order_acquire);
                return round != seen || !has_shift_.load(std::memory_order_acquire);
            });
            if (round == seen) break;  // the shift is over
            seen = round;
            if (!claim(worker, round)) continue;
            call(part);
            worker.done.store(round, std::memory_order_release);
        }
    }
}

}  // namespace palijet
