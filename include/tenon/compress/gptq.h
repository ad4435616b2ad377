// GPTQ: columns are rounded one after another, and what each loses is made good by those that follow.
#pragma once

#include <cstdint>

#include "tenon/compress/rounding.h"

namespace tenon::compress {

/// The second moments of a layer's inputs: the mean over tokens of x x^T, twice.
class Hessian {
 public:
  explicit Hessian(int64_t columns) : sums_(Tensor::zeros({columns, columns}, DType::F32)) {}

  /// Adds rows. Shapes: x (n,K) f32. Returns false, and adds nothing, if one holds a value that is not finite.
  bool add(Context& ctx, const Tensor& x);
  int64_t rows() const { return rows_; }
  int64_t columns() const { return sums_.size(0); }
  /// (K,K) f32.
  Tensor matrix() const;

 private:
  Tensor sums_;
  int64_t rows_ = 0;
};

struct GptqOptions {
  int64_t group = 128;
  bool symmetric = true;
  double damp_percent = 0.01;  // of the mean of the diagonal, added to it
  bool desc_act = false;       // columns with the largest inputs first
};

struct GptqResult {
  quant::QuantizedMatrix matrix;
  double damp_percent = 0;  // what it took until the Hessian could be inverted
};

/// Int4 codes for w. Groups have the scales of plain rounding, taken from the weights as they are when their turn comes.
/// Shapes: w (N,K) f32 finite, h.columns() == K. The result has an order if desc_act.
/// Errors: Error(Shape); Error(Limit) if the Hessian cannot be inverted with ten times the damping, tried three times, or has no rows.
/// Source: Frantar et al. 2022, "GPTQ", section 3.3 and the reference implementation's gptq.py.
GptqResult gptq(Context& ctx, const Tensor& w, const Hessian& h, const GptqOptions& options = {});

}  // namespace tenon::compress
