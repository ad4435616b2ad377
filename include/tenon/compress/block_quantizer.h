// Quantises one decoder layer with what it saw of the calibration text: AWQ, GPTQ, SmoothQuant, or plain rounding.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tenon/compress/input_capture.h"
#include "tenon/nn/decoder_block.h"

namespace tenon::compress {

enum class Method : uint8_t { Awq, Gptq, Rtn, Int8, Fp8 };

/// "awq", "gptq", "rtn", "int8", "fp8". Errors: Error(Format) listing them.
Method parse_method(const std::string& name);
const char* name_of(Method method);

struct BlockOptions {
  Method method = Method::Awq;
  int64_t group = 128;     // Int4: columns that share a scale; Fp8: the side of a block
  bool symmetric = false;  // Int4: zero points are all 8
  ScaleSearch scales;
  bool clip = true;                              // AWQ: also searches limits, except for queries and keys
  double damp_percent = 0.01;                    // GPTQ
  bool desc_act = false;                         // GPTQ
  std::optional<float> smooth;                   // Int8: SmoothQuant's alpha; none = plain rounding
  int64_t sample = 2048;                         // rows of a layer's input that searches look at
  int64_t few = 32;                              // an expert with fewer tokens than this is searched on those of all
  std::function<bool(const std::string&)> skip;  // layers to leave as they are, by name

  Rounding rounding() const;
};

/// What became of one layer.
struct LayerReport {
  std::string name;
  bool quantized = false;
  std::string note;    // why it was left, or what was done otherwise than asked; "" if all went as asked
  double error = 0;    // |(W' - W) x|^2 / |W x|^2 on the sample, if anything was seen
  double ratio = 0;    // AWQ: the exponent that won, of the group it belongs to
  int64_t tokens = 0;  // an expert's: calibration tokens that came to it
};

/// A quantised weight under its layer's name.
struct QuantizedWeight {
  std::string name;
  quant::QuantizedMatrix matrix;  // Int4, Fp8, or
  Int8Matrix int8;
};

struct BlockResult {
  std::vector<QuantizedWeight> weights;
  std::vector<LayerReport> layers;
};

/// Quantises the Linears of a block whose parameters are plain float32 of its own memory. Afterwards they hold what the quantised ones
/// stand for, norms and layers left out are scaled to fit, and the block can be run on.
class BlockQuantizer {
 public:
  /// linears: the block's, by name, in visiting order.
  BlockQuantizer(Context& ctx, nn::DecoderBlock block, std::vector<std::pair<std::string, nn::Linear*>> linears,
                 const BlockOptions& options);

  /// Lets the block run on calibration text. expected: rows of all calls together.
  /// Shapes: x (N,C) f32 -> (N,C).
  Tensor observe(Context& ctx, const Tensor& x, const nn::DecoderRows& rows, int64_t expected);

  /// sample (N,C) f32 with its rows: what the searches run the block on; may be undefined if the method searches nothing.
  BlockResult quantize(const Tensor& sample, const nn::DecoderRows& rows);

 private:
  struct Fate {
    LayerReport report;
    bool left = false, odd = false;  // odd: its inputs were not finite
  };
  bool smooths() const { return options_.method == Method::Int8 && options_.smooth.has_value(); }
  bool scales() const { return options_.method == Method::Awq || smooths(); }
  Fate* fate(const nn::Linear& l) const;
  LayerInputs* inputs(const nn::Linear& l) const;
  bool usable(const ScaleGroup& group, const LayerInputs* inputs);
  std::vector<float> scale(ScaleGroup group, LayerInputs& inputs);
  void scale_attention(const Tensor& sample, const nn::DecoderRows& rows);
  void scale_mlp(nn::Mlp& mlp);
  void scale_norm2();
  void finish(nn::Linear& l, const Tensor& sample, const Hessian* hessian);
  void finish_expert(size_t e);
  Tensor expert_rows(size_t e) const;

  Context& ctx_;
  nn::DecoderBlock block_;
  std::vector<std::pair<std::string, nn::Linear*>> linears_;
  BlockOptions options_;
  Rounding rounding_;
  std::unique_ptr<InputCapture> capture_;
  std::map<const nn::Linear*, std::unique_ptr<Fate>> fates_;
  std::vector<ops::ExpertRows> routes_;  // of each pass
  std::vector<QuantizedWeight> done_;
};

}  // namespace tenon::compress
