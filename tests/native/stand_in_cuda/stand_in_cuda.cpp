#include "stand_in_cuda.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "pixel_math.h"
#include "row_copy.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

using Work = std::function<void()>;

struct CUstream_st {
    std::deque<Work> waiting;
    struct CUgraph_st* recording = nullptr;
    int error = 0;
};
struct CUgraph_st {
    std::vector<Work> works;
};
struct CUgraphExec_st {
    std::vector<Work> works;
};
struct CUctx_st {};
struct CUmod_st {};
struct CUfunc_st {
    const char* name;
    size_t argument_bytes;
    void (*run)(const void* argument, palijet::Extent grid);
};

namespace {

constexpr int kInvalidValue = 1, kOutOfMemory = 2, kInvalidContext = 201, kLaunchFailed = 719,
              kCaptureUnsupported = 900, kUnknown = 999;

CUctx_st primary;
thread_local CUctx_st* current = nullptr;

struct Region {
    size_t bytes, mapped;
    CUctx_st* context;
};

// One lock for all of it: tests are not fast.
std::recursive_mutex mutex;
std::map<uintptr_t, Region> device, pinned;
std::map<std::string, int64_t> call_counts, failures;
int64_t living = 0;
bool integrated = true;

bool fails(const char* function) {
    const std::lock_guard lock(mutex);
    ++call_counts[function];
    const auto failure = failures.find(function);
    if (failure == failures.end() || failure->second-- > 0) return false;
    failures.erase(failure);
    return true;
}

size_t page_rounded(size_t bytes) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    return (bytes + page - 1) / page * page;
}

const std::pair<const uintptr_t, Region>* find(const std::map<uintptr_t, Region>& regions, const void* memory) {
    const auto address = reinterpret_cast<uintptr_t>(memory);
    auto next = regions.upper_bound(address);
    if (next == regions.begin()) return nullptr;
    const auto& region = *std::prev(next);
    return address < region.first + region.second.bytes ? &region : nullptr;
}

bool holds(const std::map<uintptr_t, Region>& regions, const void* memory, size_t bytes) {
    const auto* region = find(regions, memory);
    return region && reinterpret_cast<uintptr_t>(memory) + bytes <= region->first + region->second.bytes;
}

// Opens the device's memory while the stand-in, and nobody else, works on it.
class OpenDevice {
  public:
    OpenDevice() {
        if (depth_++ == 0) protect(PROT_READ | PROT_WRITE);
    }
    ~OpenDevice() {
        if (--depth_ == 0) protect(PROT_NONE);
    }

  private:
    static void protect(int how) {
        for (const auto& [address, region] : device) mprotect(reinterpret_cast<void*>(address), region.mapped, how);
    }
    static inline int depth_ = 0;
};

int wait(CUstream_st* stream) {
    const OpenDevice open;
    while (!stream->waiting.empty()) {
        const Work work = std::move(stream->waiting.front());
        stream->waiting.pop_front();
        try {
            work();
        } catch (const std::exception& error) {
            std::fprintf(stderr, "stand-in stream: %s\n", error.what());
            stream->error = kLaunchFailed;
        }
    }
    return std::exchange(stream->error, 0);
}

void enqueue(CUstream_st* stream, Work work) {
    const std::lock_guard lock(mutex);
    if (stream->recording) {
        stream->recording->works.push_back(std::move(work));
    } else {
        stream->waiting.push_back(std::move(work));
    }
}

std::vector<CUstream_st*>& streams() {
    static std::vector<CUstream_st*> all;
    return all;
}

// As cudaFree does: memory that enqueued work still uses is not taken away from under it.
void wait_for_all() {
    for (CUstream_st* stream : streams()) stream->error = wait(stream);
}

int map(std::map<uintptr_t, Region>& regions, void** memory, size_t bytes, int protection) {
    const size_t mapped = page_rounded(bytes ? bytes : 1);
    // A page more, which stays closed, so that what runs over the end is seen.
    void* found = mmap(nullptr, mapped + page_rounded(1), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (found == MAP_FAILED) return kOutOfMemory;
    mprotect(found, mapped, protection);
    std::vector<uint8_t> noise(4096, 0xfe);  // fresh memory is not zero
    if (protection == PROT_NONE) mprotect(found, mapped, PROT_READ | PROT_WRITE);
    for (size_t i = 0; i < mapped; i += noise.size()) std::memcpy(static_cast<uint8_t*>(found) + i, noise.data(), 4096);
    mprotect(found, mapped, protection);
    regions[reinterpret_cast<uintptr_t>(found)] = {bytes, mapped, current ? current : &primary};
    ++living;
    *memory = found;
    return 0;
}

int unmap(std::map<uintptr_t, Region>& regions, void* memory) {
    if (!memory) return 0;
    wait_for_all();
    const auto found = regions.find(reinterpret_cast<uintptr_t>(memory));
    if (found == regions.end()) return kInvalidValue;
    munmap(memory, found->second.mapped + page_rounded(1));
    regions.erase(found);
    --living;
    return 0;
}

// Work on the device, where all of its memory is open.
void move(void* to, const void* from, size_t bytes) { std::memmove(to, from, bytes); }

template <class Pass>
void run_kernel(const void* argument, palijet::Extent grid) {
    const Pass& pass = *static_cast<const Pass*>(argument);
    const palijet::Extent extent = pass.extent();
    for (int64_t z = 0; z < grid.planes; ++z) {
        for (int64_t y = 0; y < std::min(grid.rows, extent.rows); ++y) {
            for (int64_t x = 0; x < std::min(grid.columns, extent.columns); ++x) compute(pass, x, y, z);
        }
    }
}

template <class Pass>
CUfunc_st kernel(const char* name) {
    return {name, sizeof(Pass), &run_kernel<Pass>};
}

CUfunc_st kernels[] = {kernel<palijet::Nv12Pass>("palijet_nv12_pass"), kernel<palijet::WidthPass>("palijet_width_pass"),
                       kernel<palijet::HeightPass>("palijet_height_pass"),
                       kernel<palijet::RowCopyPass<palijet::Word16>>("palijet_copy_words"),
                       kernel<palijet::RowCopyPass<uint8_t>>("palijet_copy_bytes")};

constexpr size_t kTotal = size_t{8} << 30;

const stand_in::Controls controls = {
    [](const char* function, int64_t after) {
        const std::lock_guard lock(mutex);
        failures.erase(function);
        if (after >= 0) failures[function] = after;
    },
    [](const char* function) {
        const std::lock_guard lock(mutex);
        return call_counts[function];
    },
    [] {
        const std::lock_guard lock(mutex);
        return living;
    },
    [](bool is_integrated) { integrated = is_integrated; },
    &fails,
    [](int64_t made) {
        const std::lock_guard lock(mutex);
        living += made;
    },
    [](const void* memory, uint64_t bytes) {
        const std::lock_guard lock(mutex);
        return holds(device, memory, bytes);
    },
    &enqueue,
};

}  // namespace

EXPORTED const stand_in::Controls* stand_in_controls() { return &controls; }

EXPORTED const char* cudaGetErrorName(int error) {
    switch (error) {
        case kInvalidValue:
            return "cudaErrorInvalidValue";
        case kOutOfMemory:
            return "cudaErrorMemoryAllocation";
        case kLaunchFailed:
            return "cudaErrorLaunchFailure";
        case kCaptureUnsupported:
            return "cudaErrorStreamCaptureUnsupported";
        default:
            return "cudaErrorUnknown";
    }
}
EXPORTED const char* cudaGetErrorString(int error) {
    return error == kOutOfMemory ? "out of memory" : "the stand-in was told to fail, or was misused";
}
EXPORTED int cudaGetLastError() { return 0; }
EXPORTED int cudaRuntimeGetVersion(int* version) {
    *version = 12060;
    return 0;
}
EXPORTED int cudaGetDeviceCount(int* count) {
    *count = 1;
    return fails(__func__) ? kUnknown : 0;
}
EXPORTED int cudaDeviceGetAttribute(int* value, int attribute, int) {
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18 ? integrated : 0;
    return 0;
}
EXPORTED int cudaMemGetInfo(size_t* free, size_t* total) {
    *free = *total = kTotal;
    return 0;
}
EXPORTED int cudaMalloc(void** memory, size_t bytes) {
    const std::lock_guard lock(mutex);
    return fails(__func__) ? kOutOfMemory : map(device, memory, bytes, PROT_NONE);
}
EXPORTED int cudaFree(void* memory) {
    const std::lock_guard lock(mutex);
    return unmap(device, memory);
}
EXPORTED int cudaHostAlloc(void** memory, size_t bytes, unsigned) {
    const std::lock_guard lock(mutex);
    return fails(__func__) ? kOutOfMemory : map(pinned, memory, bytes, PROT_READ | PROT_WRITE);
}
EXPORTED int cudaFreeHost(void* memory) {
    const std::lock_guard lock(mutex);
    return unmap(pinned, memory);
}
EXPORTED int cudaPointerGetAttributes(void* attributes, const void* memory) {
    const std::lock_guard lock(mutex);
    struct {
        int type, device;
        const void *device_pointer, *host_pointer;
    } found{0, 0, nullptr, memory};
    if (find(device, memory)) found = {2, 0, memory, nullptr};
    if (find(pinned, memory)) found = {1, 0, memory, memory};
    std::memcpy(attributes, &found, sizeof found);
    return 0;
}

EXPORTED int cudaMemcpyAsync(void* to, const void* from, size_t bytes, int kind, CUstream_st* stream) {
    const std::lock_guard lock(mutex);
    if (fails(__func__)) return kUnknown;
    if (kind != 4) return kInvalidValue;
    for (const void* side : {static_cast<const void*>(to), from}) {
        if (find(device, side) && !holds(device, side, bytes)) return kInvalidValue;
        if (find(pinned, side) && !holds(pinned, side, bytes)) return kInvalidValue;
    }
    if (!find(device, from) && !find(pinned, from)) {  // pageable: CUDA takes it before it returns
        const auto* first = static_cast<const uint8_t*>(from);
        enqueue(stream,
                [to, taken = std::vector<uint8_t>(first, first + bytes)] { move(to, taken.data(), taken.size()); });
        return 0;
    }
    enqueue(stream, [=] { move(to, from, bytes); });
    const bool is_to_pageable = !find(device, to) && !find(pinned, to);
    return is_to_pageable ? wait(stream) : 0;
}
EXPORTED int cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                               size_t height, int, CUstream_st* stream) {
    const std::lock_guard lock(mutex);
    if (fails(__func__)) return kUnknown;
    if (!holds(device, to, (height - 1) * to_pitch + width) ||
        !holds(device, from, (height - 1) * from_pitch + width)) {
        return kInvalidValue;
    }
    enqueue(stream, [=] {
        for (size_t i = 0; i < height; ++i) {
            move(static_cast<uint8_t*>(to) + i * to_pitch, static_cast<const uint8_t*>(from) + i * from_pitch, width);
        }
    });
    return 0;
}
EXPORTED int cudaMemset2DAsync(void* memory, size_t pitch, int value, size_t width, size_t height,
                               CUstream_st* stream) {
    const std::lock_guard lock(mutex);
    if (fails(__func__)) return kUnknown;
    if (pitch < width || !holds(device, memory, (height - 1) * pitch + width)) return kInvalidValue;
    enqueue(stream, [=] {
        for (size_t i = 0; i < height; ++i) std::memset(static_cast<uint8_t*>(memory) + i * pitch, value, width);
    });
    return 0;
}
EXPORTED int cudaMemsetAsync(void* memory, int value, size_t bytes, CUstream_st* stream) {
    return cudaMemset2DAsync(memory, bytes, value, bytes, 1, stream);
}

EXPORTED int cudaStreamCreateWithFlags(CUstream_st** stream, unsigned) {
    const std::lock_guard lock(mutex);
    if (fails(__func__)) return kUnknown;
    if (!current) current = &primary;  // as the runtime library does; other threads have to see for themselves
    *stream = new CUstream_st;
    streams().push_back(*stream);
    ++living;
    return 0;
}
EXPORTED int cudaStreamDestroy(CUstream_st* stream) {
    const std::lock_guard lock(mutex);
    wait(stream);
    auto& all = streams();
    all.erase(std::remove(all.begin(), all.end(), stream), all.end());
    delete stream;
    --living;
    return 0;
}
EXPORTED int cudaStreamSynchronize(CUstream_st* stream) {
    const std::lock_guard lock(mutex);
    if (fails(__func__)) return kLaunchFailed;
    auto& all = streams();
    return std::find(all.begin(), all.end(), stream) == all.end() ? 0 : wait(stream);  // other streams are idle
}
EXPORTED int cudaStreamBeginCapture(CUstream_st* stream, int) {
    const std::lock_guard lock(mutex);
    if (fails(__func__)) return kUnknown;
    stream->recording = new CUgraph_st;
    ++living;
    return 0;
}
EXPORTED int cudaStreamEndCapture(CUstream_st* stream, CUgraph_st** graph) {
    const std::lock_guard lock(mutex);
    *graph = std::exchange(stream->recording, nullptr);
    if (!fails(__func__)) return 0;
    delete *graph;
    *graph = nullptr;
    --living;
    return kCaptureUnsupported;
}
EXPORTED int cudaGraphInstantiateWithFlags(CUgraphExec_st** executable, CUgraph_st* graph, unsigned long long) {
    const std::lock_guard lock(mutex);
    if (fails(__func__)) return kUnknown;
    *executable = new CUgraphExec_st{graph->works};
    ++living;
    return 0;
}
EXPORTED int cudaGraphDestroy(CUgraph_st* graph) {
    const std::lock_guard lock(mutex);
    delete graph;
    --living;
    return 0;
}
EXPORTED int cudaGraphLaunch(CUgraphExec_st* executable, CUstream_st* stream) {
    const std::lock_guard lock(mutex);
    if (fails(__func__)) return kUnknown;
    for (const Work& work : executable->works) stream->waiting.push_back(work);
    return 0;
}
EXPORTED int cudaGraphExecDestroy(CUgraphExec_st* executable) {
    const std::lock_guard lock(mutex);
    wait_for_all();
    delete executable;
    --living;
    return 0;
}

EXPORTED int cuGetErrorString(int, const char** text) {
    *text = "the stand-in was told to fail, or was misused";
    return 0;
}
EXPORTED int cuCtxGetCurrent(CUctx_st** context) {
    *context = current;
    return 0;
}
EXPORTED int cuCtxSetCurrent(CUctx_st* context) {
    current = context;
    return 0;
}
EXPORTED int cuPointerGetAttribute(void* value, int attribute, uintptr_t memory) {
    const std::lock_guard lock(mutex);
    const auto* region = find(device, reinterpret_cast<const void*>(memory));
    if (attribute != 1 || !region) return kInvalidValue;
    std::memcpy(value, &region->second.context, sizeof(CUctx_st*));
    return 0;
}
EXPORTED int cuModuleLoadData(CUmod_st** module, const void* image) {
    const std::lock_guard lock(mutex);
    if (fails(__func__)) return kUnknown;
    const uint32_t magic = *static_cast<const uint32_t*>(image);
    if (magic != 0xba55ed50) return kInvalidValue;  // what every output of nvcc --fatbin begins with
    *module = new CUmod_st;
    ++living;
    return 0;
}
EXPORTED int cuModuleUnload(CUmod_st* module) {
    const std::lock_guard lock(mutex);
    delete module;
    --living;
    return 0;
}
EXPORTED int cuModuleGetFunction(CUfunc_st** function, CUmod_st*, const char* name) {
    for (CUfunc_st& kernel : kernels) {
        if (std::strcmp(kernel.name, name) == 0) {
            *function = &kernel;
            return 0;
        }
    }
    return kInvalidValue;
}
EXPORTED int cuLaunchKernel(CUfunc_st* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                            unsigned block_y, unsigned block_z, unsigned, CUstream_st* stream, void** arguments,
                            void**) {
    const std::lock_guard lock(mutex);
    if (fails(__func__)) return kUnknown;
    if (current != &primary) return kInvalidContext;
    const auto* argument = static_cast<const uint8_t*>(arguments[0]);
    std::vector<uint8_t> taken(argument, argument + function->argument_bytes);
    const palijet::Extent grid{int64_t{grid_x} * block_x, int64_t{grid_y} * block_y, int64_t{grid_z} * block_z};
    enqueue(stream, [function, grid, taken = std::move(taken)] { function->run(taken.data(), grid); });
    return 0;
}
