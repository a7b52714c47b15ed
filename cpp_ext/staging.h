// Tensors of the host on their way to the device or back: all of them in one copy.
#pragma once

#include <vector>

#include "device.h"

namespace palijet {

// A tensor keeps its place while it does not grow, so what is bound there stays bound.
class Staging {
  public:
    explicit Staging(Device& device) : device_(device) {}

    // Makes room for a tensor. May move all of them: ask for addresses once every tensor has its room.
    void reserve(size_t tensor, size_t bytes);

    uint8_t* on_host(size_t tensor) const { return host_.get() + places_[tensor].offset; }
    uint8_t* on_device(size_t tensor) const { return memory_.get() + places_[tensor].offset; }

    // Enqueued.
    void copy_to_device() { device_.copy(memory_.get(), host_.get(), bytes_); }
    void copy_to_host() { device_.copy(host_.get(), memory_.get(), bytes_); }

  private:
    struct Place {
        size_t offset = 0, room = 0;
    };

    Device& device_;
    std::vector<Place> places_;
    size_t bytes_ = 0;
    Memory host_, memory_;
};

}  // namespace palijet
