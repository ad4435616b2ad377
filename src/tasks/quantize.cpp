// From a folder to a smaller folder, one decoder layer at a time.
#include "tenon/tasks/quantize.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <set>

#include "tasks/quantized_folder.h"
#include "tenon/io/checkpoint.h"
#include "tenon/io/files.h"
#include "tenon/io/mapped_file.h"
#include "tenon/models/decoder_walk.h"
#include "tenon/models/registry.h"
#include "tenon/tasks/token_windows.h"

namespace tenon {
namespace {

using compress::BlockQuantizer;
using compress::Method;

/// What windows are before the layer that comes next; a part is some whole windows.
struct Stream {
  int64_t length = 0;
  std::vector<Tensor> parts;  // (windows * length, C) f32

  int64_t rows() const {
    int64_t n = 0;
    for (const Tensor& p : parts) n += p.size(0);
    return n;
  }
};

Stream embed(Context& ctx, const models::DecoderWalk& walk, const tasks::TokenWindows& windows) {
  constexpr int64_t kRows = 4096;  // of a part, at most
  const int64_t each = std::max<int64_t>(1, kRows / std::max<int64_t>(windows.length, 1));
  Stream s{windows.length, {}};
  for (int64_t i = 0; i < windows.size(); i += each) {
    const int64_t end = std::min(i + each, windows.size());
    s.parts.push_back(walk.embed(ctx, windows.part(i, end), end - i).clone());
  }
  return s;
}

nn::DecoderRows rows_of(Context& ctx, const models::DecoderWalk& walk, const Stream& s, const Tensor& part) {
  return walk.rows(ctx, part.size(0) / s.length, s.length);
}

void run(Context& ctx, const models::DecoderWalk& walk, const nn::DecoderBlock& block, Stream& s) {
  for (Tensor& x : s.parts)
    x = block.forward(ctx, x, rows_of(ctx, walk, s, x)).clone();  // not the pool's memory: layers differ in what they need
}

/// exp of the mean negative log-probability of each window's tokens after its first.
double perplexity(Context& ctx, const models::DecoderWalk& walk, const Stream& s, const tasks::TokenWindows& windows) {
  double sum = 0;
  int64_t count = 0, at = 0;
  for (const Tensor& part : s.parts) {
    const Tensor logits = walk.logits(ctx, part);
    const int64_t V = logits.size(1);
    const float* all = logits.data<float>();
    for (int64_t r = 0; r < part.size(0); ++r, ++at) {
      if ((at + 1) % s.length == 0) continue;
      const float* row = all + r * V;
      const float most = *std::max_element(row, row + V);
      double total = 0;
      for (int64_t v = 0; v < V; ++v) total += std::exp(static_cast<double>(row[v]) - most);
      sum += most + std::log(total) - row[windows.ids[static_cast<size_t>(at) + 1]];
      ++count;
    }
  }
  return std::exp(sum / static_cast<double>(std::max<int64_t>(count, 1)));
}

/// |y' - y|^2 / |y - x|^2 over all parts: how wrong what a layer adds has become.
double relative_error(const Stream& before, const Stream& right, const Stream& wrong) {
  double change = 0, whole = 0;
  for (size_t i = 0; i < right.parts.size(); ++i) {
    const float *x = before.parts[i].data<float>(), *y = right.parts[i].data<float>(), *z = wrong.parts[i].data<float>();
    for (int64_t k = 0; k < right.parts[i].numel(); ++k) {
      change += (static_cast<double>(z[k]) - y[k]) * (static_cast<double>(z[k]) - y[k]);
      whole += (static_cast<double>(y[k]) - x[k]) * (static_cast<double>(y[k]) - x[k]);
    }
  }
  return change / std::max(whole, 1e-30);
}

/// Makes a layer's parameters float32 tensors of their own memory, and puts the mapped ones back.
class Resident final : public nn::Visitor {
 public:
  void parameter(const std::string& name, Tensor& t, const Shape&, const nn::ParameterInfo&) override {
    if (!t.defined()) return;
    if (releasing_) {
      const auto it = mapped_.find(name);
      if (it == mapped_.end()) return;
      t = it->second;
      io::release_pages(t);
    } else {
      mapped_[name] = t;
      t = t.dtype() == DType::F32 ? t.clone() : t.to(DType::F32);
    }
  }
  void release() { releasing_ = true; }
  const std::map<std::string, Tensor>& mapped() const { return mapped_; }

 private:
  std::map<std::string, Tensor> mapped_;
  bool releasing_ = false;
};

/// A layer's Linears by name, and its parameters as they are now.
class Listing final : public nn::Visitor {
 public:
  void parameter(const std::string& name, Tensor& t, const Shape&, const nn::ParameterInfo&) override { parameters.emplace_back(name, t); }
  void linear(const std::string& name, nn::Linear& l) override {
    linears.emplace_back(name, &l);
    l.visit(name, *this);
  }
  void packed_elsewhere(const std::string& name, nn::Linear& l) override { linear(name, l); }
  std::vector<std::pair<std::string, nn::Linear*>> linears;
  std::vector<std::pair<std::string, Tensor>> parameters;
};

void check_options(const QuantizeOptions& o) {
  const auto& b = o.block;
  check(b.method == Method::Int8 || (b.group > 0 && b.group % 32 == 0), ErrorCode::Limit, "quantize",
        "group size: expected a multiple of 32, got ", b.group);
  check(o.samples > 0 && o.length > 1 && o.held_out >= 0, ErrorCode::Limit, "quantize", "expected windows of 2 tokens or more, got ",
        o.samples, " of ", o.length);
  check(!b.smooth || (*b.smooth >= 0 && *b.smooth <= 1), ErrorCode::Limit, "quantize", "smooth: expected 0 to 1, got ",
        b.smooth.value_or(0));
  check(b.damp_percent > 0 && b.damp_percent < 1, ErrorCode::Limit, "quantize", "damp_percent: expected between 0 and 1, got ",
        b.damp_percent);
  check(b.few >= 0 && b.sample > 0 && b.scales.grid > 0, ErrorCode::Limit, "quantize", "expected sizes of 1 or more");
  check(o.max_shard_bytes > 0, ErrorCode::Limit, "quantize", "max_shard_bytes: expected a positive size, got ", o.max_shard_bytes);
}

}  // namespace

int64_t QuantizeReport::quantized() const {
  return std::count_if(layers.begin(), layers.end(), [](const compress::LayerReport& l) { return l.quantized; });
}

QuantizeReport quantize(const std::string& folder, const std::string& output, std::span<const std::string> texts,
                        std::span<const std::string> held_out_texts, const QuantizeOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  check_options(options);
  compress::BlockOptions block_options = options.block;
  tasks::QuantizedFolder to(folder, output, block_options, options.format);
  block_options.skip = [&options](const std::string& name) {
    return std::any_of(options.modules_to_not_convert.begin(), options.modules_to_not_convert.end(),
                       [&](const std::string& part) { return !part.empty() && name.find(part) != std::string::npos; });
  };
  Context ctx(options.threads);
  const std::unique_ptr<models::Model> model = models::load(ctx, folder, {.mapped = true, .config_overrides = {}});
  auto* decoder = dynamic_cast<models::Decoder*>(model.get());
  check(decoder, ErrorCode::Type, "quantize", "expected a decoder (Llama, Qwen, Mixtral, DeepSeek, ...), got ", model->class_name());
  models::DecoderWalk walk(*decoder);

  QuantizeReport report;
  const bool needs_text = options.block.method == Method::Awq || options.block.method == Method::Gptq || options.block.smooth;
  check(!texts.empty() || !needs_text, ErrorCode::Limit, "calibration text", "expected text, got none; ",
        compress::name_of(options.block.method), " looks at what layers see of it");
  tasks::TokenWindows calibration, held_out;
  if (!texts.empty()) {
    const text::Tokenizer tokenizer = text::Tokenizer::from_folder(folder);
    const int64_t length = std::min(options.length, decoder->decoder_config().max_position_embeddings);
    const bool own = !held_out_texts.empty();
    calibration = tasks::token_windows(tokenizer, texts, length, options.samples + (own ? 0 : options.held_out));
    if (own && options.held_out > 0) {
      held_out = tasks::token_windows(tokenizer, held_out_texts, length, options.held_out);
    } else if (options.held_out > 0) {
      // The last tenth, or as many windows as were asked for.
      const int64_t n = calibration.size(), last = std::min(options.held_out, n <= options.samples ? n / 10 : n - options.samples + n / 10);
      if (last > 0) {
        const auto from = calibration.ids.end() - last * calibration.length;
        held_out = {calibration.length, {from, calibration.ids.end()}};
        calibration.ids.erase(from, calibration.ids.end());
      } else {
        report.notes.push_back("perplexity is that of the calibration text itself, which is too short to keep a part of it back");
        held_out = calibration;
      }
    }
    if (calibration.size() < options.samples && needs_text)
      report.notes.push_back("calibrated on " + std::to_string(calibration.size()) + " windows of " + std::to_string(calibration.length) +
                             " tokens; " + std::to_string(options.samples) + " of " + std::to_string(options.length) + " were asked for");
    report.windows = calibration.size(), report.length = calibration.length;
  }
  Stream x = embed(ctx, walk, calibration), right = embed(ctx, walk, held_out), wrong = right;

  for (int64_t i = 0; i < walk.layers(); ++i) {
    Resident resident;
    walk.visit(i, resident);
    const nn::DecoderBlock block = walk.block(i);
    Listing before;
    walk.visit(i, before);
    BlockQuantizer quantizer(ctx, block, before.linears, block_options);
    Stream next = x;
    for (size_t p = 0; p < x.parts.size(); ++p)
      next.parts[p] = quantizer.observe(ctx, x.parts[p], rows_of(ctx, walk, x, x.parts[p]), x.rows()).clone();
    const Stream held_before = right;
    run(ctx, walk, block, right);

    Tensor sample;
    if (!x.parts.empty()) {  // whole windows, evenly spread
      const int64_t count = std::clamp<int64_t>(block_options.sample / x.length, 1, calibration.size()), C = x.parts[0].size(1),
                    each = x.parts[0].size(0) / x.length;
      sample = Tensor::empty({count * x.length, C}, DType::F32);
      for (int64_t w = 0; w < count; ++w) {
        const int64_t at = w * calibration.size() / count;
        const Tensor& part = x.parts[static_cast<size_t>(at / each)];
        std::copy_n(part.data<float>() + at % each * x.length * C, x.length * C, sample.data<float>() + w * x.length * C);
      }
    }
    compress::BlockResult result =
        quantizer.quantize(sample, sample.defined() ? walk.rows(ctx, sample.size(0) / x.length, x.length) : nn::DecoderRows());
    run(ctx, walk, block, wrong);
    report.errors.push_back(relative_error(held_before, right, wrong));
    // GPTQ makes good what the layers before have lost; AWQ looks at what the model itself would see.
    if (options.block.method == Method::Gptq)
      run(ctx, walk, block, x);
    else
      x = std::move(next);

    Listing after;
    walk.visit(i, after);
    to.add_layer(ctx, after.parameters, resident.mapped(), result.weights);
    for (compress::LayerReport& l : result.layers) report.layers.push_back(std::move(l));
    resident.release();
    walk.visit(i, resident);
    const double spent = seconds(), left = spent / static_cast<double>(i + 1) * static_cast<double>(walk.layers() - i - 1);
    check(!options.progress || options.progress({i + 1, walk.layers(), spent, left}), ErrorCode::Limit, "quantize",
          "stopped on request; nothing was written");
  }
  check(report.quantized() > 0, ErrorCode::Format, "quantize", "no layer can be quantised",
        report.layers.empty() ? "" : "; " + report.layers.front().name + ": " + report.layers.front().note);
  if (walk.has_head() && held_out.size() > 0) {
    report.perplexity_before = perplexity(ctx, walk, right, held_out);
    report.perplexity_after = perplexity(ctx, walk, wrong, held_out);
  }
  to.finish(*decoder, report.layers, options.max_shard_bytes);
  report.bytes_before = to.bytes_before(), report.bytes_after = to.bytes_after();
  report.seconds = seconds();
  return report;
}

}  // namespace tenon
