// Finds libtenon_cuda at run time. It is never linked, so that the same library runs where no CUDA is.
#include "core/cuda_loader.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "tenon/core/error.h"
#include "tenon/core/version.h"

#ifdef __unix__
#include <dlfcn.h>
#include <unistd.h>
#endif

namespace tenon::cuda::detail {
namespace {

#ifdef __unix__

constexpr const char* kName = "libtenon_cuda.so";

std::string own_folder() {
  Dl_info info{};
  if (!dladdr(reinterpret_cast<const void*>(&loaded), &info) || !info.dli_fname) return "";
  const std::string file = info.dli_fname;
  const size_t slash = file.rfind('/');
  return slash == std::string::npos ? "." : file.substr(0, slash);
}

/// Opens the library; `why` says what stood against it.
void* open_library(std::string& path, std::string& why) {
  std::vector<std::string> places;
  const char* env = std::getenv("TENON_CUDA_LIBRARY");
  if (env && *env) {
    if (access(env, R_OK) != 0) {
      why = "TENON_CUDA_LIBRARY: there is no file " + std::string(env);
      return nullptr;
    }
    places = {env};
  } else {
    const std::string folder = own_folder();
    if (!folder.empty())
      for (const char* below : {"/", "/../lib/"})
        if (const std::string file = folder + below + kName; access(file.c_str(), R_OK) == 0) places.push_back(file);
    places.push_back(kName);  // the loader's own path
  }
  for (const std::string& place : places) {
    dlerror();
    if (void* library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) {
      path = place;
      return library;
    }
    const char* error = dlerror();
    // A file that is there but cannot be loaded is what the user wants to hear of; the last place is only a try.
    if (why.empty() && (place.find('/') != std::string::npos))
      why = place + " cannot be loaded: " + (error ? error : "unknown error");
  }
  if (why.empty())
    why = std::string("no ") + kName + " was found beside the library; build it with -DTENON_BUILD_CUDA=ON, or set TENON_CUDA_LIBRARY";
  return nullptr;
}

Loaded load() {
  Loaded l;
  void* library = open_library(l.path, l.why);
  if (!library) return l;
  const auto function = reinterpret_cast<BackendFunction>(dlsym(library, kBackendSymbol));
  const Backend* b = function ? function() : nullptr;
  if (!b) {
    l.why = l.path + " is no CUDA library of tenon";
    return l;
  }
  if (b->abi != kBackendAbi || b->bytes != sizeof(Backend) || b->kernels_bytes != sizeof(Kernels) || version() != std::string(b->version)) {
    l.why = l.path + " belongs to another build of tenon; expected version " + version();
    return l;
  }
  char why[512] = {};
  l.devices = b->start(why, sizeof(why));
  if (l.devices <= 0) {
    l.devices = 0;
    l.why = why;
    return l;
  }
  b->fill_kernels(&l.kernels);
  fill_missing(l.kernels);
  l.backend = b;
  return l;
}

#else

Loaded load() {
  Loaded l;
  l.why = "tenon looks for CUDA on Unix only";
  return l;
}

#endif

}  // namespace

const Loaded& loaded() {
  static const Loaded* const l = new Loaded(load());  // never destroyed: tensors on devices may outlive static objects at exit
  return *l;
}

const Backend& backend_for(int device) {
  const Loaded& l = loaded();
  check(l.backend != nullptr, ErrorCode::Device, "cuda", "cuda:", device, " cannot be used: ", l.why);
  check(device >= 0 && device < l.devices, ErrorCode::Device, "cuda", "expected a device from cuda:0 to cuda:", l.devices - 1,
        ", got cuda:", device);
  return *l.backend;
}

void check_status(Status status, const char* what, int device) {
  if (status == Status::Ok) [[likely]]
    return;
  fail(status == Status::OutOfMemory ? ErrorCode::Memory : ErrorCode::Device, "cuda", what, " on cuda:", device, ": ",
       loaded().backend->last_error());
}

}  // namespace tenon::cuda::detail
