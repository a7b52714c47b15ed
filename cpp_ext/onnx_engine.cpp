#include "onnx_engine.h"

#include <dlfcn.h>

#include <map>
#include <mutex>

#include "ort_api.h"

namespace palijet {

// One opened libonnxruntime with its environment, shared by every engine of the process.
class OrtLibrary {
  public:
    static std::shared_ptr<OrtLibrary> open(const std::string& path) {
        static std::mutex mutex;
        static std::map<std::string, std::weak_ptr<OrtLibrary>> opened;
        std::lock_guard lock(mutex);
        auto library = opened[path].lock();
        if (!library) opened[path] = library = std::make_shared<OrtLibrary>(path);
        return library;
    }

    explicit OrtLibrary(const std::string& path) : version(), api(table_of(path)) {
        check(api.CreateEnv(ort::kLogErrors, "palijet", &env), "onnxruntime cannot start");
        check(api.CreateCpuMemoryInfo(ort::kArenaAllocator, ort::kDefaultMemory, &memory), "onnxruntime cannot start");
        check(api.GetAllocatorWithDefaultOptions(&allocator), "onnxruntime cannot start");
    }

    // The environment and the library itself stay: unloading onnxruntime while its threads wind down is not safe.
    ~OrtLibrary() { api.ReleaseMemoryInfo(memory); }

    OrtLibrary(const OrtLibrary&) = delete;
    OrtLibrary& operator=(const OrtLibrary&) = delete;

    void check(ort::Status* status, const std::string& what) const {
        if (!status) return;
        const std::string reason = api.GetErrorMessage(status);
        api.ReleaseStatus(status);
        throw EngineError(what + ": " + reason);
    }

    std::string version;
    ort::Api api;
    ort::Env* env = nullptr;
    ort::MemoryInfo* memory = nullptr;
    ort::Allocator* allocator = nullptr;

  private:
    const void* const* table_of(const std::string& path) {
        void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (!handle) throw EngineError("onnxruntime cannot be opened: " + std::string(dlerror()));
        using GetApiBase = const ort::ApiBase* (*)();
        const auto get_base = reinterpret_cast<GetApiBase>(dlsym(handle, "OrtGetApiBase"));
        if (!get_base) throw EngineError(path + " is not onnxruntime: it has no OrtGetApiBase");
        const ort::ApiBase* base = get_base();
        version = base->GetVersionString();
        const void* const* table = base->GetApi(ort::kApiVersion);
        if (!table) {
            throw EngineError("onnxruntime " + version + " at " + path +
                              " is too old; install 1.19 or newer: pip install 'palijet[cpu]'");
        }
        return table;
    }
};

namespace {

ElementType element_type(int type, const std::string& name) {
    switch (type) {
        case ort::kFloat32:
            return ElementType::kFloat32;
        case ort::kFloat16:
            return ElementType::kFloat16;
        case ort::kInt32:
            return ElementType::kInt32;
        case ort::kInt64:
            return ElementType::kInt64;
        case ort::kUInt8:
            return ElementType::kUInt8;
        default:
            throw EngineError("the graph's tensor " + name + " has element type " + std::to_string(type) +
                              ", which the graph contract does not know; export again");
    }
}

int ort_type(ElementType type) {
    switch (type) {
        case ElementType::kFloat32:
            return ort::kFloat32;
        case ElementType::kFloat16:
            return ort::kFloat16;
        case ElementType::kInt32:
            return ort::kInt32;
        case ElementType::kInt64:
            return ort::kInt64;
        case ElementType::kUInt8:
            return ort::kUInt8;
    }
    return 0;
}

}  // namespace

OnnxEngine::OnnxEngine(const std::string& graph, const std::string& library, const OnnxOptions& options,
                       std::shared_ptr<CudaDevice> cuda)
    : cuda_(std::move(cuda)), library_(OrtLibrary::open(library)), graph_(graph) {
    const ort::Api& api = library_->api;
    const auto check = [&](ort::Status* status) { library_->check(status, graph_ + " cannot be opened"); };

    ort::SessionOptions* created = nullptr;
    check(api.CreateSessionOptions(&created));
    const std::unique_ptr<ort::SessionOptions, void (*)(ort::SessionOptions*)> session_options(
        created, api.ReleaseSessionOptions);
    check(api.SetIntraOpNumThreads(created, options.threads));
    check(api.DisableMemPattern(created));  // a pattern per shape would be kept, and shapes change all the time
    check(api.AddSessionConfigEntry(created, "session.intra_op.allow_spinning", options.spin ? "1" : "0"));
    // Weights in blocks of integers stay integers, and their products are computed in INT8: several times faster.
    check(api.AddSessionConfigEntry(created, "session.qdq_matmulnbits_accuracy_level", "4"));
    if (cuda_) use_cuda(created);
    ort::Session* session = nullptr;
    check(api.CreateSession(library_->env, graph.c_str(), created, &session));
    session_ = {session, api.ReleaseSession};
    ort::IoBinding* binding = nullptr;
    check(api.CreateIoBinding(session, &binding));
    binding_ = {binding, api.ReleaseIoBinding};
    describe(inputs_, true);
    describe(outputs_, false);
}

OnnxEngine::~OnnxEngine() = default;

Device& OnnxEngine::device() { return cuda_ ? *cuda_ : Engine::device(); }

// On the device's own stream, so that copies and runs stay in their order.
void OnnxEngine::use_cuda(ort::SessionOptions* options) {
    const ort::Api& api = library_->api;
    const auto check = [&](ort::Status* status) {
        library_->check(status, "onnxruntime " + version() +
                                    " cannot use CUDA; install its GPU build in place of the other: pip uninstall "
                                    "onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]'");
    };
    ort::CudaOptions* created = nullptr;
    check(api.CreateCUDAProviderOptions(&created));
    const Owned<ort::CudaOptions> cuda_options(created, api.ReleaseCUDAProviderOptions);
    check(api.UpdateCUDAProviderOptionsWithValue(created, "user_compute_stream", cuda_->stream()));
    check(api.SessionOptionsAppendExecutionProvider_CUDA_V2(options, created));
    ort::MemoryInfo* memory = nullptr;
    check(api.CreateMemoryInfo("Cuda", ort::kDeviceAllocator, 0, ort::kDefaultMemory, &memory));
    cuda_memory_ = {memory, api.ReleaseMemoryInfo};
}

const std::string& OnnxEngine::version() const { return library_->version; }

void OnnxEngine::describe(Side& side, bool is_input) {
    const ort::Api& api = library_->api;
    const auto check = [&](ort::Status* status) { library_->check(status, graph_ + " cannot be read"); };
    size_t count = 0;
    check(is_input ? api.SessionGetInputCount(session_.get(), &count)
                   : api.SessionGetOutputCount(session_.get(), &count));
    for (size_t i = 0; i < count; ++i) {
        char* text = nullptr;
        check(is_input ? api.SessionGetInputName(session_.get(), i, library_->allocator, &text)
                       : api.SessionGetOutputName(session_.get(), i, library_->allocator, &text));
        const std::string name = text;
        check(api.AllocatorFree(library_->allocator, text));

        ort::TypeInfo* created = nullptr;
        check(is_input ? api.SessionGetInputTypeInfo(session_.get(), i, &created)
                       : api.SessionGetOutputTypeInfo(session_.get(), i, &created));
        const std::unique_ptr<ort::TypeInfo, void (*)(ort::TypeInfo*)> type_info(created, api.ReleaseTypeInfo);
        const ort::TensorTypeInfo* tensor = nullptr;
        check(api.CastTypeInfoToTensorInfo(created, &tensor));
        if (!tensor) throw EngineError(graph_ + ": " + name + " is not a tensor; export again");
        int type = 0;
        size_t rank = 0;
        check(api.GetTensorElementType(tensor, &type));
        check(api.GetDimensionsCount(tensor, &rank));
        Shape shape = Shape::of_rank(rank);
        check(api.GetDimensions(tensor, shape.data(), rank));
        side.tensors.push_back({name, element_type(type, name), shape});
    }
    side.bound.resize(count);
}

// Makes a value over the memory and binds it, unless just this is bound already.
template <class Bind>
void OnnxEngine::bind(Side& side, size_t index, const TensorView& tensor, Bind bind_value) {
    Bound& bound = side.bound[index];
    const TensorInfo& info = side.tensors[index];
    check_fits(graph_, info, tensor);
    if (bound.value && bound.tensor.data == tensor.data && bound.tensor.shape == tensor.shape &&
        bound.tensor.place == tensor.place) {
        return;
    }
    const ort::Api& api = library_->api;
    const auto check = [&](ort::Status* status) {
        library_->check(status, graph_ + ": " + info.name + " cannot be bound");
    };
    const bool is_on_device = tensor.place == Place::kDevice;
    ort::Value* value = nullptr;
    check(api.CreateTensorWithDataAsOrtValue(is_on_device ? cuda_memory_.get() : library_->memory, tensor.data,
                                             tensor.bytes(), tensor.shape.data(), tensor.shape.size(),
                                             ort_type(tensor.type), &value));
    Owned<ort::Value> owned(value, api.ReleaseValue);
    check(bind_value(binding_.get(), info.name.c_str(), value));
    bound = {tensor, std::move(owned)};
}

void OnnxEngine::bind_input(size_t index, const TensorView& tensor) {
    bind(inputs_, index, tensor, library_->api.BindInput);
}

void OnnxEngine::bind_output(size_t index, const TensorView& tensor) {
    bind(outputs_, index, tensor, library_->api.BindOutput);
}

void OnnxEngine::run() {
    for (const Side* side : {&inputs_, &outputs_}) {
        for (size_t i = 0; i < side->bound.size(); ++i) {
            if (!side->bound[i].value) throw EngineError(graph_ + ": " + side->tensors[i].name + " was not given");
        }
    }
    const ort::Api& api = library_->api;
    const auto check = [&](ort::Status* status) { library_->check(status, graph_ + " failed to run"); };
    if (cuda_) {  // onnxruntime copies an input of the host to the GPU when it is bound, not when it runs
        for (size_t i = 0; i < inputs_.bound.size(); ++i) {
            if (inputs_.bound[i].tensor.place == Place::kDevice) continue;
            check(api.BindInput(binding_.get(), inputs_.tensors[i].name.c_str(), inputs_.bound[i].value.get()));
        }
    }
    check(api.RunWithBinding(session_.get(), nullptr, binding_.get()));
    if (cuda_) cuda_->synchronize();
}

}  // namespace palijet
