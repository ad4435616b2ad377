// Tokens chosen on a device.
#include <algorithm>
#include <cmath>

#include "job.h"
#include "tenon/ops/checks.h"

namespace tenon::generation {
namespace {

bool samples(const Choice& c) { return c.config && c.config->do_sample; }

/// Whether one call can draw both: numbers of a row and a step are given for each.
bool drawn_alike(const Choice& a, const Choice& b) {
  return samples(a) && samples(b) && a.seed == b.seed && a.config->temperature == b.config->temperature && a.config->top_k == b.config->top_k &&
         a.config->top_p == b.config->top_p;
}

/// A call for each run of rows that are drawn alike.
void draw_there(Context& ctx, const Tensor& scores, std::span<const Choice> choices, int64_t* token) {
  const size_t n = choices.size();
  const int64_t V = scores.size(1);
  Ids numbers(2 * n);
  for (size_t i = 0; i < n; ++i) numbers[i] = choices[i].row, numbers[n + i] = choices[i].step;
  const ops::detail::Numbers there(ctx, numbers);
  for (size_t i = 0, end = 0; i < n; i = std::max(end, i + 1)) {
    for (end = i; end < n && drawn_alike(choices[i], choices[end]);) ++end;
    if (end == i) continue;
    const GenerationConfig& config = *choices[i].config;
    const auto first = static_cast<int64_t>(i);
    SampleCall c{.token = token + first, .scores = scores.ptr<float>() + first * V, .N = static_cast<int64_t>(end) - first, .V = V};
    c.temperature = static_cast<float>(config.temperature), c.top_k = config.top_k, c.top_p = static_cast<float>(config.top_p);
    c.seed = choices[i].seed;
    c.row = there.data() + first, c.step = there.data() + static_cast<int64_t>(n) + first;
    ctx.kernels().sample_rows(c);
  }
}

}  // namespace

DeviceRules::DeviceRules(const GenerationConfig& config, const ProcessorSetup& setup) {
  GenerationConfig others = config;
  others.temperature = 1, others.top_k = 0, others.top_p = 1;
  others.min_length = 0, others.min_new_tokens.reset();
  others.forced_bos_token_id.reset(), others.forced_eos_token_id.clear();
  possible_ = !config.output_scores && !config.output_logits && make_processors(others, setup).empty();
  if (!config.eos_token_id.empty()) least_ = config.min_new_tokens ? setup.prompt_length + *config.min_new_tokens : config.min_length;
  if (config.forced_bos_token_id) bos_ = 1;
  if (!config.forced_eos_token_id.empty()) eos_ = setup.max_length - 1;
}

Ids choose_there(Context& ctx, const Tensor& scores, std::span<const Choice> choices) {
  const int64_t N = scores.size(0), V = scores.size(1);
  Ids tokens(choices.size(), -1);
  const auto is_greedy = [](const Choice& c) { return c.config && !c.config->do_sample; };
  const auto greedy = std::find_if(choices.begin(), choices.end(), is_greedy);
  const bool draws = std::any_of(choices.begin(), choices.end(), samples);
  if (greedy == choices.end() && !draws) return tokens;
  Tensor found = ctx.zeros({N * static_cast<int64_t>(sizeof(int64_t) + sizeof(float))}, DType::U8);
  auto* token = static_cast<int64_t*>(found.address());
  auto* squares = reinterpret_cast<float*>(token + N);
  const float* x = scores.ptr<float>();
  ctx.kernels().dot_rows(squares, x, nullptr, x, nullptr, N, V);
  if (greedy != choices.end()) {  // one launch for all; a row between them that is drawn is written again
    const auto behind = std::find_if(choices.rbegin(), choices.rend(), is_greedy).base();
    const auto first = greedy - choices.begin();
    ctx.kernels().argmax_rows(token + first, x + first * V, behind - greedy, V);
  }
  if (draws) draw_there(ctx, scores, choices, token);
  const Tensor here = found.to(Device{});
  const auto* chosen = static_cast<const int64_t*>(here.raw());
  const auto* sums = reinterpret_cast<const float*>(chosen + N);
  for (size_t i = 0; i < choices.size(); ++i)
    if (choices[i].config && std::isfinite(sums[i])) tokens[i] = chosen[i];
  return tokens;
}

}  // namespace tenon::generation
