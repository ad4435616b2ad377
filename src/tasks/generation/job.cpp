// Steps that all ways of searching share: prompts, rules, choosing a token, rows as tensors.
#include "job.h"

#include <algorithm>

#include "scores.h"
#include "tenon/ops/embedding.h"

namespace tenon::generation {

Tensor prefill(Job& job, bool there) {
  const Tensor logits = there ? job.session.feed(job.ctx, job.prompt.tokens) : job.feed(job.prompt.tokens);
  if (job.width == 1) return logits;
  Ids parents;
  for (int64_t i = 0; i < job.texts() * job.width; ++i) parents.push_back(i / job.width);
  job.session.reorder(parents);
  return ops::gather_rows(logits.device().is_cpu() ? job.host : job.ctx, logits, parents);
}

void check_numbers(const Job& job, const Tensor& logits) {
  if (job.config.remove_invalid_values) return;
  const auto values = logits.values<float>();
  const auto bad = std::find_if(values.begin(), values.end(), [](float v) { return v != v; });
  check(bad == values.end(), ErrorCode::Limit, "generate", "the model's logits have NaN for token ",
        (bad - values.begin()) % logits.size(1), " (remove_invalid_values goes on with 0 instead)");
}

void process(Job& job, const std::vector<Ids>& sequences, std::span<const int64_t> rows, Tensor& scores) {
  if (job.processors.empty()) return;
  std::vector<std::span<const int64_t>> written;
  for (const int64_t r : rows) written.emplace_back(sequences[static_cast<size_t>(r)]);
  for (const auto& p : job.processors) p->apply(job.host, {written, rows}, scores);
}

int64_t likeliest(std::span<const float> scores) {
  const auto best = std::max_element(scores.begin(), scores.end());
  check(*best > kMinusInfinity, ErrorCode::Limit, "generate", "the rules forbid every token");
  return best - scores.begin();
}

int64_t draw(std::span<const float> scores, uint64_t seed, int64_t row, int64_t step) {
  const float top = largest(scores);
  check(top > kMinusInfinity, ErrorCode::Limit, "generate", "the rules forbid every token");
  double sum = 0;
  for (const float s : scores)
    if (s > kMinusInfinity) sum += std::exp(s - top);
  check(std::isfinite(sum), ErrorCode::Limit, "generate", "the scores are not finite");
  const auto random = Random(seed, static_cast<uint64_t>(row)).block(static_cast<uint64_t>(step));
  double left = sum * (static_cast<double>((uint64_t{random[0]} << 21) ^ (random[1] >> 11)) * 0x1p-53);
  int64_t last = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!(scores[i] > kMinusInfinity)) continue;
    const float p = std::exp(scores[i] - top);
    if (p > 0) last = static_cast<int64_t>(i);
    if ((left -= p) < 0) return last;
  }
  return last;
}

Tensor to_tensor(const std::vector<Ids>& rows, int64_t fill) {
  size_t length = 0;
  for (const Ids& row : rows) length = std::max(length, row.size());
  Tensor t = Tensor::empty({static_cast<int64_t>(rows.size()), static_cast<int64_t>(length)}, DType::I64);
  int64_t* to = t.data<int64_t>();
  for (const Ids& row : rows) to = std::fill_n(std::copy(row.begin(), row.end(), to), length - row.size(), fill);
  return t;
}

}  // namespace tenon::generation
