// The host itself: nothing is enqueued, everything is done when its call returns.
#pragma once

#include "device.h"

namespace palijet {

class CpuDevice final : public Device {
  public:
    static CpuDevice& instance();

    Place place() const override { return Place::kHost; }
    Memory allocate(size_t bytes) override;  // of pages that the system backs only when they are first written
    Memory allocate_host(size_t bytes) override { return allocate(bytes); }
    void copy(void* to, const void* from, size_t bytes) override;
    void copy_rows(const RowCopy& copy) override;
    void clear_rows(uint8_t* rows, size_t stride, size_t bytes, size_t pieces) override;
    void synchronize() override {}
    std::unique_ptr<Preprocessor> make_preprocessor(int64_t size) override;
};

}  // namespace palijet
