// tenon bench: how fast a checkpoint runs here.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <optional>

#include "cli/bench_decoder.h"
#include "cli/command.h"
#include "cli/profile.h"
#include "tenon/models/registry.h"
#include "tenon/nn/linear.h"

namespace tenon::cli {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::time_point since) { return std::chrono::duration<double, std::milli>(Clock::now() - since).count(); }

double seconds() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

double peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024 / 1e6;
}

/// What one forward pass works on.
struct Work {
  models::Inputs inputs;
  int64_t batch = 0, tokens = 0, patches = 0;  // per sequence; 0 where there are none
};

const Json& part(const Json& config, const char* name) {
  const Json* p = config.get(name);
  return p && p->is_object() ? *p : config;
}

Work make_work(const Json& config, int64_t batch, int64_t length) {
  Work work;
  work.batch = batch;
  Random random(0);
  const std::string type = config.value("model_type", "");
  const bool clip = type == "clip", vision = type == "vit" || type == "clip_vision_model";
  if (!vision) {
    const int64_t vocabulary = part(config, "text_config").value("vocab_size", 30522);
    work.tokens = std::min(length, part(config, "text_config").value("max_position_embeddings", length));
    std::vector<int32_t> ids(static_cast<size_t>(batch * work.tokens));
    for (int32_t& id : ids)
      id = static_cast<int32_t>(vocabulary / 4 + random.next() % static_cast<uint64_t>(std::max<int64_t>(1, vocabulary / 2)));
    const Shape shape{batch, work.tokens};
    work.inputs.input_ids = Tensor::from(ids, shape);
    work.inputs.attention_mask = Tensor::from(std::vector<int32_t>(ids.size(), 1), shape);
  }
  if (vision || clip) {
    const Json& c = part(config, "vision_config");
    const int64_t size = c.value("image_size", 224), patch = c.value("patch_size", clip ? 32 : 16);
    work.patches = (size / patch) * (size / patch) + 1;
    work.inputs.pixel_values = Tensor::empty({batch, c.value("num_channels", 3), size, size}, DType::F32);
    for (int64_t i = 0; i < work.inputs.pixel_values.numel(); ++i) work.inputs.pixel_values.data<float>()[i] = random.normal();
  }
  return work;
}

/// Floating point operations of a forward pass: two per weight of a Linear and row that meets it, and those of attention.
class Counter final : public nn::Visitor {
 public:
  explicit Counter(const Work& work) : work_(work) {}
  void parameter(const std::string&, Tensor&, const Shape&, const nn::ParameterInfo&) override {}
  void linear(const std::string& name, nn::Linear& layer) override {
    const bool image = !work_.tokens || (work_.patches && name.rfind("vision_model", 0) == 0);
    const int64_t length = image ? work_.patches : work_.tokens;
    const double rows = static_cast<double>(work_.batch) * static_cast<double>(layer.precise() ? 1 : length);
    const double width = static_cast<double>(layer.out_features());
    total += 2 * rows * static_cast<double>(layer.in_features()) * width;
    const bool query = name.ends_with("query") || name.ends_with("q_lin") || name.ends_with("q_proj");
    if (query) total += 4 * rows * static_cast<double>(length) * width;
  }
  double total = 0;

 private:
  const Work& work_;
};

struct Timing {
  double median, least, most;
  size_t runs;
};

Timing measure(const models::Model& model, Context& ctx, const Work& work, long repeat) {
  for (int i = 0; i < 2; ++i) model.forward(ctx, work.inputs);
  std::vector<double> times;
  const Clock::time_point start = Clock::now();
  constexpr double kEnough = 3000;  // milliseconds
  while (repeat > 0 ? times.size() < static_cast<size_t>(repeat) : times.size() < 5 || milliseconds(start) < kEnough) {
    const Clock::time_point begin = Clock::now();
    model.forward(ctx, work.inputs);
    times.push_back(milliseconds(begin));
  }
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times.front(), times.back(), times.size()};
}

/// Where the time of a forward pass goes.
Json profile_pass(const models::Model& model, Context& ctx, const Work& work, Profile& profile, const Limits& limits) {
  constexpr int kTimes = 5;
  profile.learn(model, ctx);
  profile.reset();
  const double start = seconds();
  for (int i = 0; i < kTimes; ++i) model.forward(ctx, work.inputs);
  const double wall = (seconds() - start) / kTimes;
  std::vector<Profile::Part> parts = profile.parts();
  for (Profile::Part& p : parts) p.seconds /= kTimes, p.operations /= kTimes, p.bytes /= kTimes;
  print_profile("a forward pass", parts, wall, ctx.threads(), limits);
  return Json::Array{profile_json("a forward pass", parts, wall, ctx.threads())};
}

/// The limits beside which the shares stand; with --json everything as a file. Errors: Error(File).
void report(const Args& args, const std::string& folder, const Json& passes, const Limits& limits) {
  std::printf("\nmost that this machine does: %.0f / %.0f / %.0f GFLOP/s in float32 / bfloat16 / int8, reading %.1f GB/s (0: no such instruction)\n", limits.f32,
              limits.bf16, limits.int8, limits.read);
  std::printf("of roof: of what the kind could reach, given how often each of its bytes is used\n");
  if (!args.has("json")) return;
  Json all;
  all.set("model", folder), all.set("kernels", cpu_kernels().name), all.set("limits", limits_json(limits)), all.set("passes", passes);
  const std::string path = args.text("json");
  std::ofstream out(path);
  out << all.dump(1) << "\n";
  out.close();
  check(out.good(), ErrorCode::File, "bench", path, ": cannot write");
}

int run(const Args& args) {
  const std::string folder = model_argument(args);
  const bool all = args.text("precision") == "all";
  PipelineOptions options = pipeline_options(all ? Args(0, nullptr, {}) : args);
  options.exact_products = args.has("exact");
  if (all && options.exact_products) throw UsageError("--exact: not with --precision all, since int8 rounds activations");
  const long batch = args.number("batch", 1, 1, 65536), length = args.number("length", 128, 1, 1 << 20),
             repeat = args.number("repeat", 0, 1, 1 << 20);
  const long threads = args.number("threads", 0, 0, 4096);
  const bool layers = args.has("layers") || args.has("json");
  if (all && layers) throw UsageError("--layers: not with --precision all");
  std::vector<models::Precision> precisions = {options.precision};
  std::optional<Profile> profile;
  Limits limits;
  if (layers) limits = measure_limits(cpu_kernels(), Context(static_cast<int>(threads)).threads());
  if (layers) profile.emplace(cpu_kernels());
  const Kernels& kernels = profile ? profile->kernels() : cpu_kernels();
  Json passes = Json::Array();
  if (args.has("generate")) {
    for (const models::Precision precision : precisions) {
      Context ctx(static_cast<int>(threads), kernels);
      models::LoadOptions load;
      load.precision = precision;
      load.exact_products = options.exact_products;
      const Clock::time_point start = Clock::now();
      const std::unique_ptr<models::Model> model = models::load(ctx, folder, load);
      std::printf("%-20s %8.0f ms to open, %d threads, kernels %s\n", name_of(precision), milliseconds(start), ctx.threads(),
                  cpu_kernels().name);
      std::fflush(stdout);
      passes = bench_decoder(*model, ctx, length, seconds, profile ? &*profile : nullptr, limits);
      std::printf("peak memory            %8.0f MB of the process\n", peak_megabytes());
    }
    if (layers) report(args, folder, passes, limits);
    return 0;
  }
  if (all) precisions = {models::Precision::Float32, models::Precision::BFloat16, models::Precision::Int8};
  std::printf("%-9s %8s %9s %9s %9s %10s %12s %9s %9s\n", "precision", "load ms", "median ms", "least ms", "most ms", "inputs/s",
              "positions/s", "GFLOP/s", "peak MB");
  Work work;
  size_t runs = 0;
  for (const models::Precision precision : precisions) {
    Context ctx(static_cast<int>(threads), kernels);
    models::LoadOptions load;
    load.precision = precision;
    load.exact_products = options.exact_products;
    const Clock::time_point start = Clock::now();
    const std::unique_ptr<models::Model> model = models::load(ctx, folder, load);
    const double load_ms = milliseconds(start);
    work = make_work(model->config(), batch, length);
    Counter counter(work);
    model->visit(counter);
    const Timing t = measure(*model, ctx, work, repeat);
    runs = t.runs;
    const double per_second = static_cast<double>(batch) * 1e3 / t.median;
    std::printf("%-9s %8.0f %9.2f %9.2f %9.2f %10.1f %12.0f %9.1f %9.0f\n", name_of(precision), load_ms, t.median, t.least, t.most,
                per_second, per_second * static_cast<double>(work.tokens + work.patches), counter.total / t.median / 1e6, peak_megabytes());
    std::fflush(stdout);
    if (profile) passes = profile_pass(*model, ctx, work, *profile, limits);
  }
  if (layers) report(args, folder, passes, limits);
  std::printf("\n%zu runs each; batch %ld", runs, batch);
  if (work.tokens) std::printf(", %lld tokens", static_cast<long long>(work.tokens));
  if (work.patches) std::printf(", %lld patches with the class token", static_cast<long long>(work.patches));
  std::printf(", %d threads, kernels %s; peak MB is the process's so far\n", Context(static_cast<int>(threads)).threads(),
              cpu_kernels().name);
  return 0;
}

}  // namespace

Command bench_command() {
  return {
      "bench",
      "FOLDER",
      "how fast a checkpoint runs here",
      "Times forward passes over random token ids or pixels of the checkpoint's sizes, after two that warm up. GFLOP/s counts the\n"
      "products of linear layers and attention. Nothing else should run meanwhile; for other libraries beside it see bench/compare.py.\n\n"
      "Examples\n"
      "  tenon bench bert-base                                  latency of one text of 128 tokens\n"
      "  tenon bench bert-base --batch 8 --precision all        float32, bfloat16 and int8\n"
      "  tenon bench vit-base --batch 8 --precision bfloat16    images\n"
      "  tenon bench bert-base --threads 1 --length 512\n"
      "  tenon bench llama-awq --generate --length 512          a prompt, and the tokens after it\n"
      "  tenon bench llama-awq --generate --layers              and what attention, feed-forward, experts take of it",
      {{"generate", "", "instead: time a prompt of --length tokens and the tokens after it"},
       {"layers", "", "also where the time goes, by kind of layer, beside what the machine can do"},
       {"json", "FILE", "the same as a file, for bench/plot_roofline.py"},
       {"batch", "N", "texts or images per forward pass (default 1)"},
       {"length", "N", "tokens per text (default 128)"},
       {"precision", "P", "float32, bfloat16, int8, int4, fp8 or all (the first three; default float32)"},
       kExactOption,
       {"threads", "N", "threads to use (default: all that this process may)"},
       {"repeat", "N", "forward passes to time (default: 3 seconds of them)"}},
      run};
}

}  // namespace tenon::cli
