// A graph on a device: named tensors in, named tensors out.
#pragma once

#include <string_view>
#include <vector>

#include "cpu_device.h"
#include "error.h"
#include "tensor.h"

namespace palijet {

// Memory is bound to inputs and outputs and stays bound until it is bound anew; `run` computes over what is bound. So a
// step whose shapes and addresses are those of the step before costs no binding at all. Memory of the host can be bound
// to an engine of any device; its tensors are carried there and back by each run.
class Engine {
  public:
    virtual ~Engine() = default;

    virtual const std::vector<TensorInfo>& inputs() const = 0;
    virtual const std::vector<TensorInfo>& outputs() const = 0;

    // `index` counts inputs() or outputs(). Free of cost where nothing changed.
    virtual void bind_input(size_t index, const TensorView& tensor) = 0;
    virtual void bind_output(size_t index, const TensorView& tensor) = 0;

    // Returns when the outputs are there. Throws EngineError with the library's own words.
    virtual void run() = 0;

    // Where the engine computes; as long-lived as the engine.
    virtual Device& device() { return CpuDevice::instance(); }
};

// The place of a tensor in a list of them; EngineError where the graph has none of that name.
inline size_t index_of(const std::vector<TensorInfo>& tensors, std::string_view name) {
    for (size_t i = 0; i < tensors.size(); ++i) {
        if (tensors[i].name == name) return i;
    }
    throw EngineError("the graph has no tensor " + std::string(name) +
                      "; it does not follow the graph contract, export again");
}

// EngineError where a tensor of `graph`, a file, is given what is not of its type and shape.
inline void check_fits(const std::string& graph, const TensorInfo& info, const TensorView& tensor) {
    if (info.type == tensor.type && info.shape.admits(tensor.shape)) return;
    throw EngineError(graph + ": " + info.name + " is " + name_of(info.type) + " " + info.shape.to_string() +
                      " and was given " + name_of(tensor.type) + " " + tensor.shape.to_string());
}

}  // namespace palijet
