// Where a tensor lives.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

namespace tenon {

struct Device {
  enum class Kind : uint8_t { Cpu, Cuda };
  Kind kind = Kind::Cpu;
  int index = 0;

  bool is_cpu() const { return kind == Kind::Cpu; }
  bool operator==(const Device&) const = default;
  std::string str() const { return is_cpu() ? "cpu" : "cuda:" + std::to_string(index); }
  friend std::ostream& operator<<(std::ostream& out, const Device& d) { return out << d.str(); }
};

/// Reads "cpu", "cuda" or "cuda:1". Errors: Error(Device) for anything else, and for a device that cannot be used, with the reason.
Device parse_device(const std::string& text);

}  // namespace tenon
