// Opens the golden cases: tiny checkpoints with what Transformers computes from them in float32.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tenon/io/safetensors.h"
#include "tenon/models/registry.h"

namespace tenon::test {

/// The folder of a case, in the repository or in the reference data beside it; "" if neither has it.
inline std::string golden_folder(const std::string& name) {
  for (const std::string& root : {std::string(TENON_TEST_DIR) + "/golden/", std::string(TENON_SHARED_DIR) + "/golden/cases/"})
    if (std::filesystem::exists(root + name + "/model.safetensors")) return root + name;
  return "";
}

/// All tensors of a safetensors file by name; empty if there is no such file.
inline std::map<std::string, Tensor> read_all(const std::string& path) {
  std::map<std::string, Tensor> all;
  if (!std::filesystem::exists(path)) return all;
  const io::SafeTensors file = io::SafeTensors::open(path);
  for (const auto& name : file.names()) all[std::string(name)] = file.tensor(name);
  return all;
}

/// Sets the members of `in` that the map has.
inline void assign(models::Inputs& in, const std::map<std::string, Tensor>& values) {
  in.visit([&](const char* name, Tensor& t) {
    if (const auto it = values.find(name); it != values.end()) t = it->second;
  });
}

/// Outputs under Transformers' names, lists as "name.i".
inline std::map<std::string, Tensor> flatten(models::Outputs out) {
  std::map<std::string, Tensor> all;
  out.visit([&](const char* name, auto& value) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, Tensor>) {
      if (value.defined()) all[name] = value;
    } else {
      for (size_t i = 0; i < value.size(); ++i) all[std::string(name) + "." + std::to_string(i)] = value[i];
    }
  });
  return all;
}

/// max |a - b| / max |b|, over the rows that the mask keeps where a is (B,T,...); 0 for two empty tensors.
inline double relative_error(const Tensor& a, const Tensor& b, const Tensor& mask = {}) {
  REQUIRE(a.numel() == b.numel());
  const Tensor x = a.to(DType::F32), y = b.to(DType::F32);
  std::vector<int64_t> keep;
  int64_t rows = 0;
  const bool by_position = mask.defined() && ((a.rank() == 3 && a.size(0) == mask.size(0) && a.size(1) == mask.size(1)) ||
                                              (a.rank() == 2 && a.size(0) == mask.numel()));
  if (by_position) {
    const Tensor m = mask.to(DType::I64);
    keep.assign(m.data<int64_t>(), m.data<int64_t>() + m.numel());
    rows = mask.numel();
  }
  double worst = 0, largest = 0;
  for (int64_t i = 0; i < x.numel(); ++i) {
    if (rows && !keep[i / (x.numel() / rows)]) continue;
    const double d = std::abs(static_cast<double>(x.data<float>()[i]) - y.data<float>()[i]);
    worst = std::isnan(d) ? INFINITY : std::max(worst, d);
    largest = std::max(largest, std::abs(static_cast<double>(y.data<float>()[i])));
  }
  return largest > 0 ? worst / largest : worst;
}

}  // namespace tenon::test
