#include "cpu_engine.h"

#include <pybind11/stl.h>

#include <optional>

#include "error.h"
#include "register.h"

namespace py = pybind11;

namespace palijet {

namespace {

DecoderArithmetic arithmetic(int64_t hidden, int64_t intermediate, int64_t heads, int64_t kv_heads, int64_t head_dim,
                             int64_t vocab, bool is_fp16, float epsilon, std::optional<float> post_epsilon,
                             float rope_base, float attention_scale, std::optional<float> attention_cap,
                             std::optional<float> logit_cap, bool exact_gelu,
                             const std::vector<std::optional<int64_t>>& windows) {
    DecoderArithmetic a;
    a.hidden = hidden;
    a.intermediate = intermediate;
    a.heads = heads;
    a.kv_heads = kv_heads;
    a.head_dim = head_dim;
    a.vocab = vocab;
    a.type = is_fp16 ? ElementType::kFloat16 : ElementType::kFloat32;
    a.epsilon = epsilon;
    a.has_post_norms = post_epsilon.has_value();
    a.post_epsilon = post_epsilon.value_or(0);
    a.rope_base = rope_base;
    a.attention_scale = attention_scale;
    a.attention_cap = attention_cap.value_or(0);
    a.logit_cap = logit_cap.value_or(0);
    a.exact_gelu = exact_gelu;
    for (const auto& window : windows) a.windows.push_back(window.value_or(0));
    return a;
}

const CpuKernels& kernels_named(const std::string& name) {
    if (name == "portable") return CpuKernels::portable();
    if (const CpuKernels* fast = CpuKernels::fast()) return *fast;
    throw EngineError("this CPU has no AVX-512 VNNI, for which the fast kernels are written; let onnxruntime decode");
}

}  // namespace

void register_cpu_engine(py::module_& module) {
    py::class_<DecoderArithmetic>(module, "DecoderArithmetic", "A decoder's sizes and what it computes.")
        .def(py::init(&arithmetic), py::kw_only(), py::arg("hidden"), py::arg("intermediate"), py::arg("heads"),
             py::arg("kv_heads"), py::arg("head_dim"), py::arg("vocab"), py::arg("is_fp16"), py::arg("epsilon"),
             py::arg("post_epsilon"), py::arg("rope_base"), py::arg("attention_scale"), py::arg("attention_cap"),
             py::arg("logit_cap"), py::arg("exact_gelu"), py::arg("windows"));

    py::class_<StoredTensor>(module, "StoredTensor", "Where a tensor lies in a file of weights.")
        .def(py::init([](std::string dtype, std::vector<int64_t> shape, int64_t offset) {
                 return StoredTensor{std::move(dtype), std::move(shape), offset};
             }),
             py::arg("dtype") = "", py::arg("shape") = std::vector<int64_t>(), py::arg("offset") = 0);

    py::class_<StoredLinear>(module, "StoredLinear", "A linear layer's weight and its scales.")
        .def(py::init([](const StoredTensor& weight, const StoredTensor& scale, int64_t block, float input_scale) {
                 return StoredLinear{weight, scale, block, input_scale};
             }),
             py::arg("weight"), py::kw_only(), py::arg("scale") = StoredTensor{}, py::arg("block") = 0,
             py::arg("input_scale") = 0.0f);

    py::class_<CpuEngine, Engine, std::shared_ptr<CpuEngine>>(module, "CpuEngine",
                                                              "The decoder on the CPU by kernels of our own.")
        .def(py::init([](const std::string& path, const DecoderArithmetic& arithmetic,
                         const std::map<std::string, StoredLinear>& linears,
                         const std::map<std::string, StoredTensor>& norms, int threads, const std::string& kernels) {
                 auto weights = std::make_shared<const DecoderWeights>(path, arithmetic, linears, norms);
                 return std::make_shared<CpuEngine>(std::move(weights), arithmetic, kernels_named(kernels),
                                                    CpuOptions{threads});
             }),
             py::arg("path"), py::arg("arithmetic"), py::kw_only(), py::arg("linears"), py::arg("norms"),
             py::arg("threads") = 0, py::arg("kernels") = "fast", "kernels: \"fast\" or \"portable\".")
        .def_property_readonly(
            "kernels", [](const CpuEngine& engine) { return engine.kernels().name; }, "The instruction set they use.");
    module.attr("HAS_FAST_KERNELS") = CpuKernels::fast() != nullptr;
}

}  // namespace palijet
