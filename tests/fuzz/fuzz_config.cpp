// Fuzzes JSON and the config readers of all models: any text gives a value that writes and reads back, and any value gives a
// description of a model or a tenon::Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tenon/core/json.h"
#include "tenon/models/registry.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tenon::Json json;
  try {
    json = tenon::Json::parse({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const tenon::Error&) {
    return 0;
  }
  const std::string text = json.dump();
  if (tenon::Json::parse(text).dump() != text) std::abort();
  if (!json.is_object()) return 0;
  const tenon::Json* type = json.get("model_type");
  for (const tenon::models::Entry& entry : tenon::models::registry()) {
    if (!type || !type->is_string() || type->as_string() != entry.model_type) continue;
    try {
      entry.make(entry.class_name, json);
    } catch (const tenon::Error&) {
    }
  }
  return 0;
}
