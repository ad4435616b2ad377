// The scale search of AWQ: channels that matter are made larger before rounding and smaller in the step before, so that they lose less.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tenon/compress/rounding.h"
#include "tenon/nn/linear.h"

namespace tenon::compress {

/// What one input channel looks like over the calibration tokens.
struct ChannelStatistics {
  std::vector<double> sum;  // of |x|
  std::vector<float> most;  // the largest |x|
  int64_t rows = 0;

  /// Adds rows. Shapes: x (n,C) f32. Returns false, and adds nothing, if one holds a value that is not finite.
  bool add(const Tensor& x);
  std::vector<float> mean() const;
};

/// Layers that see the same channels, and what comes before them: previous / s, layers * s, and nothing changes but for rounding.
///
///   norm or Linear --(x / s)--> q_proj * s, k_proj * s, v_proj * s, gate * s, ...
struct ScaleGroup {
  std::string name = {};                        // of the step before
  std::vector<nn::Linear*> rounded = {};        // these are quantised
  std::vector<nn::Linear*> others = {};         // these see the same channels but stay as they are: a router, a layer left out
  Tensor *weight = nullptr, *bias = nullptr;    // of the norm before, or
  nn::Linear* previous = nullptr;               // the Linear before, whose row row[c] makes channel c
  std::vector<int64_t> row = {};                // (channels of previous's share)
  std::vector<int64_t> channel = {};            // column k of the layers is channel[k]; empty: column k is channel k
  const ChannelStatistics* input = nullptr;     // of the columns
  std::function<Tensor(Context&)> output = {};  // what the block gives on sampled tokens, with the weights as they are now

  int64_t channels() const { return previous ? static_cast<int64_t>(row.size()) : weight->numel(); }
};

struct ScaleChoice {
  std::vector<float> scale;         // of each channel
  double ratio = 0;                 // the exponent that won; 0 with plain rounding
  double loss = 0, plain_loss = 0;  // mean squared error of the block's output, with these scales and with none
};

struct ScaleSearch {
  int grid = 20;
  bool duo = true;  // s = x^r / w^(1-r), else x^r
};

/// Tries the grid of exponents r = i / grid, and no scales at all, and takes what changes the block's output least. Weights are as before
/// when it returns. Layers in `rounded` hold plain float32 weights.
/// Errors: Error(Shape); those of group.output.
/// Source: Lin et al. 2023, "AWQ", section 3.2.
ScaleChoice search_scales(Context& ctx, const ScaleGroup& group, const Rounding& rounding, const ScaleSearch& options = {});

/// SmoothQuant's scales: max|x|^alpha / max|w|^(1-alpha). Source: Xiao et al. 2022, equation 4.
std::vector<float> smooth_scales(const ScaleGroup& group, float alpha);

/// Multiplies the columns of the group's layers by their channel's scale and divides what comes before by it.
/// Errors: Error(Shape) if scales and channels differ in number; Error(Limit) for scales that are not positive and finite.
void apply_scales(const ScaleGroup& group, const std::vector<float>& scale);

/// The limits beyond which it pays to cut weights off before they are rounded, on the inputs of a layer: for each row and group the
/// largest magnitude times 1 - i / 20, i below 10, that changes the row's product least once refit_scales() has followed. The weight is
/// cut in place.
/// Shapes: w (N,K) f32, x (rows,K) f32. Returns the share of groups that were cut.
/// Source: llm-awq, auto_clip.py (its loss over tokens is a quadratic form here, so that all tokens count).
double search_clip(Context& ctx, Tensor& w, const Tensor& x, const Rounding& rounding);

/// Gives each row and group the scale with which its codes come nearest to the product of w and the inputs. Rounding, and cutting off
/// still more, makes weights smaller than they were on the whole; many layers of that blunt a model's answers.
/// Shapes: m (N,K) Int4 without order, w (N,K) f32, x (rows,K) f32.
void refit_scales(Context& ctx, quant::QuantizedMatrix& m, const Tensor& w, const Tensor& x);

}  // namespace tenon::compress
