// Tokens chosen on a device.
#include <algorithm>
#include <cmath>

#include "job.h"
#include "tenon/ops/checks.h"

namespace tenon::generation {

Ids choose_there(Job& job, const Tensor& scores, std::span<const int64_t> rows, int64_t step) {
  const int64_t N = scores.size(0), V = scores.size(1);
  const auto n = static_cast<size_t>(N);
  const size_t bytes = n * (sizeof(int64_t) + sizeof(float));
  Tensor found = job.ctx.empty({static_cast<int64_t>(bytes)}, DType::U8);
  auto* token = static_cast<int64_t*>(found.address());
  auto* squares = reinterpret_cast<float*>(token + N);
  const float* x = scores.ptr<float>();
  const Kernels& k = job.ctx.kernels();
  k.dot_rows(squares, x, nullptr, x, nullptr, N, V);
  if (job.config.do_sample) {
    Ids numbers(rows.begin(), rows.end());
    numbers.resize(2 * n, step);
    const ops::detail::Numbers there(job.ctx, numbers);
    SampleCall c{.token = token, .scores = x, .N = N, .V = V, .temperature = static_cast<float>(job.config.temperature)};
    c.top_k = job.config.top_k, c.top_p = static_cast<float>(job.config.top_p), c.seed = job.hooks.seed;
    c.row = there.data(), c.step = there.data() + N;
    k.sample_rows(c);
  } else {
    k.argmax_rows(token, x, N, V);
  }
  const Tensor here = found.to(Device{});
  const auto* tokens = static_cast<const int64_t*>(here.raw());
  const auto* sums = reinterpret_cast<const float*>(tokens + N);
  const auto odd = [&](size_t i) { return !std::isfinite(sums[i]) || tokens[i] < 0; };
  for (size_t i = 0; i < n; ++i)
    if (odd(i)) return {};
  return {tokens, tokens + N};
}

}  // namespace tenon::generation
