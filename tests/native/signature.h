// Whether two functions can be called in each other's place: as many arguments, pointers where those are, and the same
// sizes.
#pragma once

#include <type_traits>

namespace palijet::tests {

template <class Ours, class Theirs>
constexpr bool is_alike() {
    return std::is_pointer_v<Ours> == std::is_pointer_v<Theirs> && sizeof(Ours) == sizeof(Theirs);
}
template <>
constexpr bool is_alike<void, void>() {
    return true;
}

template <class Ours, class Theirs>
struct Alike : std::false_type {};

template <class OurResult, class... Ours, class TheirResult, class... Theirs, bool kNoexcept>
struct Alike<OurResult (*)(Ours...), TheirResult (*)(Theirs...) noexcept(kNoexcept)> {
    static constexpr bool compare() {
        if constexpr (sizeof...(Ours) == sizeof...(Theirs)) {
            return is_alike<OurResult, TheirResult>() && (is_alike<Ours, Theirs>() && ...);
        } else {
            return false;
        }
    }
    static constexpr bool value = compare();
};

}  // namespace palijet::tests
