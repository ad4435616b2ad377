// Device names.
#include "tenon/core/device.h"

#include <algorithm>
#include <string>

#include "tenon/core/cuda.h"
#include "tenon/core/error.h"

namespace tenon {

Device parse_device(const std::string& text) {
  if (text == "cpu") return {};
  const bool named = text == "cuda" || text.rfind("cuda:", 0) == 0;
  const std::string number = named && text.size() > 4 ? text.substr(5) : "0";
  const bool digits =
      !number.empty() && number.size() <= 4 && std::all_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; });
  check(named && digits, ErrorCode::Device, "device", "expected \"cpu\", \"cuda\" or \"cuda:1\", got \"", text, "\"");
  check(cuda::is_available(), ErrorCode::Device, "device", "\"", text, "\" asked for, but it cannot be used: ", cuda::why_not(),
        "; use device=\"cpu\"");
  const int index = std::stoi(number);
  check(index < cuda::device_count(), ErrorCode::Device, "device", "\"", text, "\" asked for, but there ",
        cuda::device_count() == 1 ? "is only cuda:0" : "are only cuda:0 to cuda:" + std::to_string(cuda::device_count() - 1));
  return {Device::Kind::Cuda, index};
}

}  // namespace tenon
