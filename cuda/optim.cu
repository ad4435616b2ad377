// Launches of the optimisers whose state is smaller than the parameter.
#include <algorithm>

#include "bodies/optim.h"
#include "fillers.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

void adamw8(const AdamW8Call& c) {
  launch((c.step.n + AdamW8Body::kThreads - 1) / AdamW8Body::kThreads, 1, AdamW8Body::kThreads, AdamW8Body::kShared, AdamW8Body{c});
}

void adafactor(const AdafactorCall& c) {
  constexpr int kThreads = 256;
  AdafactorScratch s;
  s.n = c.rows ? c.count * c.rows * c.columns : c.columns;
  if (s.n == 0) return;
  s.row_blocks = (c.rows + kAdafactorRows - 1) / kAdafactorRows;
  const int64_t matrices = c.rows ? c.count : 0, blocks = std::min<int64_t>((s.n + 8 * kThreads - 1) / (8 * kThreads), 1024);
  const Scratch sums((static_cast<size_t>(blocks) + 2) * sizeof(double));
  auto* shares = sums.as<double>();
  s.size = shares + blocks, s.squares = s.size + 1;
  const int64_t parts = matrices * s.row_blocks * c.columns, downs = matrices * c.rows, acrosses = matrices * c.columns;
  const Scratch floats(static_cast<size_t>(parts + downs + acrosses + 1) * sizeof(float));
  s.partial = floats.as<float>(), s.down = s.partial + parts, s.across = s.down + downs;

  if (c.least_size > 0) {
    launch(blocks, 1, kThreads, 0, SumBody<float>{shares, c.p, s.n, blocks, true});
    launch(1, 1, kThreads, 0, SumBody<double>{s.size, shares, blocks, 1, false});
  }
  if (matrices) {
    launch(downs, 1, threads_for(c.columns), 0, AdafactorRowBody{c});
    launch_elements(parts, AdafactorPartialBody{c, s});
    launch_elements(acrosses, AdafactorColumnBody{c, s});
    launch(matrices, 1, threads_for(c.rows), 0, AdafactorDownBody{c, s});
  } else {
    launch_elements(s.n, AdafactorVectorBody{c});
  }
  launch(blocks, 1, kThreads, 0, AdafactorSquaresBody{c, s, shares, blocks});
  launch(1, 1, kThreads, 0, SumBody<double>{s.squares, shares, blocks, 1, false});
  launch_elements(s.n, AdafactorStepBody{c, s});
}

}  // namespace

void fill_optim(Kernels& k) {
  k.adamw8 = adamw8;
  k.adafactor = adafactor;
}

}  // namespace tenon::cuda
