// Preprocessing on the GPU: the same integers as on the host, from memory of either.
#pragma once

#include <cstdint>
#include <vector>

#include "device.h"
#include "taps.h"

namespace palijet {

class CudaDevice;
class CudaKernels;

class CudaPreprocessor final : public Preprocessor {
  public:
    CudaPreprocessor(int64_t size, CudaDevice& device, CudaKernels& kernels);

    // Enqueued; the frame must stay until the device is synchronized. Memory that kernels can read, mapped memory of
    // the host among it, is read where it lies; other memory is copied to the GPU first.
    void run(const ImageView& image, float* pixels) override;
    int64_t size() const override { return size_; }
    Place place() const override { return Place::kDevice; }

  private:
    // Memory of the device that grows with the largest frame.
    struct Buffer {
        Memory memory;
        size_t bytes = 0;
    };
    // A table of both sides: made on the host when a frame's size changes, and copied.
    struct DeviceTaps {
        Taps taps;
        Buffer table;
        TapsView view;
    };

    ImageView on_device(const ImageView& image);
    ImageView to_rgb(const ImageView& nv12);
    const TapsView& taps(DeviceTaps& side, int64_t in);
    uint8_t* reserve(Buffer& buffer, size_t bytes);

    int64_t size_;
    CudaDevice& device_;
    CudaKernels& kernels_;
    DeviceTaps horizontal_, vertical_;
    Buffer frame_, rgb_, narrowed_;
};

}  // namespace palijet
