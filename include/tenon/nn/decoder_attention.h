// The attention of decoders: grouped-query attention and multi-head latent attention, with and without a cache.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tenon/nn/attention_trace.h"
#include "tenon/nn/kv_cache.h"
#include "tenon/nn/linear.h"
#include "tenon/nn/norm.h"
#include "tenon/nn/prefix.h"
#include "tenon/nn/rope.h"
#include "tenon/ops/attention.h"
#include "tenon/ops/columns.h"
#include "tenon/ops/experts.h"
#include "tenon/ops/rope.h"

namespace tenon::nn {

/// What all layers of a pass share.
struct DecoderRows {
  std::vector<int64_t> q_start, k_start;  // where each sequence's queries and keys begin
  std::vector<float> key_bias;            // of each key, or empty
  Rope::Angles angles;                    // of each row; undefined without rotary embedding
  Tensor distance_bias = {};              // as in ops::AttentionOptions
  int64_t distance_zero = 0;
  CacheStep* cache = nullptr;             // keys and values go there and come from there; nullptr: the rows' own
  AttentionTrace* trace = nullptr;        // gets the probabilities of each layer
  std::shared_ptr<const Prefix> prefix = {};  // what stands before each sequence; k_start and key_bias count it
};

struct GqaConfig {
  int64_t hidden_size = 0, heads = 0, kv_heads = 0, head_dim = 0;
  bool qkv_bias = false, output_bias = false;
  enum class QkNorm : uint8_t { None, Head, Whole } qk_norm = QkNorm::None;  // of each head (Qwen3) or the whole row (OLMoE)
  float norm_eps = 1e-6f, clip = 0;                                          // clip: q, k and v lie in [-clip, clip]; 0 = anywhere
  int64_t window = 0;
  float scale = 0;     // 0 = 1 / sqrt(head_dim)
  bool causal = true;  // false: encoders
  bool rotary = true, rope_interleaved = false;
  float dropout = 0, output_dropout = 0;  // of the probabilities, of what the layer adds
  bool fused_in_out = false;  // q, k and v are one weight (in, out): GPT-2
};

struct GqaNames {
  const char *query, *key, *value, *output, *query_norm, *key_norm;  // fused: query names all three
};

class GroupedQueryAttention {
 public:
  GroupedQueryAttention() = default;
  explicit GroupedQueryAttention(const GqaConfig& c)
      : output(c.heads * c.head_dim, c.hidden_size, c.output_bias), config_(c) {
    const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
    if (c.fused_in_out) {
      query = Linear(Linear(c.hidden_size, q + 2 * kv, c.qkv_bias).stored_in_out());
      output = Linear(Linear(q, c.hidden_size, c.output_bias).stored_in_out());
    } else {
      query = Linear(c.hidden_size, q, c.qkv_bias);
      key = Linear(c.hidden_size, kv, c.qkv_bias);
      value = Linear(c.hidden_size, kv, c.qkv_bias);
    }
    if (c.qk_norm == GqaConfig::QkNorm::None) return;
    const bool whole = c.qk_norm == GqaConfig::QkNorm::Whole;
    query_norm = RmsNorm(whole ? q : c.head_dim, c.norm_eps);
    key_norm = RmsNorm(whole ? kv : c.head_dim, c.norm_eps);
  }

  /// Shapes: x, residual (N,C) -> (N,C).
  Tensor forward(Context& ctx, const Tensor& x, const DecoderRows& rows, int64_t layer, const Tensor& residual) const {
    auto [q, k, v] = project(ctx, x);
    const ops::AttentionOptions options{.heads = config_.heads,
                                        .kv_heads = config_.kv_heads,
                                        .scale = config_.scale,
                                        .causal = config_.causal,
                                        .window = config_.window,
                                        .q_start = rows.q_start,
                                        .k_start = rows.k_start,
                                        .key_bias = rows.key_bias.empty() ? nullptr : rows.key_bias.data(),
                                        .distance_bias = rows.distance_bias,
                                        .distance_zero = rows.distance_zero,
                                        .dropout = config_.dropout};
    if (config_.rotary) {
      const ops::RopeLayout layout{.heads = config_.heads, .width = 2 * rows.angles.cos.size(1), .interleaved = config_.rope_interleaved};
      ops::RopeLayout of_keys = layout;
      of_keys.heads = config_.kv_heads;
      q = ops::rope(ctx, q, rows.angles.cos, rows.angles.sin, layout);
      k = ops::rope(ctx, k, rows.angles.cos, rows.angles.sin, of_keys);
    }
    if (rows.prefix) k = rows.prefix->before(ctx, layer, false, k), v = rows.prefix->before(ctx, layer, true, v);
    if (rows.cache) rows.cache->write(ctx, layer, k, v);
    if (rows.trace) rows.trace->keep(ctx, q, rows.cache ? rows.cache->gather_keys(ctx, layer) : k, options);
    if (!rows.cache) return output.forward_dropped(ctx, ops::attention(ctx, q, k, v, options), config_.output_dropout, residual);
    return output.forward(ctx, ops::attention_paged(ctx, q, rows.cache->paged(layer, config_.head_dim, config_.head_dim), options),
                          Activation::None, residual);
  }
  void visit(const std::string& prefix, const GqaNames& n, Visitor& v) {
    if (config_.fused_in_out) {
      v.linear(join(prefix, n.query), query);
    } else {
      const std::array<std::string, 3> names{join(prefix, n.query), join(prefix, n.key), join(prefix, n.value)};
      const std::array<Linear*, 3> layers{&query, &key, &value};
      v.fused(names, layers, fused);
    }
    v.linear(join(prefix, n.output), output);
    if (config_.qk_norm == GqaConfig::QkNorm::None) return;
    query_norm.visit(join(prefix, n.query_norm), v);
    key_norm.visit(join(prefix, n.key_norm), v);
  }
  int64_t cache_width() const { return config_.kv_heads * config_.head_dim; }
  int64_t kv_heads() const { return config_.kv_heads; }

  Linear query, key, value, output;
  FusedLinear fused;  // query, key, value side by side once packed
  RmsNorm query_norm, key_norm;

 private:
  std::array<Tensor, 3> project(Context& ctx, const Tensor& x) const {
    const bool packed = fused.ready() && !ctx.recorder();
    Tensor q, k, v;
    if (packed || config_.fused_in_out) {
      const int64_t width = config_.heads * config_.head_dim, kv = cache_width();
      const Tensor all = packed ? fused.forward(ctx, x, {&query, &key, &value}) : query.forward(ctx, x);
      q = ops::columns(ctx, all, 0, width);
      k = ops::columns(ctx, all, width, kv);
      v = ops::columns(ctx, all, width + kv, kv);
    } else {
      const std::vector<Tensor> all = forward_all(ctx, x, {&query, &key, &value});
      q = all[0], k = all[1], v = all[2];
    }
    if (config_.qk_norm != GqaConfig::QkNorm::None) {
      q = query_norm.forward(ctx, q);
      k = key_norm.forward(ctx, k);
    }
    if (config_.clip > 0)
      for (Tensor* t : {&q, &k, &v}) *t = ops::clamp(ctx, *t, -config_.clip, config_.clip);
    return {q, k, v};
  }

  GqaConfig config_;
};

struct MlaConfig {
  int64_t hidden_size = 0, heads = 0;
  int64_t q_lora_rank = 0;  // 0: one projection
  int64_t kv_lora_rank = 0, qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
  bool bias = false, rope_interleaved = true;
  float norm_eps = 1e-6f, scale = 0, dropout = 0;  // dropout: of the probabilities

  int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
};

/// Keys and values are made from one latent vector a token, which, with the rotated part of the key, is all that is cached.
///
/// Expanded: k = [W_UK c | k_rope], v = W_UV c for every cached token: for many queries. Absorbed: q W_UK meets the latents themselves, and
/// W_UV is applied to their mean: for a few queries over a long past. The two give the same.
/// Source: DeepSeek-V2 technical report, section 2.1 and appendix C.
class LatentAttention final : public Packable {
 public:
  /// Sequences with at most this many new tokens are computed absorbed.
  static constexpr int64_t kAbsorbed = 32;

  LatentAttention() = default;
  explicit LatentAttention(const MlaConfig& c)
      : kv_a(c.hidden_size, c.kv_lora_rank + c.qk_rope_head_dim, c.bias),
        kv_b(c.kv_lora_rank, c.heads * (c.qk_nope_head_dim + c.v_head_dim), false),
        output(c.heads * c.v_head_dim, c.hidden_size, c.bias),
        kv_norm(c.kv_lora_rank, c.norm_eps),
        config_(c) {
    if (c.q_lora_rank > 0) {
      q_a = Linear(c.hidden_size, c.q_lora_rank, c.bias);
      q_norm = RmsNorm(c.q_lora_rank, c.norm_eps);
      q_b = Linear(c.q_lora_rank, c.heads * c.qk_head_dim(), false);
    } else {
      q_b = Linear(c.hidden_size, c.heads * c.qk_head_dim(), false);
    }
  }

  /// Shapes: x, residual (N,C) -> (N,C).
  Tensor forward(Context& ctx, const Tensor& x, const DecoderRows& rows, int64_t layer, const Tensor& residual) const {
    const MlaConfig& c = config_;
    const bool low_rank = c.q_lora_rank > 0;
    const std::vector<Tensor> both = forward_all(ctx, x, {low_rank ? &q_a : &q_b, &kv_a});
    Tensor q = low_rank ? q_b.forward(ctx, q_norm.forward(ctx, both[0])) : both[0];
    const Tensor& compressed = both[1];
    const Tensor latent = kv_norm.forward(ctx, ops::columns(ctx, compressed, 0, c.kv_lora_rank));
    Tensor k_rope = ops::columns(ctx, compressed, c.kv_lora_rank, c.qk_rope_head_dim);
    const ops::RopeLayout of_queries{c.heads, c.qk_nope_head_dim, c.qk_rope_head_dim, c.rope_interleaved};
    q = ops::rope(ctx, q, rows.angles.cos, rows.angles.sin, of_queries);
    k_rope = ops::rope(ctx, k_rope, rows.angles.cos, rows.angles.sin, {1, 0, c.qk_rope_head_dim, c.rope_interleaved});
    ops::AttentionOptions options{.heads = c.heads,
                                  .scale = c.scale,
                                  .causal = true,
                                  .q_start = rows.q_start,
                                  .k_start = rows.k_start,
                                  .key_bias = rows.key_bias.empty() ? nullptr : rows.key_bias.data(),
                                  .dropout = c.dropout};
    Tensor mixed;
    if (!rows.cache) {
      mixed = expanded(ctx, q, latent, k_rope, options, rows.trace);
    } else {
      rows.cache->write(ctx, layer, ops::join_columns(ctx, latent, k_rope, 1, false), {});
      if (rows.cache->longest() <= kAbsorbed && absorbed_ && kv_b.lora.empty() && !rows.trace) {
        mixed = absorbed(ctx, q, *rows.cache, layer, options);
      } else {
        const Tensor all = rows.cache->gather_keys(ctx, layer);
        mixed = expanded(ctx, q, ops::columns(ctx, all, 0, c.kv_lora_rank), ops::columns(ctx, all, c.kv_lora_rank, c.qk_rope_head_dim), options,
                         rows.trace);
      }
    }
    return output.forward(ctx, mixed, Activation::None, residual);
  }
  void visit(const std::string& prefix, Visitor& v) {
    if (config_.q_lora_rank > 0) {
      v.linear(join(prefix, "q_a_proj"), q_a);
      q_norm.visit(join(prefix, "q_a_layernorm"), v);
      v.linear(join(prefix, "q_b_proj"), q_b);
    } else {
      v.linear(join(prefix, "q_proj"), q_b);
    }
    v.linear(join(prefix, "kv_a_proj_with_mqa"), kv_a);
    kv_norm.visit(join(prefix, "kv_a_layernorm"), v);
    v.linear(join(prefix, "kv_b_proj"), kv_b);
    v.packable(*this);
    v.linear(join(prefix, "o_proj"), output);
  }
  int64_t cache_width() const { return config_.kv_lora_rank + config_.qk_rope_head_dim; }

  /// W_UK (transposed) and W_UV of each head, from kv_b. They stay in 16 bits at least: their sums reach every cached token. Where the
  /// checkpoint holds kv_b quantised they are made at first use.
  void pack(Context& ctx, quant::Packing packing) override {
    absorbed_ = std::make_shared<Lazy<Absorbed>>();
    format_ = packing.format == WeightFormat::F32 ? WeightFormat::F32 : WeightFormat::BF16;
    if (!kv_b.quantized) absorbed_->get([&] { return absorbed_of(ctx, kv_b.weight.to(DType::F32)); });
  }
  void unpack() override { absorbed_.reset(); }

  Linear q_a, q_b, kv_a, kv_b, output;
  RmsNorm q_norm, kv_norm;

 private:
  struct Absorbed {
    std::vector<quant::PackedWeight> absorb, restore;  // (kv_lora_rank, nope) and (v_head_dim, kv_lora_rank) of each head
  };

  Absorbed absorbed_of(Context& ctx, const Tensor& w) const {
    const MlaConfig& c = config_;
    Absorbed a;
    for (int64_t h = 0; h < c.heads; ++h) {
      const int64_t first = h * (c.qk_nope_head_dim + c.v_head_dim), behind = first + c.qk_nope_head_dim;
      a.absorb.push_back(quant::pack(ctx, ops::detail::transposed(ctx, w.rows(first, behind).to(ctx.device())), format_));
      a.restore.push_back(quant::pack(ctx, w.rows(behind, behind + c.v_head_dim), format_));
    }
    return a;
  }

  Tensor expanded(Context& ctx, const Tensor& q, const Tensor& latent, const Tensor& k_rope, const ops::AttentionOptions& options,
                  AttentionTrace* trace) const {
    const MlaConfig& c = config_;
    const Tensor both = kv_b.forward(ctx, latent);
    const Tensor k_nope = ops::columns(ctx, both, 0, c.qk_nope_head_dim, c.heads);
    const Tensor v = ops::columns(ctx, both, c.qk_nope_head_dim, c.v_head_dim, c.heads);
    const Tensor k = ops::join_columns(ctx, k_nope, k_rope, c.heads, true);
    if (trace) trace->keep(ctx, q, k, options);
    return ops::attention(ctx, q, k, v, options);
  }

  Tensor absorbed(Context& ctx, const Tensor& q, const CacheStep& cache, int64_t layer, ops::AttentionOptions options) const {
    const MlaConfig& c = config_;
    const Absorbed& w = absorbed_->get([&] {
      Absorbed made = absorbed_of(ctx, kv_b.quantized->dequantized(ctx));
      kv_b.quantized->release();
      return made;
    });
    const int64_t N = q.size(0);
    std::vector<int64_t> start(static_cast<size_t>(c.heads) + 1);
    for (int64_t h = 0; h <= c.heads; ++h) start[static_cast<size_t>(h)] = h * N;
    const Tensor q_nope = ops::swap_parts(ctx, ops::columns(ctx, q, 0, c.qk_nope_head_dim, c.heads), N, c.heads);
    const Tensor q_latent = ops::swap_parts(ctx, ops::grouped_linear(ctx, q_nope, w.absorb, start), c.heads, N);
    const Tensor q_rope = ops::columns(ctx, q, c.qk_nope_head_dim, c.qk_rope_head_dim, c.heads);
    const Tensor query = ops::join_columns(ctx, q_latent.view({N, c.heads * c.kv_lora_rank}), q_rope, c.heads, false);
    options.kv_heads = 1;
    const Tensor mean = ops::attention_paged(ctx, query, cache.paged(layer, cache_width(), c.kv_lora_rank), options);
    const Tensor by_head = ops::swap_parts(ctx, mean, N, c.heads);
    return ops::swap_parts(ctx, ops::grouped_linear(ctx, by_head, w.restore, start), c.heads, N).view({N, c.heads * c.v_head_dim});
  }

  MlaConfig config_;
  WeightFormat format_ = WeightFormat::F32;
  std::shared_ptr<Lazy<Absorbed>> absorbed_;  // once packed
};

}  // namespace tenon::nn
