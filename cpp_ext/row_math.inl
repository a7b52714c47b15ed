// What becomes of rows between products, written so that compilers vectorise it. Included by the file of each
// instruction set, inside a namespace of its own.

// exp(x) for x <= 88, as Cephes does it (S. Moshier): 2^n times a polynomial; relative error below 2e-7.
inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    constexpr float kRounding = 12582912.0f;  // 1.5 * 2^23: adding it leaves no room for fractions
    const float n = (x * 1.44269504088896341f + kRounding) - kRounding;
    const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * float_from_bits(static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23);
}

constexpr int64_t kSums = 16;  // kept apart, so that additions need not wait for each other

// The sum of f(i) for i < count.
template <class Function>
inline float sum_of(int64_t count, Function f) {
    float sums[kSums] = {};
    int64_t i = 0;
    for (; i + kSums <= count; i += kSums) {
        for (int64_t j = 0; j < kSums; ++j) sums[j] += f(i + j);
    }
    for (; i < count; ++i) sums[i % kSums] += f(i);
    for (int64_t width = kSums / 2; width > 0; width /= 2) {
        for (int64_t j = 0; j < width; ++j) sums[j] += sums[j + width];
    }
    return sums[0];
}

inline float highest(const float* x, int64_t count) {
    float best[kSums];
    for (float& value : best) value = -std::numeric_limits<float>::infinity();
    int64_t i = 0;
    for (; i + kSums <= count; i += kSums) {
        for (int64_t j = 0; j < kSums; ++j) best[j] = x[i + j] > best[j] ? x[i + j] : best[j];
    }
    for (; i < count; ++i) best[0] = x[i] > best[0] ? x[i] : best[0];
    return *std::max_element(best, best + kSums);
}

inline float largest_magnitude(const float* x, int64_t count) {
    float best[kSums] = {};
    int64_t i = 0;
    for (; i + kSums <= count; i += kSums) {
        for (int64_t j = 0; j < kSums; ++j) {
            const float magnitude = std::fabs(x[i + j]);
            best[j] = magnitude > best[j] ? magnitude : best[j];
        }
    }
    for (; i < count; ++i) best[0] = std::max(best[0], std::fabs(x[i]));
    return *std::max_element(best, best + kSums);
}

inline int32_t round_to_integers(const float* x, int64_t count, float inverse, int8_t* integers) {
    constexpr float kRounding = 12582912.0f;  // ties to even
    int32_t sum = 0;
    for (int64_t i = 0; i < count; ++i) {
        float value = x[i] * inverse;
        value = value < -128.0f ? -128.0f : value > 127.0f ? 127.0f : value;
        const auto integer = static_cast<int32_t>((value + kRounding) - kRounding);
        integers[i] = static_cast<int8_t>(integer);
        sum += integer;
    }
    return sum;
}

inline void quantize(const float* x, int64_t count, int64_t segment, float scale, int8_t* integers, int32_t* sums) {
    for (int64_t first = 0; first < count; first += segment) {
        const int64_t here = std::min(segment, count - first);
        int32_t sum = 0;
        // Divided, as QuantizeLinear does it: a product with the inverse is another float now and then.
        constexpr float kRounding = 12582912.0f;
        for (int64_t i = first; i < first + here; ++i) {
            float value = x[i] / scale;
            value = value < -128.0f ? -128.0f : value > 127.0f ? 127.0f : value;
            const auto integer = static_cast<int32_t>((value + kRounding) - kRounding);
            integers[i] = static_cast<int8_t>(integer);
            sum += integer;
        }
        *sums++ = sum;
    }
}

inline void quantize_blocks(const float* x, int64_t count, int64_t segment, int8_t* integers, float* scales,
                            int32_t* sums) {
    for (int64_t first = 0; first < count; first += segment) {
        const int64_t here = std::min(segment, count - first);
        const float largest = largest_magnitude(x + first, here);
        const bool counts = largest > 1e-30f;  // below that the inverse overflows
        *scales++ = counts ? largest / 127.0f : 0.0f;
        *sums++ = round_to_integers(x + first, here, counts ? 127.0f / largest : 0.0f, integers + first);
    }
}

inline void rms_norm(const float* x, const float* weight, int64_t width, float epsilon, float* out) {
    const float mean = sum_of(width, [&](int64_t i) { return x[i] * x[i]; }) / static_cast<float>(width);
    const float root = std::sqrt(mean + epsilon);
    for (int64_t i = 0; i < width; ++i) out[i] = x[i] / root * weight[i];
}

inline void gated_gelu(const float* gate, const float* up, int64_t width, bool exact, float* out) {
    if (exact) {
        for (int64_t i = 0; i < width; ++i) {
            out[i] = 0.5f * gate[i] * (1.0f + std::erf(gate[i] * 0.70710678118654752f)) * up[i];
        }
        return;
    }
    // 0.5 (1 + tanh(u)) is 1 / (1 + exp(-2u)).
    for (int64_t i = 0; i < width; ++i) {
        const float x = gate[i];
        const float twice = -2.0f * 0.79788456080286536f * (x + 0.044715f * x * x * x);
        out[i] = x / (1.0f + exponential(twice > 80.0f ? 80.0f : twice)) * up[i];
    }
}

inline void rotate(float* x, const float* cosine, const float* sine, int64_t half) {
    for (int64_t i = 0; i < half; ++i) {
        const float first = x[i], second = x[i + half];
        x[i] = first * cosine[i] - second * sine[i];
        x[i + half] = second * cosine[i] + first * sine[i];
    }
}

inline void soft_cap(float* x, int64_t count, float cap) {
    // tanh(y) is 1 - 2 / (exp(2y) + 1).
    for (int64_t i = 0; i < count; ++i) {
        const float twice = 2.0f * (x[i] / cap);
        x[i] = cap * (1.0f - 2.0f / (exponential(twice > 80.0f ? 80.0f : twice) + 1.0f));
    }
}

inline float exponentiate(float* x, int64_t count, float offset) {
    for (int64_t i = 0; i < count; ++i) {
        // What is masked is minus infinity, and adds nothing at all.
        const float value = exponential(x[i] - offset);
        x[i] = x[i] == -std::numeric_limits<float>::infinity() ? 0.0f : value;
    }
    return sum_of(count, [&](int64_t i) { return x[i]; });
}

inline void scale(float* x, int64_t count, float factor) {
    for (int64_t i = 0; i < count; ++i) x[i] *= factor;
}

inline void add(float* x, const float* y, int64_t count) {
    for (int64_t i = 0; i < count; ++i) x[i] += y[i];
}

inline void from_half(const uint16_t* from, int64_t count, float* to) {
    for (int64_t i = 0; i < count; ++i) to[i] = float_from_half(from[i]);
}

inline void to_half(const float* from, int64_t count, uint16_t* to) {
    for (int64_t i = 0; i < count; ++i) to[i] = half_from_float(from[i]);
}
