// Times a decoder checkpoint: reading a prompt and writing token by token, beside what this machine can do at most; and a mixture of experts
// as a layer alone, by experts and by active experts.
//
// tenon_bench_decoder FOLDER [float32|bfloat16|int8] [prompt 512] [past 64] [steps 32]
// tenon_bench_decoder moe [hidden 2048] [inner 4096] [tokens 512]
// tenon_bench_decoder limits        what the machine can do at most, alone: compare.py asks
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cli/peak.h"
#include "tenon/models/registry.h"
#include "tenon/nn/mixture_of_experts.h"
#include "tenon/quant/format.h"

using namespace tenon;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// The median time of `rounds` calls.
template <class F>
double median(int rounds, F&& f) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const double start = now();
    f();
    times.push_back(now() - start);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

/// Of all threads together: GFLOP/s (GOP/s) and the bandwidth of reading memory.
struct Limits {
  double f32 = 0, bf16 = 0, int8 = 0, read = 0;

  explicit Limits(Context& ctx) {
    const auto of = [&](cli::Arithmetic kind) { return cli::arithmetic_peak(kind, ctx.kernels(), ctx.threads()); };
    f32 = of(cli::Arithmetic::F32), bf16 = of(cli::Arithmetic::BF16), int8 = of(cli::Arithmetic::Int8);
    measure_read(ctx);
    std::printf("limits of %d threads: %.0f / %.0f / %.0f GFLOP/s in float32 / bfloat16 / int8, %.1f GB/s\n", ctx.threads(), f32, bf16, int8, read);
  }
  /// Again before what it is compared with: neighbours on a shared machine take more or less of it.
  void measure_read(Context& ctx) {
    if (!memory.defined()) memory = Tensor::zeros({int64_t{1} << 30}, DType::U8);
    const auto* from = static_cast<const uint64_t*>(std::as_const(memory).raw());
    std::atomic<uint64_t> sum{0};
    const double time = median(5, [&] {
      parallel_for(ctx.threads(), int64_t{1} << 27, 1 << 20, [&](int64_t begin, int64_t end) {
        uint64_t s[8] = {};
        for (int64_t i = begin; i + 8 <= end; i += 8)
          for (int j = 0; j < 8; ++j) s[j] += from[i + j];
        sum += s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
      });
    });
    read = static_cast<double>(memory.nbytes()) / time / 1e9;
  }
  Tensor memory;
};

std::vector<int64_t> tokens(int64_t n, int64_t vocab) {
  std::vector<int64_t> ids(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) ids[static_cast<size_t>(i)] = (i * 7919 + 17) % vocab;
  return ids;
}

/// Weights that one token meets: all but the embedding table and the experts that are not chosen.
int64_t active_weights(const models::Model& model) {
  int64_t n = 0;
  const double experts = static_cast<double>(model.config().value("num_local_experts", 0)), chosen = static_cast<double>(model.config().value("num_experts_per_tok", 0));
  for (const auto& [name, t] : model.parameters()) {
    if (t.rank() != 2 || name.find("embed_tokens") != std::string::npos) continue;
    n += name.find(".experts.") == std::string::npos ? t.numel() : static_cast<int64_t>(static_cast<double>(t.numel()) * chosen / experts);
  }
  return n;
}

int decoder(int argc, char** argv) {
  const std::string precision = argc > 2 ? argv[2] : "bfloat16";
  const int64_t prompt = argc > 3 ? std::atoll(argv[3]) : 512, past = argc > 4 ? std::atoll(argv[4]) : 64, steps = argc > 5 ? std::atoll(argv[5]) : 32;
  const auto kind = precision == "float32" ? models::Precision::Float32 : precision == "int8" ? models::Precision::Int8 : models::Precision::BFloat16;
  Context ctx;
  double start = now();
  const auto model = models::load(ctx, argv[1], {.precision = kind});
  std::printf("loaded in %.1f s\n", now() - start);
  models::Inputs one;
  one.input_ids = Tensor::zeros({1, 1}, DType::I64);
  const int64_t vocab = model->config().value("vocab_size", 0), lm_head = vocab * model->config().value("hidden_size", 0);
  Limits peak(ctx);
  const double weights = static_cast<double>(active_weights(*model));
  const double bytes = weights * (kind == models::Precision::Float32 ? 4 : kind == models::Precision::Int8 ? 1 : 2);
  const double limit = kind == models::Precision::Float32 ? peak.f32 : kind == models::Precision::Int8 ? peak.int8 : peak.bf16;

  const std::vector<std::vector<int64_t>> ids = {tokens(prompt, vocab)};
  const double prefill = median(3, [&] { model->start(ctx, one)->feed(ctx, ids); });
  const double flops = 2 * (weights - static_cast<double>(lm_head)) * static_cast<double>(prompt);
  std::printf("prefill %ld tokens: %.1f ms, %.0f tokens/s, %.0f GFLOP/s, %.1f %% of peak\n", static_cast<long>(prompt), prefill * 1e3,
              static_cast<double>(prompt) / prefill, flops / prefill / 1e9, 100 * flops / prefill / 1e9 / limit);

  const auto session = model->start(ctx, one);
  session->feed(ctx, std::vector<std::vector<int64_t>>{tokens(past, vocab)});
  int64_t next = 1;
  peak.measure_read(ctx);
  const double before = peak.read;
  const double step = median(static_cast<int>(steps), [&] { session->feed(ctx, std::vector<std::vector<int64_t>>{{next++ * 911 % vocab}}); });
  peak.measure_read(ctx);
  peak.read = (peak.read + before) / 2;
  std::printf("decode after %ld tokens: %.2f ms, %.1f tokens/s, %.1f GB/s of weights, %.1f %% of read bandwidth (%.1f GB/s)\n", static_cast<long>(past),
              step * 1e3, 1 / step, bytes / step / 1e9, 100 * bytes / step / 1e9 / peak.read, peak.read);
  return 0;
}

void layer(Context& ctx, int64_t hidden, int64_t inner, int64_t count, int64_t experts, int64_t active, WeightFormat format, const Limits& peak) {
  nn::MixtureOfExperts moe({.hidden_size = hidden, .intermediate_size = inner, .num_experts = experts, .router = {.top_k = active, .normalize = true}});
  moe.pack(ctx, format);
  Random random(7);
  Tensor x = Tensor::empty({count, hidden}, DType::F32);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = random.normal();
  if (format != WeightFormat::F32) x = x.to(DType::BF16);
  moe.forward(ctx, x);
  const double time = median(5, [&] { moe.forward(ctx, x); });
  const double flops = 2.0 * 3 * static_cast<double>(hidden * inner * count * active);
  const double limit = format == WeightFormat::F32 ? peak.f32 : format == WeightFormat::Int8 ? peak.int8 : peak.bf16;
  std::printf("%-9s %3ld experts, %ld active: %8.1f ms, %5.1f %% of peak\n", std::string(quant::info(format).name).c_str(), static_cast<long>(experts),
              static_cast<long>(active), time * 1e3, 100 * flops / time / 1e9 / limit);
}

int mixture(int argc, char** argv) {
  const int64_t hidden = argc > 2 ? std::atoll(argv[2]) : 2048, inner = argc > 3 ? std::atoll(argv[3]) : 4096, count = argc > 4 ? std::atoll(argv[4]) : 512;
  Context ctx;
  const Limits peak(ctx);
  for (const WeightFormat format : {WeightFormat::F32, WeightFormat::BF16, WeightFormat::Int8}) {
    for (const int64_t active : {2, 4, 8}) layer(ctx, hidden, inner, count, 16, active, format, peak);
    if (format == WeightFormat::F32) continue;  // 64 experts of this size would need 6 GB
    for (const int64_t experts : {8, 64}) layer(ctx, hidden, inner, count, experts, 2, format, peak);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: tenon_bench_decoder FOLDER|moe|limits [...]; see the file's head\n"), 2;
  try {
    if (std::string(argv[1]) == "limits") {
      Context ctx;
      const Limits measured(ctx);
      return 0;
    }
    return std::string(argv[1]) == "moe" ? mixture(argc, argv) : decoder(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
