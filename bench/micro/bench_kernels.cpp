// Times the kernels of one table on one thread: GFLOP/s or GB/s, and the share of what this machine can do at most.
//
// tenon_bench_kernels [attention|backward|rows|elements|all]      TENON_ISA=avx2 picks a table.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "peak.h"
#include "tenon/core/kernels.h"

using namespace tenon;
using namespace tenon::bench;

namespace {

Peak peak;

const char* short_name(DType t) { return t == DType::BF16 ? "bf16" : "f32"; }

std::vector<float> noise(size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> draw;
  std::vector<float> v(n);
  for (float& x : v) x = draw(engine);
  return v;
}

/// n elements of the type, as bytes.
std::vector<char> noise_of(DType type, size_t n, unsigned seed) {
  const std::vector<float> f = noise(n, seed);
  std::vector<char> bytes(n * size_of(type));
  for (size_t i = 0; i < n; ++i) {
    if (type == DType::F32) {
      std::memcpy(bytes.data() + 4 * i, &f[i], 4);
    } else {
      const bfloat16 b = bfloat16::from(f[i]);
      std::memcpy(bytes.data() + 2 * i, &b, 2);
    }
  }
  return bytes;
}

void print_flops(const std::string& what, double flops, double seconds, double limit) {
  std::printf("%-52s %9.1f us %8.1f GFLOP/s %5.1f %%\n", what.c_str(), seconds * 1e6, flops / seconds / 1e9,
              limit > 0 ? 100 * flops / seconds / 1e9 / limit : 0);
}

/// Bytes read and written by a kernel whose data lie in the second-level cache.
void print_bytes(const std::string& what, double bytes, double seconds) {
  std::printf("%-52s %9.1f us %8.1f GB/s    %5.1f %% of memory's read speed\n", what.c_str(), seconds * 1e6, bytes / seconds / 1e9,
              100 * bytes / seconds / 1e9 / peak.read);
}

struct AttentionData {
  AttentionCall c;
  std::vector<int64_t> q_start, k_start;
  std::vector<char> qkv, out, scratch_memory;
  std::vector<float> lse;
  void* scratch = nullptr;

  AttentionData(const Kernels& k, DType type, int64_t T, int64_t S, int64_t H, int64_t D, bool causal) : q_start{0, T}, k_start{0, S} {
    const int64_t ld = 3 * H * D, rows = T > S ? T : S;  // q, k and v side by side, as one projection writes them
    qkv = noise_of(type, static_cast<size_t>(rows * ld), 1);
    out.resize(static_cast<size_t>(T * H * D) * size_of(type));
    lse.resize(static_cast<size_t>(H * T));
    const size_t width = static_cast<size_t>(H * D) * size_of(type);
    c.q = qkv.data(), c.k = qkv.data() + width, c.v = qkv.data() + 2 * width, c.out = out.data(), c.lse = lse.data();
    c.q_start = q_start.data(), c.k_start = k_start.data();
    c.type = type, c.ld_q = c.ld_k = c.ld_v = ld, c.ld_out = H * D;
    c.B = 1, c.H = c.Hkv = H, c.D = c.Dv = D, c.Nq = T, c.scale = 1 / std::sqrt(static_cast<float>(D)), c.causal = causal;
    scratch_memory.resize(k.attention_scratch(c, T, S) + 64);
    scratch = scratch_memory.data() + (64 - reinterpret_cast<uintptr_t>(scratch_memory.data()) % 64) % 64;
  }
};

void bench_attention(const Kernels& k) {
  struct Shape {
    int64_t T, S, H, D;
    bool causal;
  };
  const Shape shapes[] = {{128, 128, 12, 64, false}, {8, 8, 12, 64, false},      {24, 24, 12, 64, false},    {48, 48, 12, 64, false},
                          {197, 197, 12, 64, false}, {512, 512, 12, 64, false},  {2048, 2048, 4, 64, false}, {512, 512, 12, 64, true},
                          {128, 128, 12, 32, false}, {128, 128, 12, 128, false}, {128, 128, 12, 80, false},  {50, 50, 8, 64, false},
                          {77, 77, 8, 64, true},     {1, 1024, 12, 64, false}};
  for (const DType type : {DType::F32, DType::BF16})
    for (const Shape& s : shapes) {
      AttentionData a(k, type, s.T, s.S, s.H, s.D, s.causal);
      const double time = best_time([&] {
        for (int64_t h = 0; h < s.H; ++h) k.attention(a.c, 0, h, 0, s.T, a.scratch);
      });
      const double scores = s.causal ? static_cast<double>(s.T) * (2 * s.S - s.T + 1) / 2 : static_cast<double>(s.T * s.S);
      char what[100];
      std::snprintf(what, sizeof what, "attention %s T %ld S %ld H %ld D %ld%s", short_name(type), static_cast<long>(s.T),
                    static_cast<long>(s.S), static_cast<long>(s.H), static_cast<long>(s.D), s.causal ? " causal" : "");
      print_flops(what, 4.0 * scores * static_cast<double>(s.D * s.H), time, type == DType::BF16 && peak.bf16 > 0 ? peak.bf16 : peak.f32);
    }
}

void bench_backward(const Kernels& k) {
  for (const int64_t D : {32, 64, 128})
    for (const int64_t T : {24, 128, 512}) {
      const int64_t H = 4;
      AttentionData a(k, DType::F32, T, T, H, D, false);
      std::vector<float> d_out = noise(static_cast<size_t>(T * H * D), 3), dqkv(static_cast<size_t>(3 * T * H * D));
      AttentionGrad g{d_out.data(), dqkv.data(), dqkv.data() + H * D, dqkv.data() + 2 * H * D};
      for (int64_t h = 0; h < H; ++h) k.attention(a.c, 0, h, 0, T, a.scratch);
      const double time = best_time([&] {
        for (int64_t h = 0; h < H; ++h) k.attention_backward(a.c, g, 0, h, a.scratch);
      });
      print_flops("attention_backward f32 T " + std::to_string(T) + " D " + std::to_string(D), 10.0 * static_cast<double>(T * T * D * H),
                  time, peak.f32);
    }
}

void bench_rows(const Kernels& k) {
  const int64_t N = 128, C = 768;
  const size_t n = static_cast<size_t>(N * C);
  const double elements = static_cast<double>(n);
  const std::vector<float> w = noise(static_cast<size_t>(C), 5), b = noise(static_cast<size_t>(C), 6);
  std::vector<float> mean(static_cast<size_t>(N)), rstd(static_cast<size_t>(N)), x = noise(n, 7), dy = noise(n, 8), y(n), dw(n), db(n);
  std::vector<int64_t> index(static_cast<size_t>(N));
  for (size_t i = 0; i < index.size(); ++i) index[i] = static_cast<int64_t>(i * 37 % index.size());
  for (const DType type : {DType::F32, DType::BF16}) {
    const std::string suffix = std::string(" ") + short_name(type) + " 128 x 768";
    const double size = static_cast<double>(size_of(type));
    const std::vector<char> in = noise_of(type, n, 9);
    std::vector<char> out(n * 4);
    print_bytes("layer_norm" + suffix, 2 * size * elements,
                best_time([&] { k.layer_norm(out.data(), in.data(), w.data(), b.data(), nullptr, nullptr, N, C, 1e-5f, type); }));
    print_bytes("quantize_rows" + suffix, (size + 1) * elements,
                best_time([&] { k.quantize_rows(reinterpret_cast<int8_t*>(out.data()), mean.data(), in.data(), N, C, type); }));
    print_bytes("gather_rows" + suffix, 2 * size * elements,
                best_time([&] { k.gather_rows(out.data(), type, in.data(), type, index.data(), N, C, false); }));
  }
  k.layer_norm(y.data(), x.data(), w.data(), b.data(), mean.data(), rstd.data(), N, C, 1e-5f, DType::F32);
  print_bytes("layer_norm_backward 128 x 768", 12 * elements, best_time([&] {
                k.layer_norm_backward(y.data(), dw.data(), db.data(), dy.data(), x.data(), w.data(), mean.data(), rstd.data(), N, C);
              }));
  print_bytes("softmax 128 x 768", 8 * elements, best_time([&] { k.softmax(y.data(), x.data(), N, C); }));
  print_bytes("softmax_backward 128 x 768", 12 * elements, best_time([&] { k.softmax_backward(dw.data(), dy.data(), y.data(), N, C); }));
  print_bytes("cross_entropy 128 x 768", 8 * elements,
              best_time([&] { k.cross_entropy(mean.data(), y.data(), x.data(), index.data(), N, C, -100, 0.1f); }));
  print_bytes("l2_normalize 128 x 768", 8 * elements, best_time([&] { k.l2_normalize(y.data(), nullptr, x.data(), N, C, 1e-12f); }));
  print_bytes("sum_rows 128 x 768", 4 * elements, best_time([&] { k.sum_rows(dw.data(), x.data(), N, C); }));
}

void bench_elements(const Kernels& k) {
  const int64_t n = 1 << 16;
  const double elements = static_cast<double>(n);
  const std::vector<float> x = noise(static_cast<size_t>(n), 1), dy = noise(static_cast<size_t>(n), 2);
  std::vector<float> y(static_cast<size_t>(n));
  const std::pair<const char*, Activation> acts[] = {
      {"gelu", Activation::Gelu}, {"gelu_tanh", Activation::GeluTanh}, {"quick_gelu", Activation::QuickGelu}, {"relu", Activation::Relu},
      {"tanh", Activation::Tanh}, {"silu", Activation::Silu},          {"sigmoid", Activation::Sigmoid}};
  for (const DType type : {DType::F32, DType::BF16}) {
    const double size = static_cast<double>(size_of(type));
    const std::vector<char> in = noise_of(type, static_cast<size_t>(n), 3);
    std::vector<char> out(in.size());
    for (const auto& [name, act] : acts)
      print_bytes(std::string(name) + " " + short_name(type), 2 * size * elements,
                  best_time([&, a = act] { k.activation(out.data(), in.data(), n, a, type); }));
    print_bytes(std::string("add ") + short_name(type), 3 * size * elements,
                best_time([&] { k.add(out.data(), in.data(), out.data(), n, type); }));
    const DType other = type == DType::F32 ? DType::BF16 : DType::F32;
    print_bytes(std::string("cast ") + short_name(type) + " to " + short_name(other), 6 * elements,
                best_time([&] { k.cast(y.data(), other, in.data(), type, n); }));
  }
  for (const auto& [name, act] : acts)
    print_bytes(std::string(name) + " backward", 12 * elements,
                best_time([&, a = act] { k.activation_backward(y.data(), dy.data(), x.data(), n, a); }));
  print_bytes("mul", 12 * elements, best_time([&] { k.mul(y.data(), x.data(), dy.data(), n); }));
  print_bytes("axpby", 12 * elements, best_time([&] { k.axpby(y.data(), x.data(), n, 0.5f, 0.5f); }));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "all";
  const Kernels& k = cpu_kernels();
  peak = measure_peak(k);
  std::printf("table %s; one thread's peak: f32 %.1f GFLOP/s, bf16 %.1f GFLOP/s, memory %.1f GB/s, copy in cache %.1f GB/s\n", k.name,
              peak.f32, peak.bf16, peak.read, peak.cache);
  const bool all = what == "all";
  if (all || what == "attention") bench_attention(k);
  if (all || what == "backward") bench_backward(k);
  if (all || what == "rows") bench_rows(k);
  if (all || what == "elements") bench_elements(k);
}
