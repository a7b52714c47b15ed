#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "error.h"

namespace palijet {

MappedFile::MappedFile(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) throw BundleError(path + " cannot be opened: " + std::strerror(errno));
    struct stat status{};
    fstat(file, &status);
    size_ = static_cast<size_t>(status.st_size);
    if (size_ == 0) {
        close(file);
        return;
    }
    void* mapped = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    const int error = errno;
    close(file);
    if (mapped == MAP_FAILED) throw BundleError(path + " cannot be mapped: " + std::strerror(error));
    data_ = static_cast<const uint8_t*>(mapped);
}

MappedFile::~MappedFile() {
    if (data_) munmap(const_cast<uint8_t*>(data_), size_);
}

void MappedFile::expect_scattered_reads() {
    if (data_) madvise(const_cast<uint8_t*>(data_), size_, MADV_RANDOM);
}

}  // namespace palijet
