#include "staging.h"

#include <algorithm>
#include <utility>

namespace palijet {

void Staging::reserve(size_t tensor, size_t bytes) {
    if (tensor < places_.size() && bytes <= places_[tensor].room) return;
    std::vector<Place> places = places_;
    places.resize(std::max(places.size(), tensor + 1));
    places[tensor].room = aligned(bytes);
    size_t total = 0;
    for (Place& place : places) {
        place.offset = total;
        total += place.room;
    }
    Memory host = device_.allocate_host(total), memory = device_.allocate(total);
    std::swap(places_, places);
    std::swap(host_, host);
    std::swap(memory_, memory);
    bytes_ = total;
}

}  // namespace palijet
