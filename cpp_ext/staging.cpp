#include "staging.h"

namespace palijet {

void Staging::reserve(size_t tensor, size_t bytes) {
    if (tensor >= places_.size()) places_.resize(tensor + 1);
    if (bytes <= places_[tensor].room) return;
    places_[tensor].room = aligned(bytes);
    bytes_ = 0;
    for (Place& place : places_) {
        place.offset = bytes_;
        bytes_ += place.room;
    }
    host_ = device_.allocate_host(bytes_);
    memory_ = device_.allocate(bytes_);
}

}  // namespace palijet
