// tenon bench of a model that writes text: how fast it reads a prompt and how fast it goes on, beside what memory allows.
#include "cli/bench_decoder.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "tenon/nn/linear.h"

namespace tenon::cli {
namespace {

/// The bytes of weights that one token reads: of every Linear, and of the experts those of the active ones.
class TokenBytes final : public nn::Visitor {
 public:
  TokenBytes(models::Precision precision, double active) : precision_(precision), active_(active) {}
  void parameter(const std::string&, Tensor&, const Shape&, const nn::ParameterInfo&) override {}
  void linear(const std::string&, nn::Linear& layer) override { total += bytes(layer); }
  void packed_elsewhere(const std::string&, nn::Linear& layer) override { total += bytes(layer) * active_; }
  void fused(std::span<const std::string>, std::span<nn::Linear* const> layers, nn::FusedLinear&) override {
    for (const nn::Linear* l : layers) total += bytes(*l);
  }
  double total = 0;

 private:
  double bytes(const nn::Linear& l) const {
    const double n = static_cast<double>(l.in_features()) * static_cast<double>(l.out_features());
    if (!l.quantized)
      return n * (l.packed.defined() ? static_cast<double>(l.packed.nbytes()) / n
                                     : quant::info(models::format_of(precision_)).bytes_per_weight);
    double stored = 0;
    for (const auto& [name, t] : l.quantized->tensors()) stored += static_cast<double>(t.nbytes());
    return stored;
  }
  models::Precision precision_;
  double active_;
};

double share_of_active_experts(const Json& c) {
  const double experts = c.value("n_routed_experts", c.value("num_local_experts", c.value("num_experts", 0.0)));
  return experts > 0 ? c.value("num_experts_per_tok", 0.0) / experts : 1;
}

}  // namespace

Json bench_decoder(const models::Model& model, Context& ctx, int64_t prompt, double (*seconds)(), Profile* profile, const Limits& limits) {
  constexpr int kSteps = 32;
  const int64_t vocabulary = model.config().value("vocab_size", int64_t{2});
  Random random(0);
  const auto tokens = [&](int64_t n) {
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int64_t>(random.next() % static_cast<uint64_t>(vocabulary)));
    return std::vector<std::vector<int64_t>>{ids};
  };
  const models::Inputs one{.input_ids = Tensor::zeros({1, 0}, DType::I64)};
  const double memory = profile ? limits.read : memory_peak(ctx.threads());
  double prefill = 1e30, decode = 1e30, slowest = 0;
  for (int round = 0; round < 3; ++round) {
    const auto session = model.start(ctx, one);
    double start = seconds();
    session->feed(ctx, tokens(prompt));
    prefill = std::min(prefill, seconds() - start);
    for (int i = 0; i < kSteps; ++i) {
      start = seconds();
      session->feed(ctx, tokens(1));
      const double step = seconds() - start;
      decode = std::min(decode, step), slowest = std::max(slowest, round > 0 ? step : 0);
    }
  }
  TokenBytes bytes(model.precision(), share_of_active_experts(model.config()));
  const_cast<models::Model&>(model).visit(bytes);  // it changes nothing
  const double read = bytes.total / decode / 1e9;
  std::printf("prompt of %lld tokens   %8.1f ms   %7.1f tokens/s\n", static_cast<long long>(prompt), prefill * 1e3,
              static_cast<double>(prompt) / prefill);
  std::printf("a token after it       %8.2f ms   %7.1f tokens/s   (slowest %.2f ms)\n", decode * 1e3, 1 / decode, slowest * 1e3);
  std::printf("weights read           %8.1f MB   %7.1f GB/s, %.0f %% of the %.1f GB/s that memory gives\n", bytes.total / 1e6, read,
              100 * read / memory, memory);
  if (!profile) return {};
  profile->learn(model, ctx);
  Json::Array parts;
  const auto session = model.start(ctx, one);
  const auto pass = [&](const char* title, int64_t n, int times) {
    profile->reset();
    const double start = seconds();
    for (int i = 0; i < times; ++i) session->feed(ctx, tokens(n));
    const double wall = (seconds() - start) / times;
    std::vector<Profile::Part> measured = profile->parts();
    for (Profile::Part& p : measured) p.seconds /= times, p.operations /= times, p.bytes /= times;
    print_profile(title, measured, wall, ctx.threads(), limits);
    parts.push_back(profile_json(title, measured, wall, ctx.threads()));
  };
  pass("the prompt", prompt, 1);
  pass("a token after it", 1, kSteps);
  return parts;
}

}  // namespace tenon::cli
