// A mixture of experts that owns its weights: one constructor call, for a host's own model.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tenon/core/random.h"
#include "tenon/nn/moe.h"

namespace tenon::nn {

/// Parameters have the names of a DeepSeek checkpoint: gate.weight, experts.0.gate_proj.weight, shared_experts.down_proj.weight, ...
class MixtureOfExperts {
 public:
  /// Fresh weights: normal(0, std). Errors: Error(Format), Error(Limit) for sizes that do not fit.
  explicit MixtureOfExperts(const MoeConfig& config, uint64_t seed = 0, float std = 0.02f) : config_(config), layer_(config) {
    Fill fill{seed, std};
    layer_.visit("", kNames, fill);
  }

  const MoeConfig& config() const { return config_; }
  MoeLayer& layer() { return layer_; }
  const MoeLayer& layer() const { return layer_; }
  /// Shapes: x (..., C) f32|bf16 -> the same. routing, if not null, gets what the router decided for the flattened tokens.
  /// Errors: Error(Shape) if x does not end in hidden_size, Error(Type).
  Tensor forward(Context& ctx, const Tensor& x, ops::Routing* routing = nullptr) const {
    check(x.defined() && x.rank() >= 1 && x.size(-1) == config_.hidden_size, ErrorCode::Shape, "moe", "x: expected (..., ", config_.hidden_size,
          "), got ", x.describe());
    const Tensor flat = ops::reshape(ctx, x, {x.numel() / config_.hidden_size, config_.hidden_size});
    return ops::reshape(ctx, layer_.forward(ctx, flat, {}, routing), x.shape());
  }
  /// Packs the weights for inference in this format (the router stays float32); plain weights stay readable.
  void pack(Context& ctx, WeightFormat format) {
    Pack pack(ctx, format);
    layer_.visit("", kNames, pack);
  }
  /// By name; a change of their elements shows after pack().
  std::vector<std::pair<std::string, Tensor>> parameters() const {
    Collect collect;
    const_cast<MoeLayer&>(layer_).visit("", kNames, collect);  // the collector changes nothing
    return std::move(collect.found);
  }
  /// Gives parameters new values, float32 of the same shapes. Errors: Error(Format) for an unknown name, Error(Shape).
  void set(const std::string& name, const Tensor& value) {
    Assign assign(name, value);
    layer_.visit("", kNames, assign);
    check(assign.found, ErrorCode::Format, "moe", "there is no parameter \"", name, "\"");
  }

 private:
  static constexpr MoeNames kNames = {"gate", "experts", kGatedMlp, "shared_experts", "shared_expert_gate"};

  struct Fill final : Visitor {
    Fill(uint64_t seed, float s) : random(seed), std(s) {}
    void parameter(const std::string&, Tensor& t, const Shape& shape, const ParameterInfo& info) override {
      t = Tensor::zeros(shape, DType::F32);
      if (info.init == Init::Normal)
        for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = std * random.normal();
    }
    Random random;
    float std;
  };
  struct Pack final : Visitor {
    Pack(Context& c, WeightFormat f) : ctx(c), format(f) {}
    void parameter(const std::string&, Tensor&, const Shape&, const ParameterInfo&) override {}
    void linear(const std::string&, Linear& l) override { l.pack(ctx, l.precise() ? WeightFormat::F32 : format); }
    void fused(std::span<const std::string>, std::span<Linear* const> layers, FusedLinear& f) override { f.pack(ctx, layers, format); }
    void packable(Packable& part) override { part.pack(ctx, format); }
    Context& ctx;
    WeightFormat format;
  };
  struct Collect final : Visitor {
    void parameter(const std::string& name, Tensor& t, const Shape&, const ParameterInfo&) override { found.emplace_back(name, t); }
    std::vector<std::pair<std::string, Tensor>> found;
  };
  struct Assign final : Visitor {
    Assign(const std::string& n, const Tensor& v) : name(n), value(v) {}
    void parameter(const std::string& n, Tensor& t, const Shape& shape, const ParameterInfo&) override {
      if (n != name) return;
      check(value.shape() == shape, ErrorCode::Shape, "moe", name, ": expected ", shape, ", got ", value.describe());
      t = value.to(DType::F32).clone();
      found = true;
    }
    const std::string& name;
    const Tensor& value;
    bool found = false;
  };

  MoeConfig config_;
  MoeLayer layer_;
};

}  // namespace tenon::nn
