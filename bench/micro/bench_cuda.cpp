// What the CUDA kernels reach of a GPU's limits, each measured beside it: bytes a second where few rows meet weights, operations a second where
// many do, of attention forward and backward, and of a mixture's experts, alone and with the routing of their rows; and the time of the launches
// that a mixture's layer and a drawn token need.
//
// tenon_bench_cuda [--small] [--bandwidth GB/s] [--arithmetic TFLOP/s]
//
// --small: sizes that an emulated device does in seconds, to see that all of it runs. --bandwidth and --arithmetic: the device's data sheet
// (4800 and 989 of an H200, bf16 without sparsity), beside which shares are told; without them, beside the copy and the product measured here.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/core/cuda.h"
#include "tenon/core/error.h"
#include "tenon/core/random.h"

using namespace tenon;

namespace {

struct Sizes {
  int64_t width, inner;        // of a decoder's layer
  int64_t layers;              // weights that are gone through, so that none is still in a cache
  int64_t rows;                // of a prompt
  int64_t heads, length;       // attention, 128 wide
  int64_t experts, chosen, tokens, expert_width, expert_inner;
  int64_t vocabulary;
};
constexpr Sizes kWhole{4096, 14336, 8, 8192, 32, 8192, 16, 2, 8192, 4096, 2048, 128256};
constexpr Sizes kSmall{256, 256, 2, 64, 2, 128, 4, 2, 64, 256, 128, 512};

class Bench {
 public:
  Bench(const Sizes& sizes, double bandwidth, double arithmetic, bool small)
      : s_(sizes), bandwidth_(bandwidth), arithmetic_(arithmetic), rounds_(small ? 1 : 20), ctx_(parse_device("cuda")) {}

  void run() {
    const cuda::Properties p = cuda::properties();
    std::printf("%s, compute capability %d.%d, %d multiprocessors, %.0f GB\n", p.name.c_str(), p.major, p.minor, p.multiprocessors,
                static_cast<double>(p.total_bytes) / 1e9);
    limits();
    for (const Format& f : kFormats) few_rows(f);
    for (const Format& f : kFormats) many_rows(f);
    fp8_product();
    attention();
    double of_bf16 = 0, of_fp8 = 0;
    for (const Format& f : kFormats) {
      const double ms = experts(f);
      if (f.format == WeightFormat::BF16) of_bf16 = ms;
      if (f.fp8_rows) of_fp8 = ms;
    }
    std::printf("experts with fp8 weights and rows are %.2f times as fast as with bf16\n", of_bf16 / of_fp8);
    expert_gradients();
    launches();
  }

 private:
  struct Format {
    const char* name;
    WeightFormat format;
    bool fp8_rows;
    double bytes;  // a weight, with its scales in groups of 128
  };
  static constexpr Format kFormats[] = {{"bf16", WeightFormat::BF16, false, 2}, {"int8", WeightFormat::Int8, false, 1}, {"int4", WeightFormat::Int4, false, 0.5 + 5.0 / 128},
                                        {"fp8", WeightFormat::Fp8, false, 1 + 4.0 / 128}, {"fp8, rows too", WeightFormat::Fp8, true, 1 + 4.0 / 128}};

  /// Milliseconds of one call: the best of some rounds, after one that is not counted.
  double time(int calls, const std::function<void(int)>& call) {
    double best = 1e30;
    for (int round = 0; round <= rounds_; ++round) {
      cuda::Event begin, end;
      begin.record();
      for (int i = 0; i < calls; ++i) call(i);
      end.record();
      end.synchronize();
      if (round > 0 || rounds_ == 1) best = std::min(best, static_cast<double>(begin.milliseconds_to(end)) / calls);
    }
    return std::max(best, 1e-6);
  }
  const Kernels& k() const { return ctx_.kernels(); }

  Tensor random(const Shape& shape, DType type) {
    std::vector<float> v(static_cast<size_t>(shape.numel()));
    uint32_t state = 1;
    for (float& e : v) e = static_cast<float>((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-23f - 1;
    return Tensor::from(v, shape).to(type).to(ctx_.device());
  }
  template <class T>
  Tensor on_device(const std::vector<T>& v) {
    Tensor t = ctx_.empty({static_cast<int64_t>(v.size() * sizeof(T))}, DType::U8);
    cuda::copy(t.address(), ctx_.device(), v.data(), {}, v.size() * sizeof(T));
    return t;
  }
  template <class T>
  static const T* as(const Tensor& t) {
    return static_cast<const T*>(t.address());
  }

  struct Weight {
    Tensor packed, scale;
  };
  Weight weight(WeightFormat format, int64_t N, int64_t K) {
    Weight w;
    const Tensor values = random({N, K}, DType::F32);
    if (format == WeightFormat::Int4 || format == WeightFormat::Fp8) {
      const int64_t groups = (K + 127) / 128, row = format == WeightFormat::Int4 ? (K + 1) / 2 : K;
      const Tensor codes = on_device(std::vector<uint8_t>(static_cast<size_t>(N * row), 0x38)), scales = on_device(std::vector<float>(static_cast<size_t>(N * groups), 0.01f)),
                   zeros = on_device(std::vector<uint8_t>(static_cast<size_t>(N * groups), 8));
      w.packed = ctx_.empty({static_cast<int64_t>(k().quantized_packed_bytes(format, N, K, 128))}, DType::U8);
      k().quantized_pack(w.packed.address(),
                         {.format = format, .N = N, .K = K, .group = 128, .q = as<uint8_t>(codes), .scale = as<float>(scales), .zero = as<uint8_t>(zeros)}, 1);
      return w;
    }
    w.packed = ctx_.empty({static_cast<int64_t>(k().linear_packed_bytes(format, N, K))}, DType::U8);
    w.scale = ctx_.empty({N}, DType::F32);
    k().linear_pack(w.packed.address(), w.scale.ptr<float>(), values.address(), DType::F32, format, N, K, 1);
    return w;
  }
  LinearCall linear(const Weight& w, const Format& f, const Tensor& x, const Tensor& y, int64_t M, int64_t N, int64_t K) {
    LinearCall c{.y = const_cast<void*>(y.address()), .x = x.address(), .w = w.packed.address()};
    c.w_scale = f.format == WeightFormat::Int8 ? as<float>(w.scale) : nullptr;
    c.type = DType::BF16, c.format = f.format, c.M = M, c.N = N, c.K = K, c.group = 128, c.fp8_rows = f.fp8_rows;
    return c;
  }

  void limits() {
    const int64_t n = std::max<int64_t>(s_.width * s_.inner * s_.layers, 1 << 16);
    Tensor x = ctx_.zeros({n}, DType::F32), y = ctx_.empty({n}, DType::F32);
    const double ms = time(1, [&](int) { k().axpby(y.ptr<float>(), as<float>(x), n, 1, 0); });
    const double copied = 8e-6 * static_cast<double>(n) / ms;
    if (bandwidth_ == 0) bandwidth_ = copied;
    const int64_t m = s_.rows;
    const Tensor a = random({m, m}, DType::BF16), b = random({m, m}, DType::BF16);
    Tensor c = ctx_.empty({m, m}, DType::BF16);
    MatmulCall call{.c = c.address(), .a = a.address(), .b = b.address(), .type = DType::BF16, .c_type = DType::BF16, .trans_b = true, .M = m, .N = m, .K = m};
    const double product = 2e-9 * static_cast<double>(m * m * m) / time(1, [&](int) { k().matmul(call); });
    if (arithmetic_ == 0) arithmetic_ = product;
    std::printf("copy %.0f GB/s, bf16 product of %lld x %lld %.0f TFLOP/s; shares are of %.0f GB/s and %.0f TFLOP/s\n\n", copied, static_cast<long long>(m),
                static_cast<long long>(m), product, bandwidth_, arithmetic_);
  }

  void told(const char* what, const char* name, double ms, double amount, const char* unit, double limit) const {
    const double rate = amount / ms;
    std::printf("%-26s %-14s %10.4f ms %8.0f %-8s %5.1f %%\n", what, name, ms, rate, unit, 100 * rate / limit);
    std::fflush(stdout);
  }

  void few_rows(const Format& f) {
    std::vector<Weight> weights;
    for (int64_t i = 0; i < s_.layers; ++i) weights.push_back(weight(f.format, s_.inner, s_.width));
    const Tensor x = random({1, s_.width}, DType::BF16);
    const Tensor y = ctx_.empty({1, s_.inner}, DType::BF16);
    const double ms = time(static_cast<int>(s_.layers), [&](int i) { k().linear(linear(weights[static_cast<size_t>(i)], f, x, y, 1, s_.inner, s_.width)); });
    told("linear, one row", f.name, ms, f.bytes * static_cast<double>(s_.inner * s_.width) * 1e-6, "GB/s", bandwidth_);
  }
  void many_rows(const Format& f) {
    const Weight w = weight(f.format, s_.inner, s_.width);
    const Tensor x = random({s_.rows, s_.width}, DType::BF16);
    const Tensor y = ctx_.empty({s_.rows, s_.inner}, DType::BF16);
    const double ms = time(1, [&](int) { k().linear(linear(w, f, x, y, s_.rows, s_.inner, s_.width)); });
    told("linear, a prompt's rows", f.name, ms, 2e-9 * static_cast<double>(s_.rows * s_.inner * s_.width), "TFLOP/s", arithmetic_);
  }
  /// As training in FP8 multiplies: rows in pieces of 128, the weight in blocks of 128 x 128.
  void fp8_product() {
    const int64_t M = s_.rows, N = s_.inner, K = s_.width;
    const Tensor x = random({M, K}, DType::F32), w = random({N, K}, DType::F32);
    Tensor a = ctx_.empty({M, K}, DType::F8E4M3), b = ctx_.empty({N, K}, DType::F8E4M3), c = ctx_.empty({M, N}, DType::F32);
    Tensor a_scale = ctx_.empty({M, (K + 127) / 128}, DType::F32), b_scale = ctx_.empty({(N + 127) / 128, (K + 127) / 128}, DType::F32);
    const double rounding = time(1, [&](int) {
      k().quantize_blocks_fp8(static_cast<float8*>(a.address()), a_scale.ptr<float>(), x.address(), M, K, 1, 128, false, DType::F32);
      k().quantize_blocks_fp8(static_cast<float8*>(b.address()), b_scale.ptr<float>(), w.address(), N, K, 128, 128, false, DType::F32);
    });
    told("rounding to fp8 blocks", "x and w", rounding, 5e-6 * static_cast<double>((M + N) * K), "GB/s", bandwidth_);
    Fp8MatmulCall call{.c = c.address(), .a = as<float8>(a), .b = as<float8>(b), .a_scale = as<float>(a_scale), .b_scale = as<float>(b_scale)};
    call.M = M, call.N = N, call.K = K;
    told("product of fp8 blocks", "128 x 128", time(1, [&](int) { k().fp8_matmul(call); }), 2e-9 * static_cast<double>(M * N * K), "TFLOP/s", arithmetic_);
  }

  void attention() {
    const int64_t T = s_.length, H = s_.heads, D = 128;
    const Tensor q = random({T, H * D}, DType::BF16), kk = random({T, H * D}, DType::BF16), v = random({T, H * D}, DType::BF16);
    Tensor out = ctx_.empty({T, H * D}, DType::BF16), lse = ctx_.empty({H, T}, DType::F32);
    const Tensor start = on_device(std::vector<int64_t>{0, T});
    AttentionCall c;
    c.out = out.address(), c.q = q.address(), c.k = kk.address(), c.v = v.address(), c.lse = lse.ptr<float>();
    c.q_start = c.k_start = as<int64_t>(start), c.type = DType::BF16, c.ld_q = c.ld_k = c.ld_v = c.ld_out = H * D;
    c.B = 1, c.H = c.Hkv = H, c.D = c.Dv = D, c.Nq = T, c.scale = 0.088f, c.causal = true, c.group = 1;
    const double operations = 2e-9 * static_cast<double>(T) * static_cast<double>(T) * static_cast<double>(H * D);  // half of the 4 T T H D
    told("attention, causal", "forward", time(1, [&](int) { k().attention(c, kAllSequences, 0, 0, T, nullptr); }), operations, "TFLOP/s", arithmetic_);
    const Tensor d_out = random({T, H * D}, DType::F32);
    Tensor dq = ctx_.zeros({T, H * D}, DType::F32), dk = ctx_.zeros({T, H * D}, DType::F32), dv = ctx_.zeros({T, H * D}, DType::F32);
    const AttentionGrad g{.d_out = as<float>(d_out), .dq = dq.ptr<float>(), .dk = dk.ptr<float>(), .dv = dv.ptr<float>()};
    told("attention, causal", "backward", time(1, [&](int) { k().attention_backward(c, g, kAllSequences, T, nullptr); }), 2.5 * operations, "TFLOP/s", arithmetic_);
  }

  /// Gate and up, and down, of rows that are sorted by expert; and a mixture's whole layer from the router's scores on. Milliseconds of the former.
  double experts(const Format& f) {
    const int64_t M = s_.tokens * s_.chosen, N = s_.expert_inner, K = s_.expert_width, E = s_.experts;
    std::vector<Weight> up, down;
    std::vector<const void*> up_at, down_at;
    std::vector<const float*> up_scale, down_scale;
    for (int64_t e = 0; e < E; ++e) {
      up.push_back(weight(f.format, 2 * N, K)), down.push_back(weight(f.format, K, N));
      up_at.push_back(up.back().packed.address()), down_at.push_back(down.back().packed.address());
      up_scale.push_back(up.back().scale.defined() ? as<float>(up.back().scale) : nullptr);
      down_scale.push_back(down.back().scale.defined() ? as<float>(down.back().scale) : nullptr);
    }
    std::vector<int64_t> begin;
    for (int64_t e = 0; e <= E; ++e) begin.push_back(e * M / E);
    const Tensor start = on_device(begin), up_list = on_device(up_at), down_list = on_device(down_at), up_scales = on_device(up_scale), down_scales = on_device(down_scale);
    const Tensor x = random({M, K}, DType::BF16);
    const Tensor h = ctx_.empty({M, N}, DType::BF16), y = ctx_.empty({M, K}, DType::BF16);
    const bool scaled = f.format == WeightFormat::Int8;
    GroupedLinearCall first{.y = const_cast<void*>(h.address()), .x = x.address(), .w = as<const void*>(up_list), .w_scale = scaled ? as<const float*>(up_scales) : nullptr};
    first.start = as<int64_t>(start), first.type = first.y_type = DType::BF16, first.format = f.format, first.act = Activation::Silu, first.gated = true;
    first.M = M, first.N = N, first.K = K, first.groups = E, first.group = 128, first.fp8_rows = f.fp8_rows;
    GroupedLinearCall second = first;
    second.y = const_cast<void*>(y.address()), second.x = h.address(), second.w = as<const void*>(down_list), second.w_scale = scaled ? as<const float*>(down_scales) : nullptr;
    second.act = Activation::None, second.gated = false, second.N = K, second.K = N;
    const double ms = time(1, [&](int) { k().grouped_linear(first), k().grouped_linear(second); });
    told("experts of a layer", f.name, ms, 6e-9 * static_cast<double>(M * N * K), "TFLOP/s", arithmetic_);

    const int64_t T = s_.tokens, chosen = s_.chosen;
    const Tensor tokens = random({T, K}, DType::BF16), logits = random({T, E}, DType::F32);
    Tensor expert = ctx_.empty({M}, DType::I64), weight = ctx_.empty({M}, DType::F32), score = ctx_.empty({T, E}, DType::F32), out = ctx_.empty({T, K}, DType::BF16);
    Tensor begins = ctx_.empty({E + 1}, DType::I64), token = ctx_.empty({M}, DType::I64), row = ctx_.empty({M}, DType::I64), sorted = ctx_.empty({M, K}, DType::BF16);
    const RouterCall r{.expert = expert.ptr<int64_t>(), .weight = weight.ptr<float>(), .score = score.ptr<float>(), .logits = as<float>(logits), .N = T, .E = E, .K = chosen};
    first.start = second.start = as<int64_t>(begins), first.x = sorted.address();
    const double whole = time(1, [&](int) {
      k().route(r);
      k().sort_by_expert(begins.ptr<int64_t>(), token.ptr<int64_t>(), row.ptr<int64_t>(), as<int64_t>(expert), T, chosen, E);
      k().gather_rows(sorted.address(), DType::BF16, tokens.address(), DType::BF16, as<int64_t>(token), M, K, false);
      k().grouped_linear(first), k().grouped_linear(second);
      k().combine_rows(out.address(), y.address(), as<int64_t>(row), as<float>(weight), T, chosen, K, false, DType::BF16);
    });
    told("the whole layer", f.name, whole, 6e-9 * static_cast<double>(M * N * K), "TFLOP/s", arithmetic_);
    return ms;
  }
  /// Of the weights of gate or up, over each expert's rows.
  void expert_gradients() {
    const int64_t M = s_.tokens * s_.chosen, N = s_.expert_inner, K = s_.expert_width, E = s_.experts;
    const Tensor a = random({M, N}, DType::BF16), b = random({M, K}, DType::BF16);
    const Tensor dw = ctx_.empty({E * N, K}, DType::F32);
    std::vector<int64_t> begin;
    std::vector<float*> at;
    for (int64_t e = 0; e <= E; ++e) begin.push_back(e * M / E);
    for (int64_t e = 0; e < E; ++e) at.push_back(const_cast<float*>(as<float>(dw)) + e * N * K);
    const Tensor start = on_device(begin), list = on_device(at);
    GroupedGradCall c{.dw = as<float*>(list), .a = a.address(), .b = b.address(), .start = as<int64_t>(start), .type = DType::BF16};
    c.N = N, c.K = K, c.groups = E;
    told("gradients of experts", "bf16", time(1, [&](int) { k().grouped_gradient(c); }), 2e-9 * static_cast<double>(M * N * K), "TFLOP/s", arithmetic_);
  }

  void launches() {
    const int64_t N = 64, E = std::max<int64_t>(s_.experts, 8), K = s_.chosen, V = s_.vocabulary;
    const Tensor logits = random({N, E}, DType::F32), scores = random({N, V}, DType::F32);
    Tensor expert = ctx_.empty({N, K}, DType::I64), weight = ctx_.empty({N, K}, DType::F32), score = ctx_.empty({N, E}, DType::F32);
    Tensor start = ctx_.empty({E + 1}, DType::I64), token = ctx_.empty({N * K}, DType::I64), row = ctx_.empty({N * K}, DType::I64), drawn = ctx_.empty({N}, DType::I64);
    const RouterCall r{.expert = expert.ptr<int64_t>(), .weight = weight.ptr<float>(), .score = score.ptr<float>(), .logits = as<float>(logits), .N = N, .E = E, .K = K};
    const auto of = [](const char* what, double ms) { std::printf("%-41s %10.1f us\n", what, ms * 1e3); };
    std::printf("\n64 rows\n");
    of("router", time(10, [&](int) { k().route(r); }));
    of("sorted by expert", time(10, [&](int) { k().sort_by_expert(start.ptr<int64_t>(), token.ptr<int64_t>(), row.ptr<int64_t>(), as<int64_t>(expert), N, K, E); }));
    of("the likeliest token", time(10, [&](int) { k().argmax_rows(drawn.ptr<int64_t>(), as<float>(scores), N, V); }));
    std::vector<int64_t> numbers(static_cast<size_t>(N));
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<int64_t>(i);
    const Tensor rows = on_device(numbers);
    SampleCall s{.token = drawn.ptr<int64_t>(), .scores = as<float>(scores), .N = N, .V = V, .temperature = 0.7f, .top_k = 50, .top_p = 0.9f};
    s.row = s.step = as<int64_t>(rows);
    of("a drawn token, top_k 50, top_p 0.9", time(10, [&](int) { k().sample_rows(s); }));
  }

  Sizes s_;
  double bandwidth_, arithmetic_;
  int rounds_;
  mutable Context ctx_;
};

}  // namespace

int main(int argc, char** argv) {
  bool small = false;
  double bandwidth = 0, arithmetic = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--small") == 0) small = true;
    else if (std::strcmp(argv[i], "--bandwidth") == 0 && i + 1 < argc) bandwidth = std::atof(argv[++i]);
    else if (std::strcmp(argv[i], "--arithmetic") == 0 && i + 1 < argc) arithmetic = std::atof(argv[++i]);
    else return std::fprintf(stderr, "usage: %s [--small] [--bandwidth GB/s] [--arithmetic TFLOP/s]\n", argv[0]), 2;
  }
  try {
    Bench(small ? kSmall : kWhole, bandwidth, arithmetic, small).run();
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
