// How layers list their parameters: once, by name. Loading, saving, packing, counting and optimising are visitors.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tenon/core/kernels.h"
#include "tenon/core/tensor.h"
#include "tenon/quant/format.h"

namespace tenon {
class Context;
}

namespace tenon::nn {

class Linear;
struct FusedLinear;

/// A part of a model that makes packed weights of its own from parameters that it has listed: the experts of a mixture, the absorbed
/// matrices of latent attention.
class Packable {
 public:
  virtual ~Packable() = default;
  virtual void pack(Context& ctx, quant::Packing packing) = 0;
  virtual void unpack() = 0;
};

/// How a parameter that no checkpoint holds starts.
enum class Init : uint8_t { Normal, Zeros, Ones };

/// What a parameter is, beside its name and shape.
struct ParameterInfo {
  Init init = Init::Normal;
  bool in_place = false;     // a large table read row by row: it stays mapped in the type it has on disk
  std::string tied = {};     // the parameter it shares its memory with where config.json says tie_word_embeddings ("" = none)
  double scale = 1;          // factor on what init gives (a scalar parameter with Init::Ones starts as this)
  std::vector<std::string> aliases = {};  // names under which checkpoints may hold it, too
  bool optional = false;                  // a checkpoint without it is whole
  int64_t stored = -1;                    // part of a quantised weight, as the checkpoint holds it: how many weights it stands for (of its
                                          // parts one does, the others for 0); the layer has it before it is listed
};

/// Joins the parts of a parameter name with dots, skipping empty ones.
inline std::string join(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : name.empty() ? prefix : prefix + "." + name;
}

class Visitor {
 public:
  virtual ~Visitor() = default;
  /// One parameter: its name on disk, the tensor (undefined before loading) and the shape it must have.
  virtual void parameter(const std::string& name, Tensor& t, const Shape& shape, const ParameterInfo& info) = 0;
  /// One Linear; by default its weight and bias are visited.
  virtual void linear(const std::string& name, Linear& layer);
  /// Linears with the same input whose weights may be packed as one (query, key, value); by default each is visited.
  virtual void fused(std::span<const std::string> names, std::span<Linear* const> layers, FusedLinear& fused);
  /// One Linear whose weight a Packable packs (an expert); by default its weight and bias are visited.
  virtual void packed_elsewhere(const std::string& name, Linear& layer);
  /// A part that packs weights itself, after its parameters were listed.
  virtual void packable(Packable&) {}
};

}  // namespace tenon::nn
