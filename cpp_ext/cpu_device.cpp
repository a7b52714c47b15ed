#include "cpu_device.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "cpu_preprocessor.h"

namespace palijet {

CpuDevice& CpuDevice::instance() {
    static CpuDevice device;
    return device;
}

Memory CpuDevice::allocate(size_t bytes) {
    void* memory = std::calloc(bytes, 1);  // untouched zero pages cost nothing
    if (!memory) throw std::bad_alloc();
    return {static_cast<uint8_t*>(memory), [](uint8_t* address) { std::free(address); }};
}

void CpuDevice::copy(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }

void CpuDevice::copy_rows(const RowCopy& copy) {
    for (size_t i = 0; i < copy.pieces; ++i) {
        std::memcpy(copy.to + i * copy.to_stride, copy.from + i * copy.from_stride, copy.bytes);
    }
}

void CpuDevice::clear_rows(uint8_t* rows, size_t stride, size_t bytes, size_t pieces) {
    for (size_t i = 0; i < pieces; ++i) std::memset(rows + i * stride, 0, bytes);
}

std::unique_ptr<Preprocessor> CpuDevice::make_preprocessor(int64_t size) {
    return std::make_unique<CpuPreprocessor>(size);
}

}  // namespace palijet
