// What the stand-in of TensorRT takes for a serialized engine: a text that names an ONNX graph of the graph contract
// and the ranges of its open dimensions.
//
//     stand-in plan
//     onnxruntime /path/of/libonnxruntime.so
//     graph /path/of/decoder.onnx
//     profile B 1 4 T 1 300 P 1 1 N 1 4
//     profile B 1 4 T 1 1 P 1 700 N 1 4
#pragma once

#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "tensor.h"

namespace stand_in {

struct Plan {
    std::string onnxruntime, graph;
    std::vector<std::map<char, std::pair<int64_t, int64_t>>> profiles;  // least and most of each dimension
};

inline Plan read_plan(const std::string& text) {
    std::istringstream lines(text);
    std::string line, word;
    std::getline(lines, line);
    if (line != "stand-in plan") throw std::runtime_error("magicTag does not match: the plan is another library's");
    Plan plan;
    while (std::getline(lines, line)) {
        std::istringstream words(line);
        words >> word;
        if (word == "onnxruntime") words >> plan.onnxruntime;
        if (word == "graph") words >> plan.graph;
        if (word != "profile") continue;
        std::map<char, std::pair<int64_t, int64_t>> ranges;
        char symbol;
        int64_t least, most;
        while (words >> symbol >> least >> most) ranges[symbol] = {least, most};
        plan.profiles.push_back(ranges);
    }
    return plan;
}

// The graph contract's names of a tensor's open dimensions.
inline std::string symbols(const std::string& tensor) {
    const auto begins = [&](const char* start) { return tensor.rfind(start, 0) == 0; };
    if (tensor == "inputs_embeds" || begins("new_")) return "BT";
    if (begins("past_key") || begins("past_value")) return "BP";
    for (const char* name : {"logits_index", "target", "token", "logprob", "target_logprob"}) {
        if (tensor == name) return "N";
    }
    return "B";
}

// A tensor's shape where `size_of` tells what each symbol is.
template <class SizeOf>
palijet::Shape resolved(const palijet::TensorInfo& info, SizeOf size_of) {
    palijet::Shape shape = info.shape;
    size_t open = 0;
    for (int64_t& dimension : shape) {
        if (dimension < 0) dimension = size_of(symbols(info.name)[open++]);
    }
    return shape;
}

}  // namespace stand_in
