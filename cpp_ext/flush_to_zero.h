// Numbers too small for a float's full precision count as zero on this thread: processors take a hundred times longer
// with them, and an answer does not hang on 1e-38.
#pragma once

#include <cstdint>

namespace palijet {

class FlushToZero {
  public:
    FlushToZero() : before_(read()) { write(before_ | kBits); }
    ~FlushToZero() { write(before_); }
    FlushToZero(const FlushToZero&) = delete;
    FlushToZero& operator=(const FlushToZero&) = delete;

  private:
#if defined(__x86_64__)
    using Register = uint32_t;
    static constexpr Register kBits = 0x8040;  // results and operands
    static Register read() { return __builtin_ia32_stmxcsr(); }
    static void write(Register value) { __builtin_ia32_ldmxcsr(value); }
#elif defined(__aarch64__)
    using Register = uint64_t;
    static constexpr Register kBits = 1u << 24;
    static Register read() {
        Register value;
        asm volatile("mrs %0, fpcr" : "=r"(value));
        return value;
    }
    static void write(Register value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
#else
    using Register = int;
    static constexpr Register kBits = 0;
    static Register read() { return 0; }
    static void write(Register) {}
#endif

    Register before_;
};

}  // namespace palijet
