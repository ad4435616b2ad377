// The fully connected layer: one weight of any format, plain or packed.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/io/mapped_file.h"
#include "tenon/nn/lora.h"
#include "tenon/nn/module.h"
#include "tenon/nn/quantized_weight.h"
#include "tenon/ops/elementwise.h"
#include "tenon/ops/linear.h"
#include "tenon/quant/packed_weight.h"

namespace tenon::nn {

/// y = act(x W^T + b + adapters) + residual. Until it is packed the plain weight is used; recording always uses the plain weight. A layer
/// that the checkpoint holds quantised has no plain weight: it is packed at first use, and made float32 for each recorded pass.
class Linear {
 public:
  Linear() = default;
  Linear(int64_t in_features, int64_t out_features, bool has_bias = true) : in_(in_features), out_(out_features), has_bias_(has_bias) {}

  int64_t in_features() const { return in_; }
  int64_t out_features() const { return out_; }
  bool has_bias() const { return has_bias_; }
  /// A small layer where precision matters (a classifier, a pooler) is never quantised.
  Linear& keep_precise() {
    precise_ = true;
    return *this;
  }
  bool precise() const { return precise_; }

  /// Shapes: x (..., in) -> (..., out); residual (..., out) or undefined.
  /// Errors: Error(Shape) if x does not end in `in`.
  Tensor forward(Context& ctx, const Tensor& x, Activation act = Activation::None, const Tensor& residual = {}) const {
    if (lora.empty()) return without_adapters(ctx, x, act, residual);
    const bool early = act == Activation::None;
    Tensor y = without_adapters(ctx, x, Activation::None, early ? residual : Tensor());
    for (const Lora& l : lora) y = ops::add(ctx, y, l.forward(ctx, x));
    y = ops::activation(ctx, y, act);
    return early || !residual.defined() ? y : ops::add(ctx, y, residual);
  }

  /// y = dropout(x W^T + b + adapters) + residual.
  Tensor forward_dropped(Context& ctx, const Tensor& x, float p, const Tensor& residual) const {
    if (!ctx.training().dropout || p == 0) return forward(ctx, x, Activation::None, residual);
    const Tensor y = ops::dropout(ctx, forward(ctx, x), p);
    return residual.defined() ? ops::add(ctx, y, residual) : y;
  }

  /// The weight has another shape on disk, with the same elements (a convolution whose stride is its kernel).
  Linear& stored_as(const Shape& shape) {
    stored_ = shape;
    return *this;
  }

  /// The weight is (in, out) on disk and in memory, as GPT-2's Conv1D has it.
  Linear& stored_in_out() {
    in_out_ = true;
    return stored_as({in_, out_});
  }
  bool in_out() const { return in_out_; }

  void visit(const std::string& name, Visitor& v) {
    int64_t stands_for = out_ * in_;
    for (size_t i = 0; quantized && i < quantized->tensors().size(); ++i) {
      auto& [suffix, t] = quantized->tensors()[i];
      v.parameter(name + "." + suffix, t, t.shape(), {.stored = std::exchange(stands_for, 0)});
    }
    if (!quantized) v.parameter(name + ".weight", weight, stored_.rank() ? stored_ : Shape{out_, in_}, {.tied = tied_weight});
    if (has_bias_) v.parameter(name + ".bias", bias, {out_}, {.init = Init::Zeros});
  }
  /// Packs the weight for inference and lets go of the mapped pages it came from.
  void pack(Context& ctx, quant::Packing packing) {
    if (quantized) {
      quantized->prepare(packing, precise_);
    } else {
      packed = quant::pack(ctx, in_out_ ? transposed(ctx) : weight.view({out_, in_}), packing, true);
      io::release_pages(weight);
    }
    pack_adapters(ctx, packing.format);
  }
  void unpack() {
    packed = {};
    if (quantized) quantized->prepare(WeightFormat::F32, true);
    for (Lora& l : lora) l.unpack();
  }
  void pack_adapters(Context& ctx, WeightFormat format) {
    for (Lora& l : lora) l.pack(ctx, format);
  }

  Tensor weight;               // (out, in), or as stored; undefined if it is quantised
  Tensor bias;                 // (out) float32, or undefined
  quant::PackedWeight packed;  // set once packed
  std::string tied_weight;     // the parameter whose weight this layer shares ("" = its own)
  std::vector<Lora> lora;      // of the active adapters

  std::shared_ptr<QuantizedWeight> quantized;  // the weight as the checkpoint holds it, in few bits

 private:
  Tensor without_adapters(Context& ctx, const Tensor& x, Activation act, const Tensor& residual) const {
    if (quantized && ctx.recorder()) return quantized->recorded(ctx, x, bias, act, residual);
    if (quantized) return ops::linear(ctx, x, quantized->packed(ctx), bias, act, residual);
    if (packed.data.defined() && !ctx.recorder()) return ops::linear(ctx, x, packed, bias, act, residual);
    const bool output_head = !tied_weight.empty();  // over the vocabulary: float8 training keeps it in 16 bits
    if (!precise_ && !output_head) return ops::linear(ctx, x, matrix(ctx), bias, act, residual, in_out_);
    const ops::PreciseProducts products = precise_ ? ops::PreciseProducts(ctx) : ops::PreciseProducts(ctx, DType::BF16);
    return ops::linear(ctx, x, matrix(ctx), bias, act, residual, in_out_);
  }
  Tensor matrix(Context& ctx) const { return weight.rank() == 2 || in_out_ ? weight : ops::reshape(ctx, weight, {out_, in_}); }

  Tensor transposed(Context& ctx) const { return ops::detail::transposed(ctx, weight.to(DType::F32).to(ctx.device())); }

  int64_t in_ = 0, out_ = 0;
  Shape stored_;
  bool has_bias_ = true, precise_ = false, in_out_ = false;
};

/// Each layer's forward(x). Plain weights are multiplied and differentiated together.
inline std::vector<Tensor> forward_all(Context& ctx, const Tensor& x, std::initializer_list<const Linear*> layers) {
  bool together = x.dtype() == DType::F32;
  std::vector<ops::LinearPart> parts;
  for (const Linear* l : layers) {
    together &= l->lora.empty() && !l->precise() && !l->in_out() && (ctx.recorder() || !l->packed.data.defined());
    together &= l->weight.rank() == 2 && l->weight.dtype() == DType::F32;
    parts.push_back({l->weight, l->bias});
  }
  if (together) return ops::linears(ctx, x, parts);
  std::vector<Tensor> y;
  for (const Linear* l : layers) y.push_back(l->forward(ctx, x));
  return y;
}

/// Several Linears over the same input, packed as one wide matmul.
struct FusedLinear {
  quant::PackedWeight packed;
  std::shared_ptr<const QuantizedRowsConcat> quantized;  // instead, where the checkpoint holds all of them quantised alike
  Tensor bias;

  bool ready() const { return packed.data.defined() || quantized; }
  /// Inference on the packed weight. Shapes: x (..., in) -> (..., sum of out); `layers` are those that were packed.
  Tensor forward(Context& ctx, const Tensor& x, std::initializer_list<const Linear*> layers) const {
    Tensor y = ops::linear(ctx, x, quantized ? quantized->packed(ctx) : packed, bias);
    int64_t at = 0;
    for (const Linear* l : layers) {
      for (const Lora& lora : l->lora) detail::add_columns(ctx, y, at, lora.forward(ctx, x));
      at += l->out_features();
    }
    return y;
  }
  void pack(Context& ctx, std::span<Linear* const> layers, quant::Packing packing) {
    unpack();
    std::vector<Tensor> weights;
    std::vector<std::shared_ptr<const QuantizedWeight>> stored;
    int64_t n = 0;
    for (Linear* l : layers) {
      n += l->out_features();
      l->quantized ? stored.push_back(l->quantized) : weights.push_back(l->weight);
    }
    if (!stored.empty()) {
      bool alike = weights.empty();
      for (Linear* l : layers) {
        l->pack(ctx, packing);
        alike = alike && QuantizedWeight::alike(*stored.front(), *l->quantized);
      }
      if (!alike) return;  // each by itself
      quantized = std::make_shared<QuantizedRowsConcat>(std::move(stored));
    } else {
      packed = quant::pack_rows_concat(ctx, weights, packing, true);
    }
    Tensor all = Tensor::zeros({n}, DType::F32);
    float* b = all.data<float>();
    for (Linear* l : layers) {
      if (l->bias.defined()) cuda::copy(b, {}, std::as_const(l->bias).address(), l->bias.device(), l->bias.nbytes());
      b += l->out_features();
      if (l->weight.defined()) io::release_pages(l->weight);
      l->pack_adapters(ctx, packing.format);
    }
    bias = all.to(ctx.device());
  }
  void unpack() { packed = {}, bias = {}, quantized.reset(); }
};

inline void Visitor::linear(const std::string& name, Linear& layer) { layer.visit(name, *this); }
inline void Visitor::packed_elsewhere(const std::string& name, Linear& layer) { layer.visit(name, *this); }
inline void Visitor::fused(std::span<const std::string> names, std::span<Linear* const> layers, FusedLinear&) {
  for (size_t i = 0; i < names.size(); ++i) linear(names[i], *layers[i]);
}

}  // namespace tenon::nn
