// Memory on cache lines that grows and is used again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace palijet {

template <class Element>
class AlignedBuffer {
  public:
    // Room for `count` elements; what was there is lost if there was less.
    Element* reserve(int64_t count) {
        if (count > size_) {
            memory_.reset();
            size_ = 0;
            memory_.reset(static_cast<Element*>(
                ::operator new(static_cast<size_t>(count) * sizeof(Element), std::align_val_t{kAlignment})));
            size_ = count;
        }
        return memory_.get();
    }
    Element* get() const { return memory_.get(); }

  private:
    static constexpr size_t kAlignment = 64;

    struct Free {
        void operator()(Element* memory) const { ::operator delete(memory, std::align_val_t{kAlignment}); }
    };

    std::unique_ptr<Element, Free> memory_;
    int64_t size_ = 0;
};

}  // namespace palijet
