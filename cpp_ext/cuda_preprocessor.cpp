#include "cuda_preprocessor.h"

#include <utility>

#include "cuda_device.h"
#include "error.h"
#include "nv12.h"
#include "resampler.h"

namespace palijet {

namespace {

// The bytes that a view covers, from `first` on; strides may be negative.
struct Span {
    const uint8_t* first;
    size_t bytes;
};

Span span_of(const ImageView& image) {
    const int64_t rows = is_nv12(image.format) ? image.height * 3 / 2 : image.height;
    ptrdiff_t lowest = 0, highest = 0;
    for (const ptrdiff_t reach : {(rows - 1) * image.row_stride, (image.width - 1) * image.column_stride,
                                  (image.channels - 1) * image.channel_stride}) {
        (reach < 0 ? lowest : highest) += reach;
    }
    return {image.data + lowest, static_cast<size_t>(highest - lowest + 1)};
}

}  // namespace

CudaPreprocessor::CudaPreprocessor(int64_t size, CudaDevice& device, CudaKernels& kernels)
    : size_(size), device_(device), kernels_(kernels) {
    if (size < 1) throw InputError("an image cannot be resized to nothing");
}

void CudaPreprocessor::run(const ImageView& image, float* pixels) {
    check_layout(image);
    ImageView view = on_device(image);
    if (is_nv12(view.format)) view = to_rgb(view);
    const bool is_transposed = starts_with_height(view, size_, size_);
    if (is_transposed) view = transposed(view);

    const int64_t planes = view.channels == 1 ? 1 : 3;
    const bool reversed = planes == 3 && view.format == PixelFormat::kBgr;
    uint8_t* narrowed = reserve(narrowed_, static_cast<size_t>(view.height * planes * size_));
    kernels_.launch(WidthPass{view.data + (reversed ? 2 * view.channel_stride : 0), view.row_stride, view.column_stride,
                              reversed ? -view.channel_stride : view.channel_stride, view.height, planes, size_,
                              view.width != size_, taps(horizontal_, view.width), narrowed});
    kernels_.launch(HeightPass{narrowed, planes, size_, size_, view.height != size_, is_transposed,
                               taps(vertical_, view.height), pixels});
}

ImageView CudaPreprocessor::on_device(const ImageView& image) {
    ImageView view = image;
    view.place = Place::kDevice;
    view.data = device_.readable(image.data);
    if (view.data) return view;
    const Span span = span_of(image);
    uint8_t* copied = reserve(frame_, span.bytes);
    device_.copy(copied, span.first, span.bytes);
    view.data = copied + (image.data - span.first);
    return view;
}

ImageView CudaPreprocessor::to_rgb(const ImageView& nv12) {
    uint8_t* rgb = reserve(rgb_, static_cast<size_t>(3 * nv12.height * nv12.width));
    const Nv12Pass pass = nv12_pass(nv12, nv12.data, rgb);
    kernels_.launch(pass);
    return rgb_view(pass, Place::kDevice);
}

const TapsView& CudaPreprocessor::taps(DeviceTaps& side, int64_t in) {
    if (side.taps.are_of(in, size_)) return side.view;
    side.taps = Taps();  // none, if what follows throws
    Taps taps(in, size_);
    const TapsView host = taps.view();
    const size_t count = taps.out_count(), weights = taps.weight_count();
    auto* table = reinterpret_cast<int32_t*>(reserve(side.table, (2 * count + weights) * sizeof(int32_t)));
    device_.copy(table, host.first, count * sizeof(int32_t));
    device_.copy(table + count, host.count, count * sizeof(int32_t));
    device_.copy(table + 2 * count, host.weights, weights * sizeof(int32_t));
    side.view = {table, table + count, table + 2 * count, host.width};
    side.taps = std::move(taps);  // whose memory is still copied from
    return side.view;
}

uint8_t* CudaPreprocessor::reserve(Buffer& buffer, size_t bytes) {
    if (bytes > buffer.bytes) {
        buffer.memory = device_.allocate(bytes);
        buffer.bytes = bytes;
    }
    return buffer.memory.get();
}

}  // namespace palijet
