// The caches of int8 and float8: attention over it against a plain computation with the same quantised numbers, and what it takes of memory.
#include <doctest/doctest.h>

#include <cmath>

#include "tenon/core/random.h"
#include "tenon/nn/kv_cache.h"
#include "tenon/ops/elementwise.h"

using namespace tenon;

namespace {

Tensor normal(const Shape& shape, uint64_t seed) {
  Tensor t = Tensor::empty(shape, DType::F32);
  Random random(seed);
  for (int64_t i = 0; i < t.numel(); ++i) {
    const float u = random.uniform() + 0x1p-25f;
    t.data<float>()[i] = std::sqrt(-2 * std::log(u)) * std::cos(6.2831853f * random.uniform());
  }
  return t;
}

/// Each head of each row to codes and back.
std::vector<float> quantised(const Tensor& x, int64_t heads, CacheCodes codes) {
  const Tensor wide = x.to(DType::F32);
  std::vector<float> y(wide.values<float>().begin(), wide.values<float>().end());
  const int64_t D = x.size(1) / heads;
  for (int64_t i = 0; i < x.numel(); i += D) {
    float largest = 0;
    for (int64_t d = 0; d < D; ++d) largest = std::max(largest, std::abs(y[static_cast<size_t>(i + d)]));
    const bool int8 = codes == CacheCodes::Int8;
    const float scale = largest > 0 ? largest / (int8 ? 127 : 448) : 1;
    for (int64_t d = 0; d < D; ++d) {
      float& v = y[static_cast<size_t>(i + d)];
      v = (int8 ? std::nearbyint(v / scale) : f8e4m3_to_float(float_to_f8e4m3(v / scale))) * scale;
    }
  }
  return y;
}

/// softmax(q k^T / sqrt(D)) v for query rows t of a sequence of S keys, causal; the last query sees all.
std::vector<float> attend(const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v, int64_t T, int64_t S,
                          int64_t H, int64_t Hkv, int64_t D) {
  std::vector<float> out(q.size());
  for (int64_t t = 0; t < T; ++t)
    for (int64_t h = 0; h < H; ++h) {
      const int64_t seen = S - T + t + 1, g = h / (H / Hkv);
      std::vector<double> p;
      double largest = -1e30, sum = 0;
      for (int64_t s = 0; s < seen; ++s) {
        double x = 0;
        for (int64_t d = 0; d < D; ++d) x += q[static_cast<size_t>((t * H + h) * D + d)] * k[static_cast<size_t>((s * Hkv + g) * D + d)];
        p.push_back(x / std::sqrt(static_cast<double>(D)));
        largest = std::max(largest, p.back());
      }
      for (double& x : p) sum += x = std::exp(x - largest);
      for (int64_t d = 0; d < D; ++d) {
        double x = 0;
        for (int64_t s = 0; s < seen; ++s) x += p[static_cast<size_t>(s)] * v[static_cast<size_t>((s * Hkv + g) * D + d)];
        out[static_cast<size_t>((t * H + h) * D + d)] = static_cast<float>(x / sum);
      }
    }
  return out;
}

}  // namespace

TEST_CASE("attention over a cache of int8 or float8 is that over the quantised keys and values") {
  constexpr int64_t H = 8, Hkv = 2, D = 32, S = 77;
  for (const CacheCodes codes : {CacheCodes::Int8, CacheCodes::Fp8})
    for (const DType type : {DType::F32, DType::BF16})
      for (const int64_t last : {int64_t{1}, int64_t{3}, int64_t{20}}) {  // the new tokens of the last step
        Context ctx;
        nn::KvCache cache({.layers = 2, .k_width = Hkv * D, .v_width = Hkv * D, .dtype = type, .codes = codes, .heads = Hkv});
        cache.add();
        const Tensor k = ops::cast(ctx, normal({S, Hkv * D}, 1), type), v = ops::cast(ctx, normal({S, Hkv * D}, 2), type);
        const Tensor q = ops::cast(ctx, normal({last, H * D}, 3), type);
        Tensor out;
        for (const int64_t n : {S - last, last}) {
          nn::CacheStep step(cache, {n});
          const int64_t at = cache.length(0);
          step.write(ctx, 1, k.rows(at, at + n), v.rows(at, at + n));
          if (n == last && at > 0)
            out = ops::attention_paged(ctx, q, step.paged(1, D, D),
                                       {.heads = H, .kv_heads = Hkv, .causal = true, .q_start = step.q_start, .k_start = step.k_start});
          if (n == last && at > 0) {
            const Tensor keys = step.gather_keys(ctx, 1).to(DType::F32);
            const std::vector<float> expected = quantised(k, Hkv, codes);
            const float step_size = codes == CacheCodes::Int8 ? 5.0f / 127 : 5.0f / 14;  // a tie may be rounded the other way
            for (size_t i = 0; i < expected.size(); ++i) CHECK(std::abs(keys.data<float>()[i] - expected[i]) <= step_size);
          }
          step.commit();
        }
        const Tensor wide = q.to(DType::F32);
        const std::vector<float> queries(wide.values<float>().begin(), wide.values<float>().end());
        const std::vector<float> expected = attend(queries, quantised(k, Hkv, codes), quantised(v, Hkv, codes), last, S, H, Hkv, D);
        const Tensor got = out.to(DType::F32);
        double worst = 0;
        for (size_t i = 0; i < expected.size(); ++i)
          worst = std::max(worst, static_cast<double>(std::abs(got.data<float>()[i] - expected[i])));
        CHECK(worst < (type == DType::F32 ? 1e-3 : 0.02));
      }
}

TEST_CASE("an int8 cache takes nearly half of bfloat16's memory") {
  const nn::CacheLayout llama{.layers = 32, .k_width = 1024, .v_width = 1024, .dtype = DType::BF16},
      deepseek{.layers = 61, .k_width = 576, .dtype = DType::BF16};
  nn::CacheLayout small = llama, latent = deepseek;
  small.codes = latent.codes = CacheCodes::Int8, small.heads = 8;
  CHECK(llama.bytes_per_token() == 131072);
  CHECK(small.bytes_per_token() == 67584);
  CHECK(deepseek.bytes_per_token() == 70272);
  CHECK(latent.bytes_per_token() == 35380);
}
