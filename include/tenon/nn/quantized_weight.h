// The weight of a Linear that the checkpoint holds in few bits: kept as it is stored, and packed when it is first used.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tenon/io/mapped_file.h"
#include "tenon/nn/lazy.h"
#include "tenon/ops/frozen_linear.h"
#include "tenon/quant/checkpoint_format.h"
#include "tenon/quant/dequantize.h"
#include "tenon/quant/packed_weight.h"

namespace tenon::nn {

/// The stored tensors stay mapped: they are listed as parameters and saved unchanged. Several threads may use one.
class QuantizedWeight : public std::enable_shared_from_this<QuantizedWeight> {
 public:
  /// Checks types and shapes; nothing is read. exact: rows will not be rounded to int8. Errors: Error(Format) naming the layer.
  QuantizedWeight(quant::Scheme scheme, quant::StoredLayer layer, bool exact)
      : scheme_(std::move(scheme)), layer_(std::move(layer)), exact_(exact) {
    scheme_.format->check(layer_, scheme_.settings);
  }

  const std::string& name() const { return layer_.name; }
  int64_t numel() const { return layer_.N * layer_.K; }
  quant::StoredTensors& tensors() { return layer_.tensors; }
  const quant::StoredTensors& tensors() const { return layer_.tensors; }

  /// The same stored weight for another model, not packed.
  std::shared_ptr<QuantizedWeight> again() const { return std::make_shared<QuantizedWeight>(scheme_, layer_, exact_); }

  /// How it will be packed: beside other weights that are packed so. Drops what was packed; not while others use it.
  void prepare(quant::Packing beside, bool exact) {
    beside_ = beside, now_exact_ = exact || exact_;
    packed_.reset();
  }
  const quant::PackedWeight& packed(Context& ctx) const {
    return packed_.get([&] {
      const QuantizedWeight* one = this;
      return pack(ctx, std::span(&one, 1));
    });
  }
  /// Looks at the scales and orders of columns, so that damage shows before the layer is used, and gives their pages back.
  /// Errors: Error(Format) naming the tensor.
  void check_contents() const {
    scheme_.format->check_contents(layer_, scheme_.settings);
    for_contents([](const Tensor& t) { io::release_pages(t); });
  }
  /// Asks for what check_contents() reads. Thousands of small tensors that a disk is asked for together come several times faster.
  void prefetch_contents() const {
    for_contents([](const Tensor& t) { io::prefetch_pages(t); });
  }
  /// Errors: Error(Format) naming the layer for damaged contents.
  quant::StoredWeight read(Context& ctx) const { return scheme_.format->read(ctx, layer_, scheme_.settings); }
  /// Shapes: -> (N,K) f32.
  Tensor dequantized(Context& ctx) const {
    HostContext host(ctx);
    return quant::dequantize(*host, read(*host)).to(ctx.device());
  }
  /// Products in float32, or in 16 bits at least.
  WeightFormat wide_format() const { return beside_.format == WeightFormat::F32 ? WeightFormat::F32 : WeightFormat::BF16; }
  bool exact() const { return now_exact_; }
  void release() const {
    for (const auto& [suffix, t] : layer_.tensors) io::release_pages(t);
  }

  /// The layer while gradients are recorded: x, bias and residual get theirs, the weight is made float32 for each pass and has none.
  /// Errors: Error(Type) naming the layer if one of its tensors wants a gradient.
  Tensor recorded(Context& ctx, const Tensor& x, const Tensor& bias, Activation act, const Tensor& residual) const {
    for (const auto& [suffix, t] : layer_.tensors)
      check(!ctx.wants(t), ErrorCode::Type, "quantized weights", layer_.name, ".", suffix,
            ": a quantised weight has no gradient; train adapters beside it");
    return ops::frozen_linear(
        ctx, x, [self = shared_from_this()](Context& c) { return self->dequantized(c); }, layer_.N, layer_.K, bias, act, residual);
  }

  /// Whether both can be packed above each other; order: whether that of their columns must be the same, too.
  static bool alike(const QuantizedWeight& a, const QuantizedWeight& b, bool order = true) {
    if (a.scheme_.format != b.scheme_.format || a.layer_.K != b.layer_.K || a.layer_.tensors.size() != b.layer_.tensors.size())
      return false;
    for (size_t i = 0; i < a.layer_.tensors.size(); ++i) {
      const auto& [name, t] = a.layer_.tensors[i];
      const auto& [other, u] = b.layer_.tensors[i];
      if (name != other || t.dtype() != u.dtype() || t.rank() != u.rank()) return false;
      if (name == "weight_scale" && t.rank() == 2 && t.size(1) != u.size(1)) return false;
      if (order && name.ends_with("g_idx") &&
          (t.nbytes() != u.nbytes() || std::memcmp(std::as_const(t).raw(), std::as_const(u).raw(), t.nbytes()) != 0))
        return false;
    }
    return true;
  }

  /// Several above each other, which are alike.
  static quant::PackedWeight pack(Context& ctx, std::span<const QuantizedWeight* const> parts) {
    const QuantizedWeight& first = *parts.front();
    HostContext host(ctx);  // reads; packing is the device's
    std::vector<quant::QuantizedMatrix> matrices;
    std::vector<Tensor> plain;
    for (const QuantizedWeight* p : parts) {
      quant::StoredWeight w = p->read(*host);
      if (w.is_rows())
        plain.push_back(quant::dequantize(*host, w));
      else
        matrices.push_back(quant::regroup(std::move(w.matrix)));
    }
    quant::PackedWeight packed = plain.empty()
                                     ? quant::pack(ctx, quant::rows_concat(matrices), first.now_exact_, first.beside_.fp8_rows)
                                     : quant::pack_rows_concat(ctx, plain, first.now_exact_ ? first.wide_format() : WeightFormat::Int8);
    matrices.clear();
    for (const QuantizedWeight* p : parts) p->release();
    return packed;
  }

 private:
  template <class F>
  void for_contents(F&& f) const {
    for (const auto& [suffix, t] : layer_.tensors)
      if (suffix.find("scale") != suffix.npos || suffix.ends_with("g_idx")) f(t);
  }

  quant::Scheme scheme_;
  quant::StoredLayer layer_;
  bool exact_;
  quant::Packing beside_ = WeightFormat::F32;
  bool now_exact_ = true;
  Lazy<quant::PackedWeight> packed_;
};

/// Several quantised weights above each other, packed as one when they are first used.
class QuantizedRowsConcat {
 public:
  explicit QuantizedRowsConcat(std::vector<std::shared_ptr<const QuantizedWeight>> parts) : parts_(std::move(parts)) {}
  const quant::PackedWeight& packed(Context& ctx) const {
    return packed_.get([&] {
      std::vector<const QuantizedWeight*> all;
      for (const auto& p : parts_) all.push_back(p.get());
      return QuantizedWeight::pack(ctx, all);
    });
  }

 private:
  std::vector<std::shared_ptr<const QuantizedWeight>> parts_;
  Lazy<quant::PackedWeight> packed_;
};

}  // namespace tenon::nn
