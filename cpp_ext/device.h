// Where tensors live: memory of the host or of a GPU, and the copies between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "preprocessor.h"
#include "row_copy.h"
#include "tensor.h"

namespace palijet {

// Goes back to its device with its owner; the device outlives it.
using Memory = std::unique_ptr<uint8_t, std::function<void(uint8_t*)>>;

// Copies and clearings are enqueued: they happen in the order of their calls, among the runs of the device's engines,
// and are over when `synchronize` returns. All of it throws EngineError where the device does not comply.
class Device {
  public:
    // TensorRT asks for tensors on such addresses.
    static constexpr size_t kAlignment = 256;

    virtual ~Device() = default;

    virtual Place place() const = 0;  // of what `allocate` gives

    // Zeroed, and aligned for an engine.
    virtual Memory allocate(size_t bytes) = 0;
    // Zeroed memory of the host that the device copies from and to without a stop in between.
    virtual Memory allocate_host(size_t bytes) = 0;

    virtual void copy(void* to, const void* from, size_t bytes) = 0;  // of either place
    virtual void copy_rows(const RowCopy& copy) = 0;                  // within `allocate`d memory
    // Zeroes the `bytes` bytes at rows + i * stride for each i < pieces, in `allocate`d memory.
    virtual void clear_rows(uint8_t* rows, size_t stride, size_t bytes, size_t pieces) = 0;
    virtual void synchronize() = 0;

    // Resizes and normalises frames to [3, size, size], on the device where it can.
    virtual std::unique_ptr<Preprocessor> make_preprocessor(int64_t size) = 0;
};

inline size_t aligned(size_t bytes) {
    return (bytes + Device::kAlignment - 1) / Device::kAlignment * Device::kAlignment;
}

}  // namespace palijet
