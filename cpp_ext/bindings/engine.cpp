#include "engine.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>

#include "embedding_table.h"
#include "onnx_engine.h"
#include "register.h"
#ifdef PALIJET_TENSORRT
#include "tensorrt_engine.h"
#endif

namespace py = pybind11;

namespace palijet {

namespace {

ElementType element_type(const py::array& array) {
    const py::dtype dtype = array.dtype();
    const auto is = [&](char kind, ssize_t size) { return dtype.kind() == kind && dtype.itemsize() == size; };
    if (is('f', 4)) return ElementType::kFloat32;
    if (is('f', 2)) return ElementType::kFloat16;
    if (is('i', 4)) return ElementType::kInt32;
    if (is('i', 8)) return ElementType::kInt64;
    if (is('u', 1)) return ElementType::kUInt8;
    throw InputError("an array of " + std::string(py::str(py::object(dtype))) +
                     " cannot be given to a graph; use float32, float16, int32, int64 or uint8");
}

Shape shape_of(const py::array& array) {
    Shape shape = Shape::of_rank(static_cast<size_t>(array.ndim()));
    std::copy(array.shape(), array.shape() + array.ndim(), shape.begin());
    return shape;
}

py::list describe(const std::vector<TensorInfo>& tensors) {
    py::list described;
    for (const TensorInfo& tensor : tensors) {
        described.append(
            py::make_tuple(tensor.name, name_of(tensor.type),
                           py::tuple(py::cast(std::vector<int64_t>(tensor.shape.begin(), tensor.shape.end())))));
    }
    return described;
}

// Every tensor must be named: what an earlier run bound is memory that numpy may have freed since.
void require_all(const py::dict& given, const std::vector<TensorInfo>& tensors, const std::string& what) {
    for (const TensorInfo& tensor : tensors) {
        if (!given.contains(tensor.name)) throw InputError("the run lacks " + what + " " + tensor.name + "; give it");
    }
}

// Runs a graph on arrays into arrays of the given shapes.
py::dict run(Engine& engine, const py::dict& feeds, const py::dict& output_shapes) {
    require_all(feeds, engine.inputs(), "the input");
    require_all(output_shapes, engine.outputs(), "the shape of the output");
    std::vector<py::array> held;  // keeps contiguous copies alive until the run is over
    for (const auto& [name, value] : feeds) {
        const auto text = py::cast<std::string>(name);
        const size_t index = index_of(engine.inputs(), text);
        held.push_back(py::array::ensure(value, py::array::c_style));
        if (!held.back()) throw InputError("what was given as " + text + " is not an array; use a numpy array");
        const py::array& array = held.back();
        engine.bind_input(index, {const_cast<void*>(array.data()), element_type(array), shape_of(array)});
    }
    py::dict results;
    for (size_t i = 0; i < engine.outputs().size(); ++i) {
        const TensorInfo& output = engine.outputs()[i];
        const auto shape = py::cast<std::vector<ssize_t>>(output_shapes[output.name.c_str()]);
        py::array array(py::dtype(name_of(output.type)), shape);
        engine.bind_output(i, {array.mutable_data(), output.type, shape_of(array)});
        results[output.name.c_str()] = array;
    }
    {
        const py::gil_scoped_release released;
        engine.run();
    }
    return results;
}

}  // namespace

void register_engine(py::module_& module) {
    py::class_<Engine, std::shared_ptr<Engine>>(module, "Engine", "A graph on a device.")
        .def_property_readonly(
            "inputs", [](const Engine& engine) { return describe(engine.inputs()); },
            "Name, numpy type and shape of each input; -1 where a dimension is open.")
        .def_property_readonly(
            "outputs", [](const Engine& engine) { return describe(engine.outputs()); },
            "Name, numpy type and shape of each output; -1 where a dimension is open.")
        .def("run", &run, py::arg("feeds"), py::arg("output_shapes"),
             "Run the graph once on arrays by input name, into new arrays of the given shapes by output name.");

    py::class_<OnnxEngine, Engine, std::shared_ptr<OnnxEngine>>(module, "OnnxEngine",
                                                                "An ONNX graph run by onnxruntime.")
        .def(py::init([](const std::string& graph, const std::string& library, int threads, bool spin,
                         std::shared_ptr<CudaDevice> device) {
                 const py::gil_scoped_release released;
                 return std::make_shared<OnnxEngine>(graph, library, OnnxOptions{threads, spin}, std::move(device));
             }),
             py::arg("graph"), py::kw_only(), py::arg("library"), py::arg("threads") = 0, py::arg("spin") = false,
             py::arg("device") = py::none(), "device: the GPU to run on; None: the CPU.")
        .def_property_readonly("version", &OnnxEngine::version, "Version of onnxruntime.");

#ifdef PALIJET_TENSORRT
    py::class_<TensorRtEngine, Engine, std::shared_ptr<TensorRtEngine>>(module, "TensorRtEngine",
                                                                        "A TensorRT engine on a GPU.")
        .def(py::init([](const std::string& plan, std::shared_ptr<CudaDevice> device, const std::string& library,
                         bool cuda_graphs) {
                 const py::gil_scoped_release released;
                 return std::make_shared<TensorRtEngine>(plan, std::move(device),
                                                         TensorRtOptions{library, cuda_graphs});
             }),
             py::arg("plan"), py::arg("device"), py::kw_only(), py::arg("library") = "", py::arg("cuda_graphs") = true,
             "library: the path of libnvinfer; empty: the system's.")
        .def_property_readonly("version", &TensorRtEngine::version, "Version of TensorRT.")
        .def_property_readonly("graph_note", &TensorRtEngine::graph_note,
                               "Why runs are no longer recorded as CUDA graphs; empty while they are.")
        .def_property_readonly("replays", &TensorRtEngine::replays, "How many runs were replays of a CUDA graph.");
    module.def("tensorrt_version", &tensorrt_version, py::arg("library") = "",
               "Version of the TensorRT in a library; empty: the system's.");
    module.attr("TENSORRT_MAJOR") = TensorRtEngine::compiled_major();
#else
    module.attr("TENSORRT_MAJOR") = py::none();
#endif

    py::class_<EmbeddingTable, std::shared_ptr<EmbeddingTable>>(module, "EmbeddingTable",
                                                                "The token embedding table, memory-mapped.")
        .def(py::init([](const std::string& path, int64_t rows, int64_t width, const std::string& dtype, float scale) {
                 return std::make_shared<EmbeddingTable>(path, EmbeddingLayout{rows, width, stored_type(dtype), scale});
             }),
             py::arg("path"), py::kw_only(), py::arg("rows"), py::arg("width"), py::arg("dtype"), py::arg("scale"))
        .def(
            "gather",
            [](const EmbeddingTable& table, int32_t token) {
                py::array_t<float> row(table.width());
                table.gather(token, ElementType::kFloat32, row.mutable_data());
                return row;
            },
            py::arg("token"), "The scaled row of a token: [width] float32.");
}

}  // namespace palijet
