// Fuzzes the reader of PyTorch's files (zip and pickle): any bytes give readable tensors or a tenon::Error.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "tenon/io/torch_file.h"

namespace {

volatile unsigned g_sink;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto storage = std::make_shared<tenon::Storage>();
  std::shared_ptr<char[]> block(new char[size + 1]);
  if (size) std::memcpy(block.get(), data, size);
  storage->data = block.get();
  storage->bytes = size;
  storage->read_only = true;
  storage->owner = block;
  try {
    for (const auto& [name, t] : tenon::io::read_torch_file(storage, "fuzz"))
      for (size_t i = 0; i < t.nbytes(); ++i) g_sink = g_sink + static_cast<const unsigned char*>(t.raw())[i];
  } catch (const tenon::Error&) {
  }
  return 0;
}
