// What flows between the core and an engine: element types, shapes, and views of memory that somebody else owns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string>

#include "shape.h"

namespace palijet {

enum class ElementType { kFloat32, kFloat16, kInt32, kInt64, kUInt8 };

inline size_t size_of(ElementType type) {
    switch (type) {
        case ElementType::kFloat32:
        case ElementType::kInt32:
            return 4;
        case ElementType::kFloat16:
            return 2;
        case ElementType::kInt64:
            return 8;
        case ElementType::kUInt8:
            return 1;
    }
    return 0;
}

// numpy's name of the type.
inline const char* name_of(ElementType type) {
    switch (type) {
        case ElementType::kFloat32:
            return "float32";
        case ElementType::kFloat16:
            return "float16";
        case ElementType::kInt32:
            return "int32";
        case ElementType::kInt64:
            return "int64";
        case ElementType::kUInt8:
            return "uint8";
    }
    return "";
}

inline int64_t element_count(const Shape& shape) {
    return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

enum class Place { kHost, kDevice };  // kDevice: memory that only the device of the engine can read

// Row-major elements in memory that outlives the view.
struct TensorView {
    void* data = nullptr;
    ElementType type = ElementType::kFloat32;
    Shape shape;
    Place place = Place::kHost;

    size_t bytes() const { return static_cast<size_t>(element_count(shape)) * size_of(type); }
};

// A named input or output of a graph.
struct TensorInfo {
    std::string name;
    ElementType type;
    Shape shape;  // -1 where the graph leaves a dimension open
};

}  // namespace palijet
