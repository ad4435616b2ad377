// Quantising a checkpoint: a folder in, a smaller folder out that Tenon, Transformers, AutoAWQ and vLLM open.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tenon/compress/block_quantizer.h"

namespace tenon {

/// What is known while it goes on.
struct QuantizeProgress {
  int64_t layer = 0, layers = 0;  // decoder layers done; in all
  double seconds = 0, left = 0;   // spent; still to come, as far as can be told
};

struct QuantizeOptions {
  compress::BlockOptions block;
  std::string format;                   // of the int4 methods: "awq", "gptq" or "compressed-tensors"; "" = awq, or gptq for GPTQ
  int64_t samples = 128, length = 512;  // calibration: windows, and tokens in each
  int64_t held_out = 32;                // windows that perplexity is measured on; 0 = not measured
  std::vector<std::string> modules_to_not_convert;  // layers whose name holds one of these stay as they are
  int64_t max_shard_bytes = int64_t{5} << 30;
  int threads = 0;
  std::function<bool(const QuantizeProgress&)> progress = {};  // false: stop with Error(Limit), nothing is written
};

struct QuantizeReport {
  std::vector<compress::LayerReport> layers;
  std::vector<double> errors;  // of each decoder layer: |y' - y|^2 / |y|^2 of what it adds, on the text held out, errors before it included
  std::vector<std::string> notes;
  int64_t windows = 0, length = 0;  // what calibration ran on
  int64_t bytes_before = 0, bytes_after = 0;
  double perplexity_before = 0, perplexity_after = 0;  // 0: not measured
  double seconds = 0;

  int64_t quantized() const;
};

/// Quantises the Linears of a decoder's layers; embeddings, norms, routers and the head stay as they are. One layer at a time is in memory
/// as float32, beside what the calibration windows are at that layer, so that the model may be larger than memory.
///
/// texts calibrate (AWQ, GPTQ, SmoothQuant) and, their last tenth, measure perplexity, unless held_out_texts do. Without texts the methods
/// that need none (rtn, fp8, int8 without smoothing) still work.
/// What cannot be quantised is left and listed in the report; inputs or weights that are not finite are named there, too.
/// Errors: as models::load() and Tokenizer::from_folder(); Error(Type) for a checkpoint that is no decoder, or quantised already;
/// Error(Limit) for calibration text of less than 32 tokens and options that do not fit; Error(Format) if no layer can be quantised;
/// Error(File).
QuantizeReport quantize(const std::string& folder, const std::string& output, std::span<const std::string> texts,
                        std::span<const std::string> held_out_texts, const QuantizeOptions& options);

}  // namespace tenon
