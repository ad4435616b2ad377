// Times the linear over weights that are mostly zero beside the dense one, on one thread: from which density on it pays.
//
// tenon_bench_sparse [density ...]      0.5 0.25 0.125 0.0625 without arguments
//
// "streamed" goes through weights of 64 MB in all, so that they come from memory as in a large model; "cached" repeats one weight. The
// fewest seconds of several rounds count, in which the two take turns.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "tenon/core/kernels.h"
#include "tenon/core/random.h"
#include "tenon/core/tensor.h"

using namespace tenon;

namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Weights {
  std::vector<Tensor> dense, sparse;
};

Weights make(int64_t N, int64_t K, double density, int64_t copies) {
  const Kernels& k = cpu_kernels();
  Random random(1);
  Tensor w = Tensor::zeros({N, K}, DType::F32);
  int64_t count = 0;
  for (int64_t i = 0; i < N * K; ++i)
    if (random.uniform() < density) w.data<float>()[i] = random.normal(), ++count;
  Weights all;
  for (int64_t i = 0; i < copies; ++i) {
    all.dense.push_back(Tensor::empty({static_cast<int64_t>(k.linear_packed_bytes(WeightFormat::F32, N, K))}, DType::U8));
    k.linear_pack(all.dense.back().raw(), nullptr, std::as_const(w).raw(), DType::F32, WeightFormat::F32, N, K, 1);
    all.sparse.push_back(Tensor::empty({static_cast<int64_t>(k.sparse_packed_bytes(N, K, count))}, DType::U8));
    k.sparse_pack(all.sparse.back().raw(), std::as_const(w).raw(), DType::F32, N, K, count);
  }
  return all;
}

/// Fewest seconds of one call, dense and sparse.
std::pair<double, double> measure(const Weights& w, int64_t M, int64_t N, int64_t K) {
  const Kernels& k = cpu_kernels();
  Tensor x = Tensor::zeros({M, K}, DType::F32), y = Tensor::zeros({M, N}, DType::F32);
  for (int64_t i = 0; i < M * K; ++i) x.data<float>()[i] = static_cast<float>(i % 17);
  LinearCall call{.y = y.raw(), .x = std::as_const(x).raw(), .M = M, .N = N, .K = K};
  Tensor scratch = Tensor::empty({static_cast<int64_t>(std::max(k.linear_scratch(call), k.sparse_scratch(call)) + 64)}, DType::U8);
  call.scratch = scratch.raw();
  const auto pass = [&](bool sparse) {
    const double start = seconds();
    for (const Tensor& t : sparse ? w.sparse : w.dense) {
      call.w = std::as_const(t).raw();
      sparse ? k.sparse_linear(call) : k.linear(call);
    }
    return (seconds() - start) / static_cast<double>(w.dense.size());
  };
  double dense = 1e9, sparse = 1e9;
  const int rounds = static_cast<int>(std::clamp(4e9 / static_cast<double>(M * N * K) / static_cast<double>(w.dense.size()), 5.0, 300.0));
  for (int i = 0; i < rounds; ++i) dense = std::min(dense, pass(false)), sparse = std::min(sparse, pass(true));
  return {dense, sparse};
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<double> densities;
  for (int i = 1; i < argc; ++i) densities.push_back(std::atof(argv[i]));
  if (densities.empty()) densities = {0.5, 0.25, 0.125, 0.0625};
  std::printf("%s, one thread, float32\n%8s %5s %5s %9s %5s %12s %14s %12s\n", cpu_kernels().name, "density", "N", "K", "weights", "rows",
              "dense GF/s", "sparse GF/s", "times dense");
  for (const double density : densities)
    for (const auto& [N, K] : {std::pair<int64_t, int64_t>{256, 256}, {768, 768}, {3072, 768}, {768, 3072}})
      for (const bool streamed : {false, true}) {
        const Weights w = make(N, K, density, streamed ? std::max<int64_t>(1, (int64_t{16} << 20) / (N * K)) : 1);
        for (const int64_t M : {1, 8, 32, 128, 512}) {
          const auto [dense, sparse] = measure(w, M, N, K);
          const double work = 2e-9 * static_cast<double>(M * N * K);
          std::printf("%8g %5lld %5lld %9s %5lld %12.1f %14.1f %12.2f\n", density, static_cast<long long>(N), static_cast<long long>(K),
                      streamed ? "streamed" : "cached", static_cast<long long>(M), work / dense, work * density / sparse, dense / sparse);
        }
      }
  return 0;
}
