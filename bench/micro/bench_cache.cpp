// Times the attention of one decoding step over a cache of keys and values: a token of each of several sequences.
//
// tenon_bench_cache [heads 32] [key heads 8] [head width 128] [keys 4096] [sequences 1] [layers 16]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tenon/nn/kv_cache.h"
#include "tenon/ops/elementwise.h"

using namespace tenon;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Tensor noise(const Shape& shape, uint32_t seed) {
  Tensor t = Tensor::empty(shape, DType::F32);
  for (int64_t i = 0; i < t.numel(); ++i)
    t.data<float>()[i] = static_cast<float>((seed = seed * 1664525u + 1013904223u) >> 8) * 0x1p-23f - 1;
  return t;
}

/// A step over `layers` layers, so that no cache of the processor holds what memory should deliver.
void bench(DType type, CacheCodes codes, int64_t H, int64_t Hkv, int64_t D, int64_t keys, int64_t sequences, int64_t layers) {
  Context ctx;
  nn::KvCache cache({.layers = layers, .k_width = Hkv * D, .v_width = Hkv * D, .dtype = type, .codes = codes, .heads = Hkv});
  for (int64_t i = 0; i < sequences; ++i) cache.add();
  const Tensor kv = ops::cast(ctx, noise({sequences * keys, Hkv * D}, 1), type), q = ops::cast(ctx, noise({sequences, H * D}, 2), type);
  {
    nn::CacheStep step(cache, std::vector<int64_t>(static_cast<size_t>(sequences), keys - 1));
    for (int64_t l = 0; l < layers; ++l) step.write(ctx, l, kv.rows(0, sequences * (keys - 1)), kv.rows(0, sequences * (keys - 1)));
    step.commit();
  }
  nn::CacheStep step(cache, std::vector<int64_t>(static_cast<size_t>(sequences), 1));
  for (int64_t l = 0; l < layers; ++l) step.write(ctx, l, kv.rows(0, sequences), kv.rows(0, sequences));
  const ops::AttentionOptions options{.heads = H, .kv_heads = Hkv, .causal = true, .q_start = step.q_start, .k_start = step.k_start};
  std::vector<double> times;
  for (int i = 0; i < 15; ++i) {
    const double start = now();
    for (int64_t l = 0; l < layers; ++l) ops::attention_paged(ctx, q, step.paged(l, D, D), options);
    times.push_back((now() - start) / static_cast<double>(layers));
  }
  std::sort(times.begin(), times.end());
  const double bytes =
      static_cast<double>(cache.layout().bytes_per_token()) / static_cast<double>(layers) * static_cast<double>(keys * sequences);
  const char* const kind = codes == CacheCodes::Int8 ? "int8" : codes == CacheCodes::Fp8 ? "fp8" : type == DType::BF16 ? "bfloat16" : "float32";
  std::printf("%-9s %6.0f us a layer, %5.1f GB/s of cache\n", kind, 1e6 * times[times.size() / 2],
              1e-9 * bytes / times[times.size() / 2]);
}

}  // namespace

int main(int argc, char** argv) {
  const auto arg = [&](int i, int64_t fallback) { return argc > i ? std::atoll(argv[i]) : fallback; };
  const int64_t H = arg(1, 32), Hkv = arg(2, 8), D = arg(3, 128), keys = arg(4, 4096), sequences = arg(5, 1), layers = arg(6, 16);
  std::printf("%lld heads over %lld key heads of %lld, %lld keys, %lld sequences, %s\n", static_cast<long long>(H),
              static_cast<long long>(Hkv), static_cast<long long>(D), static_cast<long long>(keys), static_cast<long long>(sequences),
              cpu_kernels().name);
  bench(DType::F32, CacheCodes::None, H, Hkv, D, keys, sequences, layers);
  for (const CacheCodes codes : {CacheCodes::None, CacheCodes::Int8, CacheCodes::Fp8}) bench(DType::BF16, codes, H, Hkv, D, keys, sequences, layers);
}
