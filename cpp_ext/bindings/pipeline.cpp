#include "pipeline.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <atomic>
#include <functional>
#include <optional>
#include <type_traits>

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

// What ends a call early: a token of Python's, and Ctrl-C.
class Cancellation {
  public:
    explicit Cancellation(const CancelToken* token) : token_(token), interrupts_(is_main_thread()) {}

    bool requested() {
        if (interrupts_.take()) {
            const py::gil_scoped_acquire acquired;
            if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        }
        return token_ && token_->cancelled();
    }

  private:
    const CancelToken* token_;
    InterruptWatch interrupts_;
};

using Frames = std::vector<std::reference_wrapper<const Frame>>;
using Encoded = std::shared_ptr<const EncodedImages>;
using Drafters = std::vector<std::shared_ptr<Drafter>>;  // none, or one or none for each prompt

std::vector<ImageView> views_of(const Frames& frames) {
    std::vector<ImageView> views;
    for (const Frame& frame : frames) views.push_back(frame.view());
    return views;
}

std::pair<std::shared_ptr<EncodedImages>, Timings> encode(Pipeline& pipeline, const Frames& frames,
                                                          const CancelToken* cancel) {
    Cancellation cancellation(cancel);
    GenerateOptions options;
    options.is_cancelled = [&] { return cancellation.requested(); };
    const std::vector<ImageView> views = views_of(frames);
    Timings timings;
    const py::gil_scoped_release released;
    // pybind11 knows no pointers to const; nothing that Python sees can change them.
    auto encoded = std::const_pointer_cast<EncodedImages>(pipeline.encode(views, options, timings));
    return {encoded, timings};
}

template <class Images>
std::pair<std::vector<Generation>, Timings> generate(Pipeline& pipeline, const Images& images,
                                                     const std::vector<std::vector<int32_t>>& prompts,
                                                     const std::vector<size_t>& image_of_prompt, int64_t max_tokens,
                                                     const std::vector<int32_t>& stop_tokens, const Drafters& drafters,
                                                     const py::object& on_token, const CancelToken* cancel) {
    if (prompts.size() != image_of_prompt.size()) throw InputError("each prompt needs the index of its image");
    if (!drafters.empty() && drafters.size() != prompts.size())
        throw InputError("each prompt needs a drafter, or None");
    std::vector<Request> requests;
    for (size_t i = 0; i < prompts.size(); ++i) {
        requests.push_back({image_of_prompt[i], prompts[i], drafters.empty() ? nullptr : drafters[i]});
    }
    GenerateOptions options;
    options.max_tokens = max_tokens;
    options.stop_tokens = stop_tokens;
    if (!on_token.is_none()) {
        options.on_token = [&on_token](size_t sequence, int32_t token, float logprob) {
            const py::gil_scoped_acquire acquired;
            on_token(sequence, token, logprob);
        };
    }
    Cancellation cancellation(cancel);
    options.is_cancelled = [&] { return cancellation.requested(); };
    std::pair<std::vector<Generation>, Timings> result;
    if constexpr (std::is_same_v<Images, Frames>) {
        const std::vector<ImageView> views = views_of(images);
        const py::gil_scoped_release released;
        result.first = pipeline.generate(views, requests, options, result.second);
    } else {
        const py::gil_scoped_release released;
        result.first = pipeline.generate(Encoded(images), requests, options, result.second);
    }
    return result;
}

std::pair<std::vector<std::vector<float>>, Timings> score(Pipeline& pipeline,
                                                          const std::shared_ptr<EncodedImages>& encoded, size_t image,
                                                          const std::vector<int32_t>& prompt,
                                                          const std::vector<std::vector<int32_t>>& choices,
                                                          const CancelToken* cancel) {
    Cancellation cancellation(cancel);
    GenerateOptions options;
    options.is_cancelled = [&] { return cancellation.requested(); };
    std::pair<std::vector<std::vector<float>>, Timings> result;
    const py::gil_scoped_release released;
    result.first = pipeline.score(encoded, {image, prompt}, choices, options, result.second);
    return result;
}

}  // namespace

void register_pipeline(py::module_& module) {
    py::class_<CancelToken, std::shared_ptr<CancelToken>>(module, "CancelToken",
                                                          "Ends a running generation, from any thread.")
        .def(py::init<>())
        .def("cancel", &CancelToken::cancel, "The generation ends before its next token.")
        .def_property_readonly("cancelled", &CancelToken::cancelled);

    py::class_<Drafter, std::shared_ptr<Drafter>>(
        module, "Drafter",
        "Guesses the answers to one prompt on one camera's frames from those before; one call at a time.")
        .def(
            py::init([](int32_t first_location, int32_t locations, int32_t first_segment, int32_t segments,
                        std::vector<std::vector<int32_t>> labels, bool adaptive) {
                return std::make_shared<Drafter>(
                    AnswerGrammar{first_location, locations, first_segment, segments, std::move(labels)},
                    DrafterOptions{adaptive});
            }),
            py::kw_only(), py::arg("first_location") = -1, py::arg("locations") = 0, py::arg("first_segment") = -1,
            py::arg("segments") = 0, py::arg("labels") = std::vector<std::vector<int32_t>>(),
            py::arg("adaptive") = true,
            "Ids of location and segment tokens, and the labels that were asked for as token ids. adaptive: guess only "
            "where it pays.");

    py::class_<EncodedImages, std::shared_ptr<EncodedImages>>(module, "EncodedImages",
                                                              "Image rows, where the decoder reads them.");

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
            "Log-probability of the stop token, where there is one.")
        .def_readonly("calls", &Generation::calls, "Runs of the decoder that the answer took part in.")
        .def_readonly("drafted", &Generation::drafted, "Guessed tokens that were verified.")
        .def_readonly("accepted", &Generation::accepted, "Guessed tokens that held.");

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
        .def("encode", &encode, py::arg("images"), py::kw_only(),
             py::arg("cancel") = static_cast<CancelToken*>(nullptr),
             "Frames -> their rows, in one run of the vision encoder; None if it was cancelled.")
        .def("generate", &generate<Frames>, py::arg("images"), py::arg("prompts"), py::arg("image_of_prompt"),
             py::kw_only(), py::arg("max_tokens"), py::arg("stop_tokens"), py::arg("drafters") = Drafters(),
             py::arg("on_token") = py::none(), py::arg("cancel") = static_cast<CancelToken*>(nullptr),
             "images: frames, or what `encode` gave; prompts: token ids with <bos> and newline; image_of_prompt: which "
             "image each asks about; drafters: one for each prompt, or None. Returns one Generation per prompt, and "
             "Timings.")
        .def("generate", &generate<std::shared_ptr<EncodedImages>>, py::arg("images"), py::arg("prompts"),
             py::arg("image_of_prompt"), py::kw_only(), py::arg("max_tokens"), py::arg("stop_tokens"),
             py::arg("drafters") = Drafters(), py::arg("on_token") = py::none(),
             py::arg("cancel") = static_cast<CancelToken*>(nullptr))
        .def("score", &score, py::arg("images"), py::arg("image"), py::arg("prompt"), py::arg("choices"), py::kw_only(),
             py::arg("cancel") = static_cast<CancelToken*>(nullptr),
             "Log-probabilities of the tokens of each choice to begin the answer; fewer choices if it was cancelled.");
}

}  // namespace palijet
