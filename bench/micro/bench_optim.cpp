// Times a step of each optimiser over parameters that no cache holds: GB/s of its traffic, and the share of what a plain pass with as many
// streams reaches on the same threads.
//
// tenon_bench_optim [MILLIONS OF PARAMETERS, 66]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tenon/train/optim.h"

using namespace tenon;

namespace {

double seconds_now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <class Body>
double best_of(int times, Body&& body) {
  body();
  double best = 1e30;
  for (int i = 0; i < times; ++i) {
    const double start = seconds_now();
    body();
    best = std::min(best, seconds_now() - start);
  }
  return best;
}

Tensor filled(const Shape& shape, float value) {
  Tensor t = Tensor::empty(shape, DType::F32);
  std::fill_n(t.data<float>(), t.numel(), value);
  return t;
}

/// GB/s of a pass that reads four arrays and writes three of them, as AdamW must.
double plain_pass(Context& ctx, int64_t n) {
  std::vector<Tensor> t;
  for (int i = 0; i < 4; ++i) t.push_back(filled({n}, 1));
  float *p = t[0].data<float>(), *m = t[1].data<float>(), *v = t[2].data<float>();
  const float* g = t[3].data<float>();
  const double s = best_of(5, [&] {
    ctx.over_rows(n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) p[i] += g[i], m[i] += g[i], v[i] += g[i];
    });
  });
  return 28.0 * static_cast<double>(n) / s / 1e9;
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t millions = argc > 1 ? std::atoll(argv[1]) : 66;
  for (int threads = 1; threads <= get_num_threads(); ++threads) {
    Context ctx(threads);
    const double pass = plain_pass(ctx, millions * 1000000);
    std::printf("%d threads: a pass over four streams, three of them written, %.1f GB/s\n", threads, pass);
    // Matrices and vectors as a model of this size has them.
    std::vector<Tensor> parameters, gradients;
    int64_t n = 0;
    while (n < millions * 1000000)
      for (const Shape& s : {Shape{768, 768}, Shape{768}, Shape{3072, 768}, Shape{3072}}) {
        parameters.push_back(filled(s, 0.5f));
        gradients.push_back(filled(s, 1e-3f));
        n += s.numel();
      }
    const std::pair<const char*, std::pair<train::Algorithm, double>> all[] = {{"AdamW", {train::AdamW{}, 28}},
                                                                               {"SGD", {train::Sgd{}, 12}},
                                                                               {"SGD with momentum", {train::Sgd{.momentum = 0.9}, 20}},
                                                                               {"Lion", {train::Lion{}, 20}},
                                                                               {"AdamW8bit", {train::AdamW8bit{}, 16}},
                                                                               {"Adafactor", {train::Adafactor{}, 24}}};
    for (const auto& [name, what] : all) {
      std::vector<train::ParameterState> states;
      for (const Tensor& p : parameters) states.push_back({0, train::new_state(what.first, p)});
      std::vector<train::Update> updates;
      for (size_t i = 0; i < parameters.size(); ++i) updates.push_back({parameters[i], gradients[i], &states[i]});
      const double s = best_of(5, [&] { train::step(ctx, what.first, updates); });
      const double rate = what.second * static_cast<double>(n) / s / 1e9;
      std::printf("  %-18s %7.1f ms  %5.1f GB/s  %3.0f %% of the pass\n", name, s * 1e3, rate, 100 * rate / pass);
    }
    const double s = best_of(5, [&] { train::gradient_norm(ctx, gradients); });
    std::printf("  %-18s %7.1f ms  %5.1f GB/s\n", "gradient norm", s * 1e3, 4.0 * static_cast<double>(n) / s / 1e9);
  }
  return 0;
}
