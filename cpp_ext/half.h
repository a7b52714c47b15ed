// 16-bit floats by their bits: the compilers of JetPack 6 have no portable type for them in C++.
#pragma once

#include <cstdint>
#include <cstring>

namespace palijet {

inline float float_from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline uint32_t bits_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// bfloat16 is the upper half of a float.
inline float float_from_bfloat16(uint16_t bits) { return float_from_bits(uint32_t{bits} << 16); }

// IEEE 754 binary16.
inline float float_from_half(uint16_t half) {
    const uint32_t sign = uint32_t{half & 0x8000u} << 16;
    const uint32_t magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00u) return float_from_bits(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    if (magnitude >= 0x400u) return float_from_bits(sign | ((magnitude << 13) + (112u << 23)));
    // Subnormals count steps of 2^-24: as the last bits of 2^-14, which is then taken off. No subnormal float comes up
    // on the way, so it holds where those are flushed to zero as well.
    const float value = float_from_bits(113u << 23 | magnitude << 13) - float_from_bits(113u << 23);
    return float_from_bits(bits_of(value) | sign);
}

// Rounds to nearest, ties to even; what is out of range becomes infinite.
inline uint16_t half_from_float(float value) {
    const uint32_t bits = bits_of(value);
    const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return sign | 0x7e00u;   // nan
    if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // 65520 and above
    if (magnitude < 0x38800000u) {
        // Below 2^-14 a half counts in steps of 2^-24: adding 0.5 lines the steps up with a float's last bits.
        const float shifted = float_from_bits(magnitude) + 0.5f;
        return sign | static_cast<uint16_t>(bits_of(shifted) - bits_of(0.5f));
    }
    const uint32_t odd = magnitude >> 13 & 1u;
    return sign | static_cast<uint16_t>((magnitude - (112u << 23) + 0xfffu + odd) >> 13);
}

}  // namespace palijet
