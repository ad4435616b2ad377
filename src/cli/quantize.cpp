// tenon quantize: makes a smaller checkpoint of a decoder, on a text of the user's.
#include "tenon/tasks/quantize.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "cli/command.h"
#include "tenon/io/files.h"

namespace tenon::cli {
namespace {

double share(const Args& args, const std::string& name, double fallback) {
  if (!args.has(name)) return fallback;
  const std::string text = args.text(name);
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end || !(value > 0 && value <= 1))
    throw UsageError("--" + name + ": expected a number up to 1, got \"" + text + "\"");
  return value;
}

/// One line that is written over on a terminal, else a line for each layer.
bool show(const QuantizeProgress& p, bool terminal) {
  std::fprintf(stderr, "%slayer %lld of %lld  %.0f s, %.0f s left%s", terminal ? "\r" : "", static_cast<long long>(p.layer),
               static_cast<long long>(p.layers), p.seconds, p.left, terminal && p.layer != p.layers ? "   " : "\n");
  std::fflush(stderr);
  return true;
}

std::vector<std::string> texts_of(const Args& args, const char* option) {
  std::vector<std::string> texts;
  for (const std::string& path : args.list(option)) texts.push_back(io::read_file(path));
  return texts;
}

/// Layers with the same note together: "left: 24 layers (a router or gate stays precise), such as ...".
void print_notes(const QuantizeReport& report, bool quantized) {
  std::vector<std::string> seen;
  for (const compress::LayerReport& l : report.layers) {
    if (l.quantized != quantized || l.note.empty() || std::find(seen.begin(), seen.end(), l.note) != seen.end()) continue;
    seen.push_back(l.note);
    const auto count = std::count_if(report.layers.begin(), report.layers.end(), [&](const compress::LayerReport& other) {
      return other.quantized == quantized && other.note == l.note;
    });
    std::printf("%s: %s%s (%s)\n", quantized ? "note" : "left as it is", l.name.c_str(),
                count > 1 ? (" and " + std::to_string(count - 1) + " more").c_str() : "", l.note.c_str());
  }
}

void print_layers(const QuantizeReport& report) {
  std::printf("%-60s %9s %6s %8s  %s\n", "layer", "error", "ratio", "tokens", "note");
  for (const compress::LayerReport& l : report.layers) {
    char error[16] = "", ratio[16] = "", tokens[24] = "";
    if (l.quantized && l.error > 0) std::snprintf(error, sizeof error, "%.2e", l.error);
    if (l.ratio > 0) std::snprintf(ratio, sizeof ratio, "%.2f", l.ratio);
    if (l.name.find(".experts.") != std::string::npos) std::snprintf(tokens, sizeof tokens, "%lld", static_cast<long long>(l.tokens));
    std::printf("%-60s %9s %6s %8s  %s\n", l.name.c_str(), error, ratio, tokens, l.note.c_str());
  }
}

int run(const Args& args) {
  const std::string folder = model_argument(args);
  if (args.positional().size() != 1) throw UsageError("expected one checkpoint's folder");
  if (!args.has("output")) throw UsageError("expected --output FOLDER: where the quantised checkpoint goes");
  QuantizeOptions o;
  try {
    o.block.method = compress::parse_method(args.text("method", "awq"));
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  o.block.group = args.number("group-size", 128, 32, 1 << 20);
  o.block.symmetric = args.has("symmetric") || (o.block.method == compress::Method::Gptq && !args.has("asymmetric"));
  o.block.clip = !args.has("no-clip");
  o.block.desc_act = args.has("desc-act");
  o.block.damp_percent = share(args, "damp", 0.01);
  if (args.has("smooth")) o.block.smooth = static_cast<float>(share(args, "smooth", 0.5));
  o.format = args.text("format");
  o.samples = args.number("samples", 128, 1, 1 << 20);
  o.length = args.number("length", 512, 2, 1 << 20);
  o.held_out = args.number("held-out-windows", 32, 0, 1 << 20);
  o.modules_to_not_convert = args.list("skip");
  o.threads = static_cast<int>(args.number("threads", 0, 0, 4096));
  const bool terminal = isatty(STDERR_FILENO) != 0;
  o.progress = [&](const QuantizeProgress& p) { return show(p, terminal); };

  const QuantizeReport report = quantize(folder, args.text("output"), texts_of(args, "text"), texts_of(args, "held-out"), o);
  if (args.has("layers")) print_layers(report);
  print_notes(report, false);
  print_notes(report, true);
  for (const std::string& note : report.notes) std::printf("note: %s\n", note.c_str());
  std::printf("%s of %s layers quantised by %s in %.1f s", grouped(report.quantized()).c_str(),
              grouped(static_cast<long long>(report.layers.size())).c_str(), compress::name_of(o.block.method), report.seconds);
  if (report.windows)
    std::printf(", %lld windows of %lld tokens", static_cast<long long>(report.windows), static_cast<long long>(report.length));
  std::printf("\nsize        %s before, %s after (%.1f %%)\n", bytes_text(static_cast<double>(report.bytes_before)).c_str(),
              bytes_text(static_cast<double>(report.bytes_after)).c_str(),
              100 * static_cast<double>(report.bytes_after) / static_cast<double>(std::max<int64_t>(report.bytes_before, 1)));
  if (report.perplexity_before > 0)
    std::printf("perplexity  %.4f before, %.4f after (%+.2f %%)\n", report.perplexity_before, report.perplexity_after,
                100 * (report.perplexity_after / report.perplexity_before - 1));
  std::printf("saved to %s\n", args.text("output").c_str());
  return 0;
}

}  // namespace

Command quantize_command() {
  return {"quantize",
          "FOLDER --text FILE --output FOLDER",
          "make a checkpoint four times smaller: AWQ, GPTQ, int8, FP8",
          "Any decoder serves: dense, mixtures of experts, latent attention. AWQ and GPTQ look at what each layer sees of the text, which "
          "should be\n"
          "like what the model will read; 100 kB suffice. One layer at a time is in memory, so that the model may be larger than memory.\n"
          "Embeddings, norms, routers and the head stay as they are. The output is a checkpoint that tenon, Transformers, AutoAWQ and vLLM "
          "open.\n\n"
          "Examples\n"
          "  tenon quantize llama --text notes.txt --output llama-awq\n"
          "  tenon quantize mixtral --method gptq --desc-act --text notes.txt --held-out test.txt --output mixtral-gptq\n"
          "  tenon quantize llama --method fp8 --output llama-fp8",
          {{"method", "NAME", "awq (default), gptq, rtn (rounding to nearest), int8, fp8"},
           {"text", "FILES", "text to calibrate on; its last tenth measures perplexity"},
           {"held-out", "FILES", "text to measure perplexity on instead"},
           {"output", "FOLDER", "where the quantised checkpoint goes"},
           {"group-size", "N", "weights that share a scale; fp8: the side of a block (default 128)"},
           {"symmetric", "", "4 bits without zero points (GPTQ's default)"},
           {"asymmetric", "", "GPTQ with zero points"},
           {"format", "NAME", "of 4 bits: awq, gptq or compressed-tensors (default: as the method)"},
           {"skip", "NAMES", "layers whose name holds one of these stay as they are"},
           {"no-clip", "", "awq: without the search for limits"},
           {"desc-act", "", "gptq: columns with the largest inputs first"},
           {"damp", "X", "gptq: damping of the Hessian (default 0.01)"},
           {"smooth", "X", "int8: SmoothQuant's exponent, such as 0.5 (default: plain rounding)"},
           {"samples", "N", "calibration windows (default 128)"},
           {"length", "N", "tokens of a window (default 512)"},
           {"held-out-windows", "N", "windows that measure perplexity, 0 = none (default 32)"},
           {"layers", "", "print the error of each layer"},
           {"threads", "N", "threads to use"}},
          run};
}

}  // namespace tenon::cli
