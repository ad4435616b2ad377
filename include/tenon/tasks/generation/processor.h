// What changes the scores of the next token: one interface, for the rules that come with the library and for a caller's own.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/core/tensor.h"

namespace tenon::generation {

using Ids = std::vector<int64_t>;

/// What has been written so far, one entry for each row of scores. All sequences are of one length: shorter prompts have their padding.
struct Step {
  std::span<const std::span<const int64_t>> sequences;
  std::span<const int64_t> rows;  // where each is in the batch; with beams or several answers, text i has rows i * width and following
};

class LogitsProcessor {
 public:
  virtual ~LogitsProcessor() = default;
  /// Changes scores in place. Shapes: scores (R,V) float32, R as in `step`.
  virtual void apply(Context& ctx, const Step& step, Tensor& scores) = 0;
};

using Processors = std::vector<std::shared_ptr<LogitsProcessor>>;

/// One row of a Step.
struct Row {
  std::span<const int64_t> ids;
  int64_t index;  // in the batch
};

/// A rule that looks at one row at a time; rows run on several threads.
class RowProcessor final : public LogitsProcessor {
 public:
  using Function = std::function<void(const Row& row, std::span<float> scores)>;

  explicit RowProcessor(Function f) : f_(std::move(f)) {}
  void apply(Context& ctx, const Step& step, Tensor& scores) override {
    const int64_t V = scores.size(1);
    float* const data = scores.data<float>();
    ctx.over_rows(scores.size(0), 4 * V, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) f_({step.sequences[i], step.rows[i]}, {data + i * V, static_cast<size_t>(V)});
    });
  }

 private:
  Function f_;
};

}  // namespace tenon::generation
