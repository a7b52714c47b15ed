// A file that is read where it lies: its pages come into memory when they are touched, and may leave it again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace palijet {

class MappedFile {
  public:
    // Throws BundleError where there is no such file, or it cannot be read.
    explicit MappedFile(const std::string& path);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    void expect_scattered_reads();  // no read-ahead

    const uint8_t* data() const { return data_; }
    size_t size() const { return size_; }  // bytes

  private:
    const uint8_t* data_ = nullptr;
    size_t size_ = 0;
};

}  // namespace palijet
