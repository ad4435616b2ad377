// The parts of one decoder layer, for those who look into it or change it: quantisers, pruners.
#pragma once

#include "tenon/nn/decoder_attention.h"
#include "tenon/nn/mlp.h"
#include "tenon/nn/moe.h"
#include "tenon/nn/norm.h"

namespace tenon::nn {

/// y = h + mlp or moe(norm2(h)), h = x + attention(norm1(x)). What a layer does not have is nullptr.
struct DecoderBlock {
  int64_t index = 0;
  AnyNorm *norm1 = nullptr, *norm2 = nullptr;
  GroupedQueryAttention* grouped = nullptr;
  LatentAttention* latent = nullptr;
  Mlp* mlp = nullptr;
  MoeLayer* moe = nullptr;
  GqaConfig gqa;  // of grouped
  MlaConfig mla;  // of latent
  Activation act = Activation::Silu;
  bool gated = true;  // mlp

  Tensor attention(Context& ctx, const Tensor& normed, const DecoderRows& rows, const Tensor& residual) const {
    return latent ? latent->forward(ctx, normed, rows, index, residual) : grouped->forward(ctx, normed, rows, index, residual);
  }
  /// Shapes: x (N,C) -> (N,C).
  Tensor forward(Context& ctx, const Tensor& x, const DecoderRows& rows) const {
    const Tensor h = attention(ctx, norm1->forward(ctx, x), rows, x), inner = norm2->forward(ctx, h);
    return moe ? moe->forward(ctx, inner, h) : mlp->forward(ctx, inner, h);
  }
};

}  // namespace tenon::nn
