// The adapters of a mixture's experts on a device: the factors of all experts are met in two grouped products, and the host need not know who is
// visited.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "tenon/nn/linear.h"
#include "tenon/ops/sorted_experts.h"

namespace tenon::nn {

/// Of the same layer of every expert (its gate, up or down), in one type. Factors of several adapters lie side by side, and those of fewer rows
/// than an expert has most are filled up with zeros. Inference only.
class ExpertAdapters {
 public:
  ExpertAdapters() = default;
  ExpertAdapters(Context& ctx, const std::vector<Linear>& layers, DType type) {
    int64_t most = 0;
    for (const Linear& l : layers) most = std::max(most, rank_of(l));
    if (most == 0) return;
    const auto E = static_cast<int64_t>(layers.size());
    const int64_t K = layers.front().in_features(), N = layers.front().out_features();
    Tensor a = Tensor::zeros({E, most, K}, DType::F32), b = Tensor::zeros({E, N, most}, DType::F32);
    for (int64_t e = 0; e < E; ++e) {
      int64_t at = 0;
      for (const Lora& l : layers[static_cast<size_t>(e)].lora) {
        const Tensor a_here = l.a.to(Device{}), b_here = l.b.to(Device{});
        const int64_t r = a_here.size(0);
        std::memcpy(a.data<float>() + (e * most + at) * K, std::as_const(a_here).raw(), a_here.nbytes());
        const auto from = b_here.values<float>();
        for (int64_t n = 0; n < N; ++n)
          for (int64_t i = 0; i < r; ++i) b.data<float>()[(e * N + n) * most + at + i] = from[static_cast<size_t>(n * r + i)] * l.scaling;
        at += r;
      }
    }
    a_ = list(ctx, a.to(type).to(ctx.device())), b_ = list(ctx, b.to(type).to(ctx.device()));
  }

  /// y[:, column ...] += B A x, of each row's expert. Shapes: x (rows,K), y (rows, column + N or more) of the factors' type.
  void add(Context& ctx, Tensor& y, int64_t column, const Tensor& x, const ops::SortedPlaces& s) const {
    if (!a_.all.defined()) return;
    detail::add_columns(ctx, y, column, product(ctx, product(ctx, x, a_, s), b_, s));
  }

 private:
  struct Factors {
    Tensor all;        // (E,N,K)
    Tensor addresses;  // (E)
  };

  static int64_t rank_of(const Linear& l) {
    int64_t r = 0;
    for (const Lora& lora : l.lora) r += lora.a.size(0);
    return r;
  }
  static Factors list(Context& ctx, Tensor all) {
    const auto bytes = all.nbytes() / static_cast<size_t>(all.size(0));
    std::vector<uint64_t> at;
    const auto first = reinterpret_cast<uintptr_t>(std::as_const(all).address());
    for (int64_t e = 0; e < all.size(0); ++e) at.push_back(first + static_cast<size_t>(e) * bytes);
    const Tensor addresses = Tensor::from(at, {all.size(0)}).to(ctx.device());
    return {std::move(all), addresses};
  }
  static Tensor product(Context& ctx, const Tensor& x, const Factors& w, const ops::SortedPlaces& s) {
    Tensor y = ctx.empty({s.rows(), w.all.size(1)}, x.dtype());
    GroupedLinearCall c = ops::detail::grouped_call(s, y, x);
    c.w = static_cast<const void* const*>(w.addresses.address());
    c.format = x.dtype() == DType::BF16 ? WeightFormat::BF16 : WeightFormat::F32;
    ctx.kernels().grouped_linear(c);
    return y;
  }

  Factors a_, b_;
};

/// Those of all three layers, made again when an adapter comes, goes or has been trained. Several threads may ask.
class AdaptedExperts {
 public:
  struct Made {
    ExpertAdapters gate, up, down;
  };
  std::shared_ptr<const Made> get(Context& ctx, const std::vector<Linear>& gate, const std::vector<Linear>& up, const std::vector<Linear>& down,
                                  DType type) const {
    std::vector<uint64_t> key = {static_cast<uint64_t>(type)};
    for (const auto* layers : {&gate, &up, &down})
      for (const Linear& l : *layers)
        for (const Lora& lora : l.lora) {
          for (const Tensor* t : {&lora.a, &lora.b}) key.push_back(t->id()), key.push_back(t->storage()->version);
          key.push_back(std::bit_cast<uint32_t>(lora.scaling));
        }
    const std::lock_guard lock(mutex_);
    if (key != key_) {
      made_ = std::make_shared<const Made>(Made{{ctx, gate, type}, {ctx, up, type}, {ctx, down, type}});
      key_ = std::move(key);
    }
    return made_;
  }

 private:
  mutable std::mutex mutex_;
  mutable std::vector<uint64_t> key_;
  mutable std::shared_ptr<const Made> made_;
};

}  // namespace tenon::nn
