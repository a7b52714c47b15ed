#include "shared_library.h"

#include <dlfcn.h>

#include "error.h"

namespace palijet {

SharedLibrary::SharedLibrary(const std::string& what, const std::vector<std::string>& paths, const std::string& mend)
    : what_(what) {
    std::string reason;
    for (const std::string& path : paths) {
        handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        path_ = path;
        if (handle_) return;
        if (reason.empty()) reason = dlerror();
    }
    throw EngineError(what + " cannot be opened: " + reason + "; " + mend);
}

void* SharedLibrary::symbol(const char* name) const {
    void* found = dlsym(handle_, name);
    if (!found) throw EngineError(path_ + " is not " + what_ + ", or is too old: it has no " + name);
    return found;
}

}  // namespace palijet
