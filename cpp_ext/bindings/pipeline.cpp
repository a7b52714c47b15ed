#include "pipeline.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <atomic>
#include <functional>
#include <optional>

#include "frame.h"
#include "interrupt.h"
#include "register.h"

namespace py = pybind11;

namespace palijet {

namespace {

class CancelToken {
  public:
    void cancel() { cancelled_ = true; }
    bool cancelled() const { return cancelled_; }

  private:
    std::atomic<bool> cancelled_{false};
};

const char* name_of(StopReason reason) {
    switch (reason) {
        case StopReason::kStop:
            return "stop";
        case StopReason::kMaxTokens:
            return "max_tokens";
        case StopReason::kCancelled:
            return "cancelled";
    }
    return "";
}

bool is_main_thread() {
    const py::module_ threading = py::module_::import("threading");
    return threading.attr("current_thread")().is(threading.attr("main_thread")());
}

std::pair<std::vector<Generation>, Timings> generate(Pipeline& pipeline,
                                                     const std::vector<std::reference_wrapper<const Frame>>& images,
                                                     const std::vector<std::vector<int32_t>>& prompts,
                                                     const std::vector<size_t>& image_of_prompt, int64_t max_tokens,
                                                     const std::vector<int32_t>& stop_tokens,
                                                     const py::object& on_token, const CancelToken* cancel) {
    if (prompts.size() != image_of_prompt.size()) throw InputError("each prompt needs the index of its image");
    std::vector<ImageView> views;
    for (const Frame& image : images) views.push_back(image.view());
    std::vector<Request> requests;
    for (size_t i = 0; i < prompts.size(); ++i) requests.push_back({image_of_prompt[i], prompts[i]});

    GenerateOptions options;
    options.max_tokens = max_tokens;
    options.stop_tokens = stop_tokens;
    if (!on_token.is_none()) {
        options.on_token = [&on_token](size_t sequence, int32_t token, float logprob) {
            const py::gil_scoped_acquire acquired;
            on_token(sequence, token, logprob);
        };
    }
    InterruptWatch interrupts(is_main_thread());
    options.is_cancelled = [&] {
        if (interrupts.take()) {
            const py::gil_scoped_acquire acquired;
            if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        }
        return cancel && cancel->cancelled();
    };
    std::pair<std::vector<Generation>, Timings> result;
    {
        const py::gil_scoped_release released;
        result.first = pipeline.generate(views, requests, options, result.second);
    }
    return result;
}

}  // namespace

void register_pipeline(py::module_& module) {
    py::class_<CancelToken, std::shared_ptr<CancelToken>>(module, "CancelToken",
                                                          "Ends a running generation, from any thread.")
        .def(py::init<>())
        .def("cancel", &CancelToken::cancel, "The generation ends before its next token.")
        .def_property_readonly("cancelled", &CancelToken::cancelled);

    py::class_<Generation>(module, "Generation", "The tokens that answer one prompt.")
        .def_readonly("tokens", &Generation::tokens, "Ids, without the stop token.")
        .def_readonly("logprobs", &Generation::logprobs, "Log-probability of each token.")
        .def_property_readonly(
            "stop_reason", [](const Generation& self) { return name_of(self.stop_reason); },
            "\"stop\", \"max_tokens\" or \"cancelled\".")
        .def_property_readonly(
            "stop_logprob",
            [](const Generation& self) {
                return self.stop_reason == StopReason::kStop ? std::optional<float>(self.stop_logprob) : std::nullopt;
            },
            "Log-probability of the stop token, where there is one.");

    py::class_<Timings>(module, "Timings", "Where the time of one call went, in milliseconds.")
        .def_readonly("preprocess_ms", &Timings::preprocess_ms)
        .def_readonly("vision_ms", &Timings::vision_ms)
        .def_readonly("prefill_ms", &Timings::prefill_ms)
        .def_readonly("decode_ms", &Timings::decode_ms)
        .def_readonly("total_ms", &Timings::total_ms)
        .def_readonly("decoder_calls", &Timings::decoder_calls);

    py::class_<Pipeline>(module, "Pipeline",
                         "Preprocess, vision, prefill and the decode loop in one call without the GIL.")
        .def(py::init([](std::shared_ptr<Engine> vision, std::shared_ptr<Engine> decoder,
                         std::shared_ptr<EmbeddingTable> embeddings, int64_t image_size, int64_t max_rows,
                         int64_t max_batch) {
                 return std::make_unique<Pipeline>(std::move(vision), std::move(decoder), std::move(embeddings),
                                                   PipelineOptions{image_size, max_rows, max_batch});
             }),
             py::arg("vision"), py::arg("decoder"), py::arg("embeddings"), py::kw_only(), py::arg("image_size"),
             py::arg("max_rows"), py::arg("max_batch"))
        .def_property_readonly("image_rows", &Pipeline::image_rows)
        .def_property_readonly("max_rows", &Pipeline::max_rows)
        .def("generate", &generate, py::arg("images"), py::arg("prompts"), py::arg("image_of_prompt"), py::kw_only(),
             py::arg("max_tokens"), py::arg("stop_tokens"), py::arg("on_token") = py::none(),
             py::arg("cancel") = static_cast<CancelToken*>(nullptr),
             "images: frames; prompts: token ids with <bos> and newline; image_of_prompt: which image each asks "
             "about. Returns one Generation per prompt, and Timings.");
}

}  // namespace palijet
