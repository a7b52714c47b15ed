// A stand-in for libnvinfer that computes through onnxruntime; see plan.h for what its plans are.
//
// It refuses what TensorRT refuses: shapes outside of the profile, addresses that are not aligned or not the device's,
// a context without scratch memory, and, which TensorRT computes wrongly in silence, a CUDA graph that was recorded
// from a context whose shapes have changed since.
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "onnx_engine.h"
#include "plan.h"
#include "stand_in_cuda/stand_in_cuda.h"
#include "unused_entries.h"

using namespace nvinfer1;
using palijet::ElementType;
using palijet::OnnxEngine;
using palijet::Place;
using palijet::Shape;
using palijet::TensorInfo;
using stand_in::Plan;

namespace {

constexpr size_t kScratchBytes = 1000;
constexpr size_t kAlignment = 256;

const stand_in::Controls& cuda() { return *stand_in_controls(); }

class Counted {
  public:
    Counted() { cuda().count(1); }
    ~Counted() { cuda().count(-1); }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
};

// Says in the log what is wrong, as TensorRT does, and is false.
class Log {
  public:
    explicit Log(ILogger& logger) : logger_(logger) {}
    bool error(const std::string& what) const {
        logger_.log(ILogger::Severity::kERROR, ("Error Code 3: " + what).c_str());
        return false;
    }

  private:
    ILogger& logger_;
};

Dims dims_of(const Shape& shape) {
    Dims dims{};
    dims.nbDims = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) dims.d[i] = static_cast<std::decay_t<decltype(dims.d[0])>>(shape[i]);
    return dims;
}

Shape shape_of(const Dims& dims) {
    Shape shape = Shape::of_rank(static_cast<size_t>(dims.nbDims));
    for (size_t i = 0; i < shape.size(); ++i) shape[i] = dims.d[i];
    return shape;
}

DataType type_of(ElementType type) {
    switch (type) {
        case ElementType::kFloat32:
            return DataType::kFLOAT;
        case ElementType::kFloat16:
            return DataType::kHALF;
        case ElementType::kUInt8:
            return DataType::kUINT8;
        default:
            return DataType::kINT32;
    }
}

class StandInEngine;

class StandInContext final : public IExecutionContext, public UnusedContext {
  public:
    StandInContext(StandInEngine& engine, const Log& log) : engine_(engine), log_(log) {
        IExecutionContext::mImpl = this;
    }
    ~StandInContext() override;

    IExecutionContext* getPImpl() noexcept override { return this; }
    bool setOptimizationProfileAsync(int32_t profile, cudaStream_t) noexcept override;
    bool setInputShape(const char* name, const Dims& dims) noexcept override;
    Dims getTensorShape(const char* name) const noexcept override;
    bool setTensorAddress(const char* name, void* data) noexcept override;
    bool enqueueV3(cudaStream_t stream) noexcept override;
    void setDeviceMemory(void* memory) noexcept override { scratch_ = memory; }
#if NV_TENSORRT_MAJOR >= 10
    void setDeviceMemoryV2(void* memory, int64_t) noexcept override { scratch_ = memory; }
#endif

  private:
    StandInEngine& engine_;
    const Log& log_;
    Counted counted_;
    int32_t profile_ = -1;
    void* scratch_ = nullptr;
    std::map<std::string, Shape> shapes_;
    std::map<std::string, void*> addresses_;
    std::shared_ptr<int> shape_changes_ = std::make_shared<int>(0);
};

class StandInEngine final : public ICudaEngine, public UnusedEngine {
  public:
    StandInEngine(const Plan& plan, const Log& log)
        : plan_(plan), log_(log), onnx_(plan.graph, plan.onnxruntime, {1, false}) {
        ICudaEngine::mImpl = this;
    }

    ICudaEngine* getPImpl() noexcept override { return this; }
    int32_t getNbIOTensors() const noexcept override {
        return static_cast<int32_t>(onnx_.inputs().size() + onnx_.outputs().size());
    }
    const char* getIOTensorName(int32_t index) const noexcept override { return tensor(index).name.c_str(); }
    TensorIOMode getTensorIOMode(const char* name) const noexcept override {
        for (const TensorInfo& info : onnx_.inputs()) {
            if (info.name == name) return TensorIOMode::kINPUT;
        }
        return TensorIOMode::kOUTPUT;
    }
    Dims getTensorShape(const char* name) const noexcept override { return dims_of(tensor(name).shape); }
    DataType getTensorDataType(const char* name) const noexcept override { return type_of(tensor(name).type); }
    TensorLocation getTensorLocation(const char*) const noexcept override { return TensorLocation::kDEVICE; }
    int32_t getNbOptimizationProfiles() const noexcept override { return static_cast<int32_t>(plan_.profiles.size()); }
    Dims getProfileShape(const char* name, int32_t profile, OptProfileSelector which) const noexcept override {
        const TensorInfo& info = tensor(name);
        const auto& ranges = plan_.profiles[static_cast<size_t>(profile)];
        return dims_of(stand_in::resolved(info, [&](char symbol) {
            const auto& range = ranges.at(symbol);
            return which == OptProfileSelector::kMIN ? range.first : range.second;
        }));
    }
#if NV_TENSORRT_MAJOR >= 10
    IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy strategy) noexcept override {
        if (strategy != ExecutionContextAllocationStrategy::kUSER_MANAGED)
            stand_in::refuse("contexts of their own memory");
        return make_context();
    }
    int64_t getDeviceMemorySizeV2() const noexcept override { return kScratchBytes; }
#else
    IExecutionContext* createExecutionContextWithoutDeviceMemory() noexcept override { return make_context(); }
    size_t getDeviceMemorySize() const noexcept override { return kScratchBytes; }
#endif

    OnnxEngine& onnx() { return onnx_; }
    const TensorInfo& tensor(const std::string& name) const {
        for (int32_t i = 0; i < getNbIOTensors(); ++i) {
            if (tensor(i).name == name) return tensor(i);
        }
        stand_in::refuse(("tensor " + name).c_str());
    }
    // Before TensorRT 10 a profile serves one context at a time.
    bool take_profile(int32_t profile, int32_t of) {
        if (of >= 0) --users_[of];
        return ++users_[profile] == 1 || NV_TENSORRT_MAJOR >= 10;
    }
    void leave_profile(int32_t profile) { --users_[profile]; }

  private:
    const TensorInfo& tensor(int32_t index) const {
        const auto i = static_cast<size_t>(index), inputs = onnx_.inputs().size();
        return i < inputs ? onnx_.inputs()[i] : onnx_.outputs()[i - inputs];
    }
    IExecutionContext* make_context() {
        if (!cuda().fails("createExecutionContext")) return new StandInContext(*this, log_);
        log_.error("[defaultAllocator.cpp] CUDA out of memory when creating a context");
        return nullptr;
    }

    Plan plan_;
    Log log_;
    OnnxEngine onnx_;
    Counted counted_;
    std::map<int32_t, int> users_;  // contexts by profile
};

class StandInRuntime final : public IRuntime, public UnusedRuntime {
  public:
    explicit StandInRuntime(ILogger& logger) : log_(logger) { IRuntime::mImpl = this; }

    IRuntime* getPImpl() noexcept override { return this; }
#if NV_TENSORRT_MAJOR >= 10
    ICudaEngine* deserializeCudaEngine(const void* blob, size_t size) noexcept override {
#else
    ICudaEngine* deserializeCudaEngine(const void* blob, size_t size, IPluginFactory*) noexcept override {
#endif
        try {
            return new StandInEngine(stand_in::read_plan({static_cast<const char*>(blob), size}), log_);
        } catch (const std::exception& error) {
            log_.error(error.what());
            return nullptr;
        }
    }

  private:
    Log log_;
    Counted counted_;
};

StandInContext::~StandInContext() {
    if (profile_ >= 0) engine_.leave_profile(profile_);
}

bool StandInContext::setOptimizationProfileAsync(int32_t profile, cudaStream_t) noexcept {
    if (!engine_.take_profile(profile, profile_)) return log_.error("the profile is another context's");
    profile_ = profile;
    return true;
}

bool StandInContext::setInputShape(const char* name, const Dims& dims) noexcept {
    if (cuda().fails("setInputShape")) return log_.error(std::string("told to refuse the shape of ") + name);
    const Dims least = engine_.getProfileShape(name, profile_, OptProfileSelector::kMIN);
    const Dims most = engine_.getProfileShape(name, profile_, OptProfileSelector::kMAX);
    for (int32_t i = 0; i < dims.nbDims; ++i) {
        if (dims.d[i] < least.d[i] || dims.d[i] > most.d[i])
            return log_.error(std::string(name) + " is out of its range");
    }
    shapes_[name] = shape_of(dims);
    ++*shape_changes_;
    return true;
}

Dims StandInContext::getTensorShape(const char* name) const noexcept {
    std::map<char, int64_t> sizes;
    for (const TensorInfo& input : engine_.onnx().inputs()) {
        const auto given = shapes_.find(input.name);
        if (given == shapes_.end()) continue;
        size_t open = 0;
        for (size_t i = 0; i < input.shape.size(); ++i) {
            if (input.shape[i] < 0) sizes[stand_in::symbols(input.name)[open++]] = given->second[i];
        }
    }
    return dims_of(stand_in::resolved(engine_.tensor(name), [&](char symbol) { return sizes.at(symbol); }));
}

bool StandInContext::setTensorAddress(const char* name, void* data) noexcept {
    if (cuda().fails("setTensorAddress")) return log_.error(std::string("told to refuse the address of ") + name);
    if (reinterpret_cast<uintptr_t>(data) % kAlignment) return log_.error(std::string(name) + " is not aligned");
    addresses_[name] = data;
    return true;
}

bool StandInContext::enqueueV3(cudaStream_t stream) noexcept {
    if (cuda().fails("enqueueV3")) return log_.error("[myelin] the enqueue was told to fail");
    if (!scratch_) return log_.error("the context has no device memory");
    std::map<std::string, palijet::TensorView> inputs, outputs;
    for (auto* side : {&inputs, &outputs}) {
        const auto& tensors = side == &inputs ? engine_.onnx().inputs() : engine_.onnx().outputs();
        for (const TensorInfo& info : tensors) {
            if (side == &inputs && !shapes_.count(info.name)) return log_.error(info.name + " has no shape");
            if (!addresses_.count(info.name)) return log_.error(info.name + " has no address");
            const palijet::TensorView view{addresses_[info.name], info.type,
                                           shape_of(getTensorShape(info.name.c_str()))};
            if (!cuda().is_on_device(view.data, view.bytes())) return log_.error(info.name + " is not on the device");
            (*side)[info.name] = view;
        }
    }
    cuda().enqueue(stream,
                   [=, engine = &engine_, scratch = scratch_, changes = shape_changes_, then = *shape_changes_] {
                       if (*changes != then) throw std::runtime_error("the graph's context has had other shapes since");
                       std::memset(scratch, 0xfe, kScratchBytes);
                       OnnxEngine& onnx = engine->onnx();
                       for (const auto& [name, view] : inputs) onnx.bind_input(index_of(onnx.inputs(), name), view);
                       for (const auto& [name, view] : outputs) onnx.bind_output(index_of(onnx.outputs(), name), view);
                       onnx.run();
                   });
    return true;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void* createInferRuntime_INTERNAL(void* logger, int32_t) noexcept {
    return static_cast<IRuntime*>(new StandInRuntime(*static_cast<ILogger*>(logger)));
}

extern "C" __attribute__((visibility("default"))) int32_t getInferLibVersion() noexcept { return NV_TENSORRT_VERSION; }
