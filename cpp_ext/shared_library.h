// A shared library that is opened at run time, so that nothing is linked against what may not be there.
#pragma once

#include <string>
#include <vector>

namespace palijet {

// Stays open until the process ends: libraries that start threads or drivers cannot be unloaded safely.
class SharedLibrary {
  public:
    // Opens the first of `paths` that can be: files, or names for the system to look up. EngineError names `what`, the
    // system's reason and `mend` where none can.
    SharedLibrary(const std::string& what, const std::vector<std::string>& paths, const std::string& mend);

    const std::string& path() const { return path_; }  // the one that was opened

    // EngineError where the library has no such function.
    template <class Function>
    Function* function(const char* name) const {
        return reinterpret_cast<Function*>(symbol(name));
    }

  private:
    void* symbol(const char* name) const;

    std::string what_, path_;
    void* handle_ = nullptr;
};

}  // namespace palijet
