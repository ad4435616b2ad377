// Python's "..." % values, in terms of snprintf.
#include "percent_format.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace tenon::text::jinja {
namespace {

constexpr int kWidest = 1000;

std::string padded(std::string s, int width, bool left) {
  const size_t missing = static_cast<size_t>(std::max(0, width)) > s.size() ? static_cast<size_t>(width) - s.size() : 0;
  return left ? s + std::string(missing, ' ') : std::string(missing, ' ') + s;
}

}  // namespace

std::string percent_format(const std::string& form, const List& values) {
  std::string out;
  size_t used = 0;
  for (size_t i = 0; i < form.size(); ++i) {
    if (form[i] != '%') {
      out += form[i];
      continue;
    }
    std::string flags;
    int width = 0, precision = -1;
    for (++i; i < form.size() && std::strchr("-+ #0", form[i]); ++i) flags += form[i];
    for (; i < form.size() && form[i] >= '0' && form[i] <= '9'; ++i) width = std::min(kWidest, width * 10 + form[i] - '0');
    if (i < form.size() && form[i] == '.')
      for (precision = 0, ++i; i < form.size() && form[i] >= '0' && form[i] <= '9'; ++i)
        precision = std::min(kWidest, precision * 10 + form[i] - '0');
    if (i >= form.size()) refuse("format: an incomplete %");
    const char kind = form[i];
    if (kind == '%') {
      out += '%';
      continue;
    }
    if (used >= values.size()) refuse("format: expected more than ", values.size(), " values");
    const Value& v = values[used++];
    if (kind == 's' || kind == 'r') {
      std::string s = kind == 's' ? v.text() : v.repr();
      if (precision >= 0) s.resize(std::min(s.size(), static_cast<size_t>(precision)));
      out += padded(std::move(s), width, flags.find('-') != std::string::npos);
      continue;
    }
    char text[2 * kWidest + 400];
    const bool integer = std::strchr("dixXo", kind) != nullptr;
    if (!integer && !std::strchr("feEgGF", kind)) refuse("format: unknown conversion %", std::string(1, kind));
    const std::string precise = precision >= 0 ? std::string(".").append(std::to_string(precision)) : std::string();
    std::string spec("%");
    spec.append(flags, 0, 8).append(width ? std::to_string(width) : std::string()).append(precise);
    if (integer) {
      const int64_t n = v.is<double>() ? static_cast<int64_t>(std::clamp(v.number(), -9e18, 9e18)) : v.integer("format");
      std::snprintf(text, sizeof text, (spec + "ll" + (kind == 'i' ? 'd' : kind)).c_str(), static_cast<long long>(n));
    } else {
      std::snprintf(text, sizeof text, (spec + kind).c_str(), v.number("format"));
    }
    out += text;
  }
  if (used < values.size()) refuse("format: not all values are used");
  return out;
}

}  // namespace tenon::text::jinja
