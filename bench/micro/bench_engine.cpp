// Times the engine: requests of several users one after another, and the same requests at once.
//
// tenon_bench_engine FOLDER [float32|bfloat16|int8] [users 8] [prompt 128] [new tokens 64] [alternations 3]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tenon/models/registry.h"
#include "tenon/tasks/engine.h"

using namespace tenon;

namespace {

struct Run {
  int64_t users = 8, prompt = 128, fresh = 64;
};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Seconds until all users have their answers; `together`: at once or one after another.
double seconds(const models::Model& model, const Run& run, bool together) {
  Engine engine(model, {.max_cache_bytes = size_t{4} << 30, .share_prefixes = false});
  const int64_t vocab = model.config().value("vocab_size", int64_t{1});
  GenerationConfig config;
  config.max_new_tokens = run.fresh;
  const double start = now();
  for (int64_t u = 0; u < run.users; ++u) {
    std::vector<int64_t> prompt(static_cast<size_t>(run.prompt));
    for (int64_t i = 0; i < run.prompt; ++i) prompt[static_cast<size_t>(i)] = (i * 7919 + u * 104729 + 17) % vocab;
    engine.submit({.prompt = std::move(prompt), .config = config});
    while (!together && engine.step()) continue;
  }
  while (engine.step()) continue;
  const double took = now() - start;
  const EngineStats s = engine.stats();
  std::printf("  %s: %6.2f s, %7.1f new tokens/s, %lld steps\n", together ? "at once          " : "one after another", took,
              static_cast<double>(s.generated_tokens) / took, static_cast<long long>(s.steps));
  return took;
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::printf("tenon_bench_engine FOLDER [float32|bfloat16|int8] [users 8] [prompt 128] [new tokens 64] [alternations 3]\n");
    return 1;
  }
  const std::string precision = argc > 2 ? argv[2] : "bfloat16";
  const auto number = [&](int i, int64_t usual) { return argc > i ? std::max<int64_t>(1, std::atoll(argv[i])) : usual; };
  const Run run{.users = number(3, 8), .prompt = number(4, 128), .fresh = number(5, 64)};
  Context ctx;
  const auto model = models::load(ctx, argv[1], {.precision = precision == "float32" ? models::Precision::Float32
                                                              : precision == "int8"  ? models::Precision::Int8
                                                                                     : models::Precision::BFloat16});
  std::printf("%s, %s, %lld users, prompts of %lld, answers of %lld tokens, %d threads\n", argv[1], precision.c_str(),
              static_cast<long long>(run.users), static_cast<long long>(run.prompt), static_cast<long long>(run.fresh), ctx.threads());
  std::vector<double> ratios;
  seconds(*model, {.users = 1, .prompt = run.prompt, .fresh = 2}, true);  // maps the weights
  for (int64_t i = 0; i < number(6, 3); ++i) {
    const double apart = seconds(*model, run, false);
    ratios.push_back(apart / seconds(*model, run, true));
  }
  std::printf("at once: %.2f times the throughput\n", median(ratios));
  return 0;
}
