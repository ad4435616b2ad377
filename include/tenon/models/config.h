// Reading config.json: the spellings of Transformers 4 and 5, with errors that name the key.
#pragma once

#include <cstdint>
#include <string>

#include "tenon/core/json.h"

namespace tenon::models {

/// The value of the first of several spellings that is present, else `fallback`. Errors: Error(Type) naming the key.
inline int64_t read_int(const Json& c, std::initializer_list<const char*> keys, int64_t fallback) {
  for (const char* k : keys)
    if (c.has(k)) return c.value(k, fallback);
  return fallback;
}

/// A size: as read_int, but it must lie in [1, most]. Errors: Error(Format) naming the key.
inline int64_t read_size(const Json& c, std::initializer_list<const char*> keys, int64_t fallback, int64_t most = INT32_MAX) {
  const int64_t v = read_int(c, keys, fallback);
  check(v >= 1 && v <= most, ErrorCode::Format, "config.json", "\"", *keys.begin(), "\": expected a size from 1 to ", most, ", got ", v);
  return v;
}

/// A probability that dropout takes, of the first spelling that is present and not null. Errors: Error(Format) naming the key.
inline float read_dropout(const Json& c, std::initializer_list<const char*> keys, double fallback) {
  double p = fallback;
  const char* found = *keys.begin();
  for (const char* k : keys)
    if (c.has(k)) {
      p = c.value(k, fallback), found = k;
      break;
    }
  check(p >= 0 && p <= 1, ErrorCode::Format, "config.json", "\"", found, "\": expected a probability, got ", p);
  return static_cast<float>(p);
}

/// Sides of images and patches and numbers of channels: products of three of them stay far from overflow.
inline constexpr int64_t kMaxImageSide = 65536;

/// Number of classes: num_labels, else the entries of id2label, else 2.
inline int64_t read_num_labels(const Json& c) {
  if (c.has("num_labels")) return read_size(c, {"num_labels"}, 2);
  if (const Json* labels = c.get("id2label")) {
    const int64_t n = static_cast<int64_t>(labels->as_object("id2label").size());
    check(n > 0, ErrorCode::Format, "config.json", "\"id2label\" is empty");
    return n;
  }
  return 2;
}

/// The name of class i as id2label has it, else "LABEL_i".
inline std::string label_name(const Json& c, int64_t i) {
  if (const Json* labels = c.get("id2label"))
    if (const Json* name = labels->get(std::to_string(i)); name && name->is_string()) return name->as_string();
  return "LABEL_" + std::to_string(i);
}

}  // namespace tenon::models
