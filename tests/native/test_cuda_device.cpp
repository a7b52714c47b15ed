// CudaDevice and its kernels over CUDA's stand-in, against the same work on the host.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cpu_device.h"
#include "cpu_preprocessor.h"
#include "cuda_graph.h"
#include "error.h"
#include "stand_in_device.h"

using namespace palijet;
using namespace palijet::tests;

namespace {

std::vector<uint8_t> read(Device& device, const void* from, size_t bytes) {
    std::vector<uint8_t> values(bytes);
    device.copy(values.data(), from, bytes);
    device.synchronize();
    return values;
}

struct Random {
    std::mt19937 engine{20261124};
    int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine); }
    std::vector<uint8_t> bytes(size_t count) {
        std::vector<uint8_t> values(count);
        for (uint8_t& value : values) value = static_cast<uint8_t>(pick(0, 255));
        return values;
    }
};

void check_rows(Device& device, Random& random) {
    for (int round = 0; round < 60; ++round) {
        const size_t unit = random.pick(0, 1) ? 16 : 1;
        const auto bytes = static_cast<size_t>(random.pick(1, 90)) * unit;
        const size_t stride = bytes + static_cast<size_t>(random.pick(0, 5)) * unit;
        const auto pieces = static_cast<size_t>(random.pick(1, 12));
        const auto source = random.bytes(stride * pieces), target = random.bytes(stride * pieces);
        Memory from = device.allocate(source.size()), to = device.allocate(target.size());
        device.copy(from.get(), source.data(), source.size());
        device.copy(to.get(), target.data(), target.size());
        std::vector<uint8_t> expected = target;
        CpuDevice::instance().copy_rows({expected.data(), stride, source.data(), stride, bytes, pieces});
        device.copy_rows({to.get(), stride, from.get(), stride, bytes, pieces});
        REQUIRE(read(device, to.get(), target.size()) == expected);
        CpuDevice::instance().clear_rows(expected.data(), stride, bytes / 2 + 1, pieces);
        device.clear_rows(to.get(), stride, bytes / 2 + 1, pieces);
        REQUIRE(read(device, to.get(), target.size()) == expected);
    }
}

// One size of the network, three frames.
void check_frames(Device& device, Random& random) {
    const int64_t size = random.pick(1, 40);
    auto on_gpu = device.make_preprocessor(size);
    REQUIRE(on_gpu->place() == Place::kDevice);
    CpuPreprocessor on_host(size);
    const Memory pixels = device.allocate(static_cast<size_t>(3 * size * size) * sizeof(float));
    for (int frame = 0; frame < 3; ++frame) {
        ImageView view;
        view.format = std::vector<PixelFormat>{PixelFormat::kBgr, PixelFormat::kRgb, PixelFormat::kNv12Bt601,
                                               PixelFormat::kNv12Bt709}[static_cast<size_t>(random.pick(0, 3))];
        const bool nv12 = is_nv12(view.format);
        view.width = random.pick(1, 40) * (nv12 ? 2 : 1);
        view.height = random.pick(1, 60) * (nv12 ? 2 : 1);
        view.channels = nv12 ? 1 : std::vector<int64_t>{1, 3, 4}[static_cast<size_t>(random.pick(0, 2))];
        view.channel_stride = 1;
        view.column_stride = view.channels + (nv12 ? 0 : random.pick(0, 1));
        view.row_stride = view.width * view.column_stride + random.pick(0, 7);
        const int64_t rows = nv12 ? view.height * 3 / 2 : view.height;
        const auto bytes = random.bytes(static_cast<size_t>(rows * view.row_stride));
        view.data = bytes.data();
        const bool flipped = !nv12 && random.pick(0, 1);
        if (flipped) view.data += (view.height - 1) * view.row_stride, view.row_stride = -view.row_stride;

        std::vector<float> expected(static_cast<size_t>(3 * size * size));
        on_host.run(view, expected.data());

        Memory elsewhere;  // the same frame in memory of another kind
        const int64_t kind = random.pick(0, 2);
        if (kind) {
            elsewhere = kind == 1 ? device.allocate(bytes.size()) : device.allocate_host(bytes.size());
            device.copy(elsewhere.get(), bytes.data(), bytes.size());
            device.synchronize();
            view.data = elsewhere.get() + (view.data - bytes.data());
            view.place = kind == 1 ? Place::kDevice : Place::kHost;
        }
        on_gpu->run(view, reinterpret_cast<float*>(pixels.get()));
        const auto found = read(device, pixels.get(), expected.size() * sizeof(float));
        REQUIRE(std::equal(found.begin(), found.end(), reinterpret_cast<const uint8_t*>(expected.data())));
    }
}

}  // namespace

TEST_CASE("rows are copied and cleared on the GPU as on the host, with kernels or without") {
    Random random;
    for (const char* driver : {PALIJET_STAND_IN_CUDA, "/no/driver.so"}) {
        CudaDevice device({PALIJET_STAND_IN_CUDA, driver});
        if (device.kernel_note().empty()) MESSAGE("with kernels");
        check_rows(device, random);
    }
    CHECK(stand_in_cuda().living() == 0);
}

TEST_CASE("frames of any size, layout, format and memory become the pixels that the host computes, bit for bit") {
    Random random;
    if (!stand_in_device()->kernel_note().empty()) {
        MESSAGE("skipped: " << stand_in_device()->kernel_note());
        return;
    }
    for (int round = 0; round < 150; ++round) {
        stand_in_cuda().set_integrated(random.pick(0, 1));
        check_frames(*stand_in_device(), random);
    }
    stand_in_cuda().set_integrated(true);
}

TEST_CASE("a real GPU computes what the host does, bit for bit") {
    std::shared_ptr<CudaDevice> device;
    try {
        device = std::make_shared<CudaDevice>();
    } catch (const EngineError& error) {
        MESSAGE("skipped: " << std::string(error.what()));
        return;
    }
    Random random;
    check_rows(*device, random);
    REQUIRE_MESSAGE(device->kernel_note().empty(), device->kernel_note());
    for (int round = 0; round < 150; ++round) check_frames(*device, random);
    MESSAGE("60 row copies and 450 frames equal");
}

TEST_CASE("a frame that the GPU can read is not copied, on a board whose memory host and GPU share") {
    for (const bool integrated : {true, false}) {
        stand_in_cuda().set_integrated(integrated);
        const auto device = stand_in_device();
        if (!device->kernel_note().empty()) return;
        const auto preprocessor = device->make_preprocessor(8);
        const Memory pixels = device->allocate(3 * 8 * 8 * sizeof(float));
        const Memory mapped = device->allocate_host(16 * 16 * 3), owned = device->allocate(16 * 16 * 3);
        const auto copies_of = [&](const uint8_t* data, Place place) {
            const ImageView view{data, 16, 16, 3, 48, 3, 1, PixelFormat::kBgr, place};
            preprocessor->run(view, reinterpret_cast<float*>(pixels.get()));  // the first makes the tables
            const int64_t before = stand_in_cuda().calls("cudaMemcpyAsync");
            preprocessor->run(view, reinterpret_cast<float*>(pixels.get()));
            return stand_in_cuda().calls("cudaMemcpyAsync") - before;
        };
        CHECK(copies_of(owned.get(), Place::kDevice) == 0);
        CHECK(copies_of(mapped.get(), Place::kHost) == (integrated ? 0 : 1));
        device->synchronize();
    }
    stand_in_cuda().set_integrated(true);
}

TEST_CASE("a frame in the GPU's memory is refused by the preprocessing of the host") {
    const auto device = stand_in_device();
    const Memory frame = device->allocate(48);
    std::vector<float> pixels(3 * 4 * 4);
    CHECK_THROWS_WITH_AS(
        CpuPreprocessor(4).run({frame.get(), 4, 4, 3, 12, 3, 1, PixelFormat::kBgr, Place::kDevice}, pixels.data()),
        doctest::Contains("lies in CUDA memory"), InputError);
}

TEST_CASE("what CUDA refuses is told in its words") {
    stand_in_cuda().fail("cudaGetDeviceCount", 0);
    CHECK_THROWS_WITH_AS(stand_in_device(), doctest::Contains("there is no CUDA device"), EngineError);
    CHECK_THROWS_WITH_AS(CudaDevice({"/no/cudart.so", ""}),
                         doctest::Contains("CUDA's runtime library cannot be opened: /no/cudart.so"), EngineError);
    const auto device = stand_in_device();
    stand_in_cuda().fail("cudaMalloc", 0);
    CHECK_THROWS_WITH_AS(device->allocate(3 << 20),
                         doctest::Contains("no room for 3 MiB more (8192 MiB of 8192 MiB are free)"), EngineError);
    stand_in_cuda().fail("cudaHostAlloc", 0);
    CHECK_THROWS_WITH_AS(device->allocate_host(1), doctest::Contains("out of memory"), EngineError);
    stand_in_cuda().fail("cudaStreamSynchronize", 0);
    CHECK_THROWS_WITH_AS(device->synchronize(), doctest::Contains("cudaErrorLaunchFailure"), EngineError);
}

TEST_CASE("when the GPU is said to fail, nothing that was enqueued still writes its caller's memory") {
    const auto device = stand_in_device();
    const Memory memory = device->allocate(4), out = device->allocate_host(4);
    const std::vector<uint8_t> in{1, 2, 3, 4};
    device->copy(memory.get(), in.data(), 4);
    device->copy(out.get(), memory.get(), 4);
    stand_in_cuda().fail("cudaStreamSynchronize", 0);
    CHECK_THROWS_AS(device->synchronize(), EngineError);
    CHECK(std::vector<uint8_t>(out.get(), out.get() + 4) == in);
}

TEST_CASE("without kernels frames are resized on the host, and the device says why") {
    CudaDevice device({PALIJET_STAND_IN_CUDA, "/no/driver.so"});
    CHECK(device.kernel_note().find("/no/driver.so") != std::string::npos);
    CHECK(device.make_preprocessor(8)->place() == Place::kHost);
}

TEST_CASE("any thread may ask, but not one that is in another library's CUDA context, nor with that one's memory") {
    const auto device = stand_in_device();
    if (!device->kernel_note().empty()) return;
    const auto preprocessor = device->make_preprocessor(4);
    const Memory pixels = device->allocate(3 * 4 * 4 * sizeof(float)), frame = device->allocate(48);
    const auto answer = [&](const Memory& memory) {
        const ImageView view{memory.get(), 4, 4, 3, 12, 3, 1, PixelFormat::kBgr, Place::kDevice};
        preprocessor->run(view, reinterpret_cast<float*>(pixels.get()));
        device->synchronize();
    };
    std::thread([&] { CHECK_NOTHROW(answer(frame)); }).join();

    int another = 0;
    const auto enter =
        reinterpret_cast<int (*)(void*)>(dlsym(dlopen(PALIJET_STAND_IN_CUDA, RTLD_NOW), "cuCtxSetCurrent"));
    std::thread([&] {
        enter(&another);
        CHECK_THROWS_WITH_AS(answer(frame), doctest::Contains("another CUDA context than the model's is current"),
                             EngineError);
        const Memory foreign = device->allocate(48);
        enter(nullptr);
        CHECK_THROWS_WITH_AS(answer(foreign), doctest::Contains("import pycuda.autoprimaryctx"), InputError);
    }).join();
}

TEST_CASE("a recording that breaks off leaves a stream that works") {
    const auto device = stand_in_device();
    const Memory memory = device->allocate(16);
    CHECK_THROWS_AS(CudaGraph(*device, [] { throw EngineError("in the middle"); }), EngineError);
    const std::vector<uint8_t> values(16, 7);
    device->copy(memory.get(), values.data(), values.size());
    CHECK(read(*device, memory.get(), 16) == values);

    CudaGraph graph(*device, [&] { device->clear_rows(memory.get(), 16, 16, 1); });
    CHECK(read(*device, memory.get(), 16) == values);  // recorded, not run
    graph.launch();
    CHECK(read(*device, memory.get(), 16) == std::vector<uint8_t>(16, 0));
}

TEST_CASE("the devices of these tests have given everything back") { CHECK(stand_in_cuda().living() == 0); }
