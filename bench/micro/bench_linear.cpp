// Times linear and matmul on all threads, as a model uses them: what each format reaches of the machine's peak in the same moment.
//
// tenon_bench_linear [linear|rows|matmul|all]
//
// "cached" repeats the four weights of one bert-base layer, "streamed" goes through twelve layers, so that weights come from memory
// as they do in a model. Epilogues are bert's: bias everywhere, gelu on the wide layer, the residual on the two that return to 768.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "cli/peak.h"
#include "tenon/core/kernels.h"
#include "tenon/core/parallel.h"

using namespace tenon;

namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Billions of operations a second on all threads now; 0 where the processor lacks the instruction.
double peak(WeightFormat format, int threads) {
  const cli::Arithmetic kinds[] = {cli::Arithmetic::F32, cli::Arithmetic::BF16, cli::Arithmetic::Int8};
  return cli::arithmetic_peak(kinds[static_cast<size_t>(format)], cpu_kernels(), threads);
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Block = std::unique_ptr<void, Free>;
Block block(size_t bytes) {
  Block b(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
  std::memset(b.get(), 0, bytes);
  return b;
}

struct Shape {
  int64_t N, K;
  Activation act;
  bool residual;
};
constexpr Shape kBert[] = {{2304, 768, Activation::None, false},
                           {768, 768, Activation::None, true},
                           {3072, 768, Activation::Gelu, false},
                           {768, 3072, Activation::None, true}};

struct Best {
  double total = 1e30, peak = 0;
  std::vector<double> each;
};

/// The best of many rounds over `layers` layers; the peak is taken between the rounds.
Best time_rounds(int layers, int64_t M, const std::vector<Shape>& shapes, WeightFormat format, DType type, int threads) {
  const Kernels& k = cpu_kernels();
  int64_t widest = 0;
  for (const Shape& s : shapes) widest = std::max({widest, s.N, s.K});
  const size_t activations = static_cast<size_t>(M * widest) * sizeof(float);
  const Block x = block(activations), y = block(activations), residual = block(activations), bias = block(static_cast<size_t>(widest) * 4);
  std::vector<Block> weights;
  std::vector<std::vector<float>> scales;
  for (size_t i = 0; i < activations / 4; ++i) static_cast<uint32_t*>(x.get())[i] = 0x3f800000u + static_cast<uint32_t>(i * 7919 % 8192);
  for (int l = 0; l < layers; ++l)
    for (const Shape& s : shapes) {
      std::vector<float> w(static_cast<size_t>(s.N * s.K));
      for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(static_cast<int>(i * 2654435761u >> 20 & 255) - 128) / 4096;
      weights.push_back(block(k.linear_packed_bytes(format, s.N, s.K)));
      scales.emplace_back(static_cast<size_t>(s.N));
      k.linear_pack(weights.back().get(), scales.back().data(), w.data(), DType::F32, format, s.N, s.K, threads);
    }
  Best best;
  best.each.assign(shapes.size(), 1e30);
  Block scratch = block(64);
  size_t scratch_bytes = 64;
  const double stop = seconds() + 1.5;
  for (int round = 0; round < 8 || seconds() < stop; ++round) {
    if (round % 8 == 0) best.peak = std::max(best.peak, peak(format, threads));
    std::vector<double> each(shapes.size());
    double total = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      const Shape& s = shapes[i % shapes.size()];
      LinearCall c;
      c.x = x.get(), c.y = y.get(), c.w = weights[i].get(), c.w_scale = scales[i].data(), c.bias = static_cast<float*>(bias.get());
      c.residual = s.residual ? residual.get() : nullptr;
      c.type = type, c.format = format, c.act = s.act, c.M = M, c.N = s.N, c.K = s.K, c.threads = threads;
      if (const size_t need = k.linear_scratch(c); need > scratch_bytes) scratch = block(scratch_bytes = need);
      c.scratch = scratch.get();
      const double start = seconds();
      k.linear(c);
      const double t = seconds() - start;
      each[i % shapes.size()] += t;
      total += t;
    }
    best.total = std::min(best.total, total);
    for (size_t i = 0; i < each.size(); ++i) best.each[i] = std::min(best.each[i], each[i]);
  }
  return best;
}

const char* name_of(WeightFormat f) { return f == WeightFormat::F32 ? "f32" : f == WeightFormat::BF16 ? "bf16" : "int8"; }

void print(const char* what, int layers, int64_t M, const std::vector<Shape>& shapes, WeightFormat format, DType type, const Best& best) {
  double work = 0, bytes = 0;
  const double width = format == WeightFormat::F32 ? 4 : format == WeightFormat::BF16 ? 2 : 1;
  for (const Shape& s : shapes)
    work += 2.0 * static_cast<double>(M * s.N * s.K) * layers, bytes += static_cast<double>(s.N * s.K) * width * layers;
  std::printf("%-4s rows %-8s M %4ld %-8s %9.3f ms %7.1f G/s %5.1f %% of %6.1f %6.1f GB/s |", name_of(format),
              std::string(tenon::name_of(type)).c_str(), static_cast<long>(M), what, best.total * 1e3, work / best.total / 1e9,
              best.peak > 0 ? work / best.total / 1e7 / best.peak : 0, best.peak, bytes / best.total / 1e9);
  for (size_t i = 0; i < shapes.size(); ++i)
    std::printf(" %ldx%ld %.0f", static_cast<long>(shapes[i].N), static_cast<long>(shapes[i].K),
                2.0 * static_cast<double>(M * shapes[i].N * shapes[i].K) * layers / best.each[i] / 1e9);
  std::printf("\n");
  std::fflush(stdout);
}

void bench_linear(const std::vector<int64_t>& row_counts, int threads) {
  const std::vector<Shape> shapes(std::begin(kBert), std::end(kBert));
  const std::pair<WeightFormat, DType> kinds[] = {{WeightFormat::F32, DType::F32},
                                                  {WeightFormat::BF16, DType::BF16},
                                                  {WeightFormat::Int8, DType::F32},
                                                  {WeightFormat::Int8, DType::BF16}};
  for (const auto& [format, type] : kinds)
    for (const int64_t M : row_counts)
      for (const int layers : {1, 12})
        print(layers == 1 ? "cached" : "streamed", layers, M, shapes, format, type, time_rounds(layers, M, shapes, format, type, threads));
}

void bench_matmul(int threads) {
  struct Product {
    const char* what;
    int64_t M, N, K;
    bool trans_a, trans_b, accumulate;
  };
  const Product products[] = {{"forward", 1024, 3072, 768, false, true, false}, {"dx", 1024, 768, 3072, false, false, false},
                              {"dw", 3072, 768, 1024, true, false, true},       {"dw, 856 rows", 3072, 768, 856, true, false, true},
                              {"expert", 100, 1024, 512, false, true, false},   {"expert dw", 1024, 512, 100, true, false, true}};
  for (const DType type : {DType::F32, DType::BF16})
    for (const Product& p : products) {
      const Block a = block(static_cast<size_t>(p.M * p.K) * 4), b = block(static_cast<size_t>(p.K * p.N) * 4),
                  c = block(static_cast<size_t>(p.M * p.N) * 4);
      MatmulCall call;
      call.a = a.get(), call.b = b.get(), call.c = c.get(), call.type = type, call.c_type = p.trans_a ? DType::F32 : type;
      call.trans_a = p.trans_a, call.trans_b = p.trans_b, call.accumulate = p.accumulate;
      call.M = p.M, call.N = p.N, call.K = p.K, call.threads = threads;
      double best = 1e30, most = 0;
      const double stop = seconds() + 0.5;
      for (int round = 0; round < 8 || seconds() < stop; ++round) {
        if (round % 8 == 0) most = std::max(most, peak(type == DType::F32 ? WeightFormat::F32 : WeightFormat::BF16, threads));
        const double start = seconds();
        cpu_kernels().matmul(call);
        best = std::min(best, seconds() - start);
      }
      const double speed = 2.0 * static_cast<double>(p.M * p.N * p.K) / best / 1e9;
      std::printf("matmul %-8s %-13s %4ld x %4ld x %4ld %9.3f ms %7.1f G/s %5.1f %%\n", std::string(tenon::name_of(type)).c_str(), p.what,
                  static_cast<long>(p.M), static_cast<long>(p.N), static_cast<long>(p.K), best * 1e3, speed,
                  most > 0 ? 100 * speed / most : 0);
    }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "all";
  const int threads = get_num_threads();
  std::printf("table %s, %d threads\n", cpu_kernels().name, threads);
  if (what == "linear" || what == "all") bench_linear({16, 128, 1024}, threads);
  if (what == "rows" || what == "all") bench_linear({1, 4, 17, 129, 856}, threads);
  if (what == "matmul" || what == "all") bench_matmul(threads);
}
