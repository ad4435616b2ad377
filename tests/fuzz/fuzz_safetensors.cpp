// Fuzzes the safetensors reader: any bytes give readable tensors, which survive a rewrite, or a tenon::Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "tenon/io/safetensors.h"

namespace {

volatile unsigned g_sink;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto storage = std::make_shared<tenon::Storage>();
  std::shared_ptr<char[]> block(new char[size + 1]);  // + 1: an empty input has an address too
  if (size) std::memcpy(block.get(), data, size);
  storage->data = block.get();
  storage->bytes = size;
  storage->read_only = true;
  storage->owner = block;
  try {
    const auto file = tenon::io::SafeTensors::over(storage, "fuzz");
    size_t bytes = 0;
    for (const std::string& name : file.names()) {
      const tenon::Tensor t = file.tensor(name);
      if (!(t.shape() == file.info(name).shape) || t.dtype() != file.info(name).dtype) std::abort();
      for (size_t i = 0; i < t.nbytes(); ++i) g_sink = g_sink + static_cast<const unsigned char*>(t.raw())[i];
      bytes += t.nbytes();
    }
    if (bytes > size) std::abort();  // tensors do not overlap, so they hold no more than the file
  } catch (const tenon::Error&) {
  }
  return 0;
}
