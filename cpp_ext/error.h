// Every error the core raises on purpose: one sentence that says what is wrong, where, and the mend.
#pragma once

#include <stdexcept>
#include <string>

namespace palijet {

// An image, a prompt or an option that cannot be answered.
class InputError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// An inference library that is missing or of a wrong version, or a graph that it refuses or fails to run.
class EngineError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// A file of a bundle that is missing or not what it should be.
class BundleError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

}  // namespace palijet
