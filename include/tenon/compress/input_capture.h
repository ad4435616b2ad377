// What the layers of a model see while it runs on calibration text. It stands where a tape would: ops tell it of their inputs.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "tenon/compress/gptq.h"
#include "tenon/compress/scale_search.h"

namespace tenon::compress {

/// The inputs of one Linear, or of several that see the same.
struct LayerInputs {
  ChannelStatistics statistics;
  Tensor sample;                     // some of the rows, evenly spread; (n,K) f32
  std::vector<Tensor> all;           // every row, where that was asked for
  std::unique_ptr<Hessian> hessian;  // where that was asked for
  int64_t odd = 0;                   // passes left out, because a value was not finite

  /// Every column divided by its scale, as a step before now does it.
  void divide(const std::vector<float>& scale);
};

/// Rows index * rows / count of x, count at most. Shapes: x (N,K) -> (min(N, count), K).
Tensor spread_rows(const Tensor& x, int64_t count);

class InputCapture final : public Recorder {
 public:
  /// kept: rows of the sample; expected: rows that will come in all.
  InputCapture(Context& ctx, int64_t kept, int64_t expected, bool hessians)
      : ctx_(ctx), kept_(kept), expected_(expected), hessians_(hessians) {}

  /// Follows a layer whose weight is plain float32 and stays as it is; keep_all: every row is kept.
  void watch(const nn::Linear& layer, bool keep_all = false);
  /// nullptr for a layer that saw nothing.
  LayerInputs* of(const nn::Linear& layer) const;

  bool wants(const Tensor& t) const override { return t.dtype() == DType::F32; }
  void record(std::string_view op, std::vector<Tensor> outputs, std::vector<Tensor> inputs, Backward backward) override;

 private:
  struct Watched {
    std::shared_ptr<LayerInputs> inputs;
    bool keep_all = false;
    uint64_t last = 0;  // the id of the input that was added last
  };
  void add(LayerInputs& to, const Tensor& x, bool keep_all) const;

  Context& ctx_;
  int64_t kept_, expected_;
  bool hessians_;
  std::map<uint64_t, Watched> watched_;  // by the weight's id
};

/// Records through `capture` while it lives.
class Capturing {
 public:
  Capturing(Context& ctx, InputCapture& capture) : ctx_(ctx), before_(ctx.set_recorder(&capture)) {}
  ~Capturing() { ctx_.set_recorder(before_); }
  Capturing(const Capturing&) = delete;
  Capturing& operator=(const Capturing&) = delete;

 private:
  Context& ctx_;
  Recorder* before_;
};

}  // namespace tenon::compress
