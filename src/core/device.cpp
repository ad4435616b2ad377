// Device names.
#include "tenon/core/device.h"

#include "tenon/core/error.h"

namespace tenon {

Device parse_device(const std::string& text) {
  if (text == "cpu") return {};
  check(text == "cuda" || text.rfind("cuda:", 0) == 0, ErrorCode::Device, "device", "expected \"cpu\" or \"cuda\", got \"", text, "\"");
  fail(ErrorCode::Device, "device", "\"", text, "\" asked for, but this build has no CUDA kernels; use device=\"cpu\"");
}

}  // namespace tenon
