#include "tensorrt_engine.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "cuda_graph.h"
#include "staging.h"
#include "tensorrt_library.h"

namespace palijet {

namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::OptProfileSelector;

// From TensorRT 10 on, contexts may share an optimization profile; before, each needs one of its own.
constexpr size_t kStepsPerProfile = NV_TENSORRT_MAJOR >= 10 ? 16 : 1;

std::optional<ElementType> element_type(DataType type) {
    switch (type) {
        case DataType::kFLOAT:
            return ElementType::kFloat32;
        case DataType::kHALF:
            return ElementType::kFloat16;
        case DataType::kINT32:
            return ElementType::kInt32;
        case DataType::kUINT8:
            return ElementType::kUInt8;
#if NV_TENSORRT_MAJOR >= 10
        case DataType::kINT64:
            return ElementType::kInt64;
#endif
        default:
            return std::nullopt;
    }
}

Shape shape_of(const Dims& dims) {
    Shape shape = Shape::of_rank(static_cast<size_t>(std::max(dims.nbDims, 0)));
    for (size_t i = 0; i < shape.size(); ++i) shape[i] = dims.d[i];
    return shape;
}

Dims dims_of(const Shape& shape) {
    Dims dims{};
    dims.nbDims = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) dims.d[i] = static_cast<std::decay_t<decltype(dims.d[0])>>(shape[i]);
    return dims;
}

// A file in memory, for as long as it is read.
class MappedFile {
  public:
    explicit MappedFile(const std::string& path) {
        const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
        struct stat status{};
        if (file < 0 || fstat(file, &status) != 0) {
            const std::string reason = std::strerror(errno);
            if (file >= 0) close(file);
            throw EngineError(path + " cannot be opened: " + reason + "; build it: palijet build BUNDLE");
        }
        bytes_ = static_cast<size_t>(status.st_size);
        data_ = bytes_ ? mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, file, 0) : MAP_FAILED;
        close(file);
        if (data_ == MAP_FAILED) {
            throw EngineError(path + " is empty or cannot be read; build it anew: palijet build BUNDLE");
        }
    }
    ~MappedFile() { munmap(data_, bytes_); }
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    const void* data() const { return data_; }
    size_t bytes() const { return bytes_; }

  private:
    void* data_;
    size_t bytes_;
};

}  // namespace

// Each set of input shapes has a context of its own, a *step*: its shapes are set once, and a CUDA graph recorded from
// it stays true, for another set of shapes would change what the context holds. All contexts share one scratch memory,
// since they run one after the other. (NVIDIA's TensorRT documentation, "CUDA Graphs": one execution context per
// captured graph, and memory shared among the contexts.)
class TensorRtEngine::State {
  public:
    State(const std::string& plan, std::shared_ptr<CudaDevice> device, const TensorRtOptions& options);

    struct Side {  // the inputs, or the outputs
        std::vector<TensorInfo> tensors;
        std::vector<TensorView> bound;
        Staging staging;

        explicit Side(Device& device) : staging(device) {}
        void* address(size_t index) const {
            return bound[index].place == Place::kHost ? staging.on_device(index) : bound[index].data;
        }
    };

    void bind(Side& side, size_t index, const TensorView& tensor);
    void run();

    std::shared_ptr<CudaDevice> device_;
    std::shared_ptr<TensorRtLibrary> library_;
    std::string plan_;
    Side inputs_, outputs_;
    std::string graph_note_;
    int64_t replays_ = 0;

  private:
    struct Step {
        int profile = 0;
        std::unique_ptr<nvinfer1::IExecutionContext> context;
        std::vector<Shape> shapes;     // of the inputs
        std::vector<void*> addresses;  // of the inputs, then the outputs
        bool has_run = false;          // with these addresses
        std::unique_ptr<CudaGraph> graph;
        int64_t last_used = 0;
    };

    EngineError error(const std::string& what) const { return EngineError(plan_ + what); }
    EngineError error_of_tensorrt(const std::string& what) const {
        return error(what + ": " + TensorRtLibrary::errors());
    }

    void open();
    void describe();
    void allocate_scratch();
    std::unique_ptr<nvinfer1::IExecutionContext> make_context(int profile);

    Step& current_step();
    int fitting_profile() const;
    // The first input that a profile does not take, or none.
    std::optional<size_t> misfit(int profile) const;
    Dims limit(size_t input, int profile, OptProfileSelector which) const {
        return engine_->getProfileShape(inputs_.tensors[input].name.c_str(), profile, which);
    }
    Step& step_to_change(int profile);
    void set_shapes(Step& step);
    void set_addresses(Step& step);
    void carry_in();
    void carry_out();
    void execute(Step& step);
    void enqueue(Step& step);

    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    Memory scratch_;
    size_t scratch_bytes_ = 0;
    std::vector<std::unique_ptr<Step>> steps_;
    Step* current_ = nullptr;  // that of the shapes that are bound, unless they have changed
    bool cuda_graphs_;
    int64_t runs_ = 0;
};

TensorRtEngine::State::State(const std::string& plan, std::shared_ptr<CudaDevice> device,
                             const TensorRtOptions& options)
    : device_(std::move(device)),
      library_(TensorRtLibrary::open(options.library)),
      plan_(plan),
      inputs_(*device_),
      outputs_(*device_),
      cuda_graphs_(options.cuda_graphs) {
    open();
    describe();
    allocate_scratch();
}

void TensorRtEngine::State::open() {
    const MappedFile file(plan_);
    TensorRtLibrary::forget_errors();
    engine_.reset(library_->runtime().deserializeCudaEngine(file.data(), file.bytes()));
    if (!engine_) {
        throw error_of_tensorrt(" cannot be opened by TensorRT " + library_->version() +
                                " on this GPU; build it anew with palijet build BUNDLE");
    }
}

void TensorRtEngine::State::describe() {
    for (int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
        const char* name = engine_->getIOTensorName(i);
        const std::optional<ElementType> type = element_type(engine_->getTensorDataType(name));
        if (!type || engine_->getTensorLocation(name) != nvinfer1::TensorLocation::kDEVICE) {
            throw error(std::string(": ") + name +
                        " is of a type or in a place that the graph contract does not know; "
                        "export and build again");
        }
        Side& side = engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT ? inputs_ : outputs_;
        side.tensors.push_back({name, *type, shape_of(engine_->getTensorShape(name))});
    }
    for (Side* side : {&inputs_, &outputs_}) side->bound.resize(side->tensors.size());
}

void TensorRtEngine::State::allocate_scratch() {
#if NV_TENSORRT_MAJOR >= 10
    scratch_bytes_ = static_cast<size_t>(engine_->getDeviceMemorySizeV2());
#else
    scratch_bytes_ = engine_->getDeviceMemorySize();
#endif
    scratch_ = device_->allocate(scratch_bytes_);
}

std::unique_ptr<nvinfer1::IExecutionContext> TensorRtEngine::State::make_context(int profile) {
    TensorRtLibrary::forget_errors();
#if NV_TENSORRT_MAJOR >= 10
    std::unique_ptr<nvinfer1::IExecutionContext> context(
        engine_->createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
#else
    std::unique_ptr<nvinfer1::IExecutionContext> context(engine_->createExecutionContextWithoutDeviceMemory());
#endif
    if (!context) throw error_of_tensorrt(" cannot be made ready to run");
#if NV_TENSORRT_MAJOR >= 10
    context->setDeviceMemoryV2(scratch_.get(), static_cast<int64_t>(scratch_bytes_));
#else
    context->setDeviceMemory(scratch_.get());
#endif
    if (!context->setOptimizationProfileAsync(profile, device_->stream())) {
        throw error_of_tensorrt(" cannot take its optimization profile " + std::to_string(profile));
    }
    return context;
}

void TensorRtEngine::State::bind(Side& side, size_t index, const TensorView& tensor) {
    TensorView& bound = side.bound[index];
    const bool same_shape = bound.data && bound.shape == tensor.shape;
    if (same_shape && bound.data == tensor.data && bound.type == tensor.type && bound.place == tensor.place) return;
    check_fits(plan_, side.tensors[index], tensor);
    if (tensor.place == Place::kHost) side.staging.reserve(index, tensor.bytes());
    if (!same_shape) current_ = nullptr;
    bound = tensor;
}

void TensorRtEngine::State::run() {
    for (const Side* side : {&inputs_, &outputs_}) {
        for (size_t i = 0; i < side->bound.size(); ++i) {
            if (!side->bound[i].data) throw error(": " + side->tensors[i].name + " was not given");
        }
    }
    Step& step = current_step();
    set_addresses(step);
    carry_in();
    execute(step);
    carry_out();
}

TensorRtEngine::State::Step& TensorRtEngine::State::current_step() {
    ++runs_;
    if (!current_) {
        const auto has_these_shapes = [this](const std::unique_ptr<Step>& step) {
            return std::equal(step->shapes.begin(), step->shapes.end(), inputs_.bound.begin(), inputs_.bound.end(),
                              [](const Shape& shape, const TensorView& tensor) { return shape == tensor.shape; });
        };
        const auto found = std::find_if(steps_.begin(), steps_.end(), has_these_shapes);
        Step& step = found != steps_.end() ? **found : step_to_change(fitting_profile());
        set_shapes(step);
        current_ = &step;
    }
    current_->last_used = runs_;
    return *current_;
}

int TensorRtEngine::State::fitting_profile() const {
    std::string limits;
    for (int profile = 0; profile < engine_->getNbOptimizationProfiles(); ++profile) {
        const std::optional<size_t> input = misfit(profile);
        if (!input) return profile;
        limits += (limits.empty() ? "" : "; ") + inputs_.tensors[*input].name + " from " +
                  shape_of(limit(*input, profile, OptProfileSelector::kMIN)).to_string() + " to " +
                  shape_of(limit(*input, profile, OptProfileSelector::kMAX)).to_string() + " where it was given " +
                  inputs_.bound[*input].shape.to_string();
    }
    throw error(" was not built for tensors of these sizes: it takes " + limits +
                "; build it anew with larger limits, or load the model with a smaller max_batch or max_rows");
}

std::optional<size_t> TensorRtEngine::State::misfit(int profile) const {
    for (size_t i = 0; i < inputs_.tensors.size(); ++i) {
        const Shape least = shape_of(limit(i, profile, OptProfileSelector::kMIN));
        const Shape most = shape_of(limit(i, profile, OptProfileSelector::kMAX));
        const Shape& given = inputs_.bound[i].shape;
        for (size_t d = 0; d < given.size(); ++d) {
            if (given[d] < least[d] || given[d] > most[d]) return i;
        }
    }
    return std::nullopt;
}

// A new one, or, where the profile has as many as it may have, that which has not been used for the longest.
TensorRtEngine::State::Step& TensorRtEngine::State::step_to_change(int profile) {
    size_t count = 0;
    Step* oldest = nullptr;
    for (const auto& step : steps_) {
        if (step->profile != profile) continue;
        ++count;
        if (!oldest || step->last_used < oldest->last_used) oldest = step.get();
    }
    if (count >= kStepsPerProfile) return *oldest;
    auto step = std::make_unique<Step>();
    step->profile = profile;
    step->context = make_context(profile);
    steps_.push_back(std::move(step));
    return *steps_.back();
}

void TensorRtEngine::State::set_shapes(Step& step) {
    TensorRtLibrary::forget_errors();
    const bool is_new = step.shapes.empty();
    for (size_t i = 0; i < inputs_.tensors.size(); ++i) {
        const Shape& shape = inputs_.bound[i].shape;
        if (!is_new && step.shapes[i] == shape) continue;
        step.graph.reset();
        step.addresses.clear();
        if (!step.context->setInputShape(inputs_.tensors[i].name.c_str(), dims_of(shape))) {
            step.shapes.clear();
            throw error_of_tensorrt(": " + inputs_.tensors[i].name + " cannot be " + shape.to_string());
        }
    }
    step.shapes.clear();
    for (const TensorView& tensor : inputs_.bound) step.shapes.push_back(tensor.shape);
    for (size_t i = 0; i < outputs_.tensors.size(); ++i) {
        TensorInfo due = outputs_.tensors[i];
        due.shape = shape_of(step.context->getTensorShape(due.name.c_str()));
        check_fits(plan_, due, outputs_.bound[i]);
    }
}

void TensorRtEngine::State::set_addresses(Step& step) {
    const size_t count = inputs_.bound.size() + outputs_.bound.size();
    step.addresses.resize(count);
    for (size_t i = 0; i < count; ++i) {
        const bool is_input = i < inputs_.bound.size();
        const Side& side = is_input ? inputs_ : outputs_;
        const size_t index = is_input ? i : i - inputs_.bound.size();
        void* address = side.address(index);
        if (step.addresses[i] == address) continue;
        step.graph.reset();
        step.has_run = false;
        step.addresses[i] = nullptr;
        TensorRtLibrary::forget_errors();
        if (!step.context->setTensorAddress(side.tensors[index].name.c_str(), address)) {
            throw error_of_tensorrt(": " + side.tensors[index].name + " cannot be bound");
        }
        step.addresses[i] = address;
    }
}

void TensorRtEngine::State::carry_in() {
    bool any = false;
    for (size_t i = 0; i < inputs_.bound.size(); ++i) {
        const TensorView& tensor = inputs_.bound[i];
        if (tensor.place != Place::kHost) continue;
        std::memcpy(inputs_.staging.on_host(i), tensor.data, tensor.bytes());
        any = true;
    }
    if (any) inputs_.staging.copy_to_device();
}

void TensorRtEngine::State::carry_out() {
    const auto is_of_host = [](const TensorView& tensor) { return tensor.place == Place::kHost; };
    if (std::any_of(outputs_.bound.begin(), outputs_.bound.end(), is_of_host)) outputs_.staging.copy_to_host();
    device_->synchronize();
    for (size_t i = 0; i < outputs_.bound.size(); ++i) {
        const TensorView& tensor = outputs_.bound[i];
        if (is_of_host(tensor)) std::memcpy(tensor.data, outputs_.staging.on_host(i), tensor.bytes());
    }
}

// Plainly the first time, for TensorRT then settles what depends on the shapes; recorded and replayed from the second.
void TensorRtEngine::State::execute(Step& step) {
    if (!step.graph && step.has_run && cuda_graphs_) {
        try {
            step.graph = std::make_unique<CudaGraph>(*device_, [&] { enqueue(step); });
        } catch (const EngineError& failure) {
            cuda_graphs_ = false;
            graph_note_ = failure.what();
        }
    }
    if (step.graph) {
        step.graph->launch();
        ++replays_;
    } else {
        enqueue(step);
        step.has_run = true;
    }
}

void TensorRtEngine::State::enqueue(Step& step) {
    TensorRtLibrary::forget_errors();
    if (!step.context->enqueueV3(device_->stream())) throw error_of_tensorrt(" failed to run");
}

std::string tensorrt_version(const std::string& library) { return TensorRtLibrary::open(library)->version(); }

TensorRtEngine::TensorRtEngine(const std::string& plan, std::shared_ptr<CudaDevice> device,
                               const TensorRtOptions& options)
    : state_(std::make_unique<State>(plan, std::move(device), options)) {}

TensorRtEngine::~TensorRtEngine() = default;

const std::vector<TensorInfo>& TensorRtEngine::inputs() const { return state_->inputs_.tensors; }
const std::vector<TensorInfo>& TensorRtEngine::outputs() const { return state_->outputs_.tensors; }
void TensorRtEngine::bind_input(size_t index, const TensorView& tensor) {
    state_->bind(state_->inputs_, index, tensor);
}
void TensorRtEngine::bind_output(size_t index, const TensorView& tensor) {
    state_->bind(state_->outputs_, index, tensor);
}
void TensorRtEngine::run() { state_->run(); }
Device& TensorRtEngine::device() { return *state_->device_; }
const std::string& TensorRtEngine::version() const { return state_->library_->version(); }
const std::string& TensorRtEngine::graph_note() const { return state_->graph_note_; }
int64_t TensorRtEngine::replays() const { return state_->replays_; }
int TensorRtEngine::compiled_major() { return NV_TENSORRT_MAJOR; }

}  // namespace palijet
