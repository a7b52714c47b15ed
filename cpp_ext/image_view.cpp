#include "image_view.h"

#include <string>
#include <utility>

#include "error.h"

namespace palijet {

void check_layout(const ImageView& image) {
    if (image.height < 1 || image.width < 1) throw InputError("the image is empty; give one of at least 1 x 1 pixels");
    if (image.channels != 1 && image.channels != 3 && image.channels != 4) {
        throw InputError("an image of " + std::to_string(image.channels) +
                         " channels cannot be read; give grey, three colours, or three and alpha");
    }
    if (!is_nv12(image.format)) return;
    if (image.channels != 1 || image.column_stride != 1 || image.height % 2 || image.width % 2) {
        throw InputError("an NV12 frame must be [height * 3 / 2, width] bytes of an even height and width, row by row");
    }
}

ImageView transposed(ImageView image) {
    std::swap(image.width, image.height);
    std::swap(image.row_stride, image.column_stride);
    return image;
}

}  // namespace palijet
