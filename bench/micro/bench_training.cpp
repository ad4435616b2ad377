// Times training steps (forward, backward, AdamW) of models with random weights, and says which ops the time goes to.
//
// tenon_bench_training [distilbert|mixtral|bert] [f32|bf16] [checkpoint] [dropout] [ops]
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "peak.h"
#include "tenon/models/registry.h"
#include "tenon/train/tape.h"

using namespace tenon;

namespace {

/// Hands everything on to a tape and adds up the time between records, and that of each backward.
class Timing final : public Recorder {
 public:
  explicit Timing(train::Tape& tape) : tape_(tape), last_(bench::now()) {}

  bool wants(const Tensor& t) const override { return tape_.wants(t); }
  void record(std::string_view op, std::vector<Tensor> outputs, std::vector<Tensor> inputs, Backward backward) override {
    std::string name(op);
    if (!inputs.empty() && inputs.back().defined() && name == "linear") name += " " + std::to_string(outputs[0].size(-1));
    const double now = bench::now();
    forward[name] += now - last_;
    const auto timed = [this, name, backward = std::move(backward)](Context& c, std::span<const Tensor> dy) {
      const double start = bench::now();
      std::vector<Tensor> dx = backward(c, dy);
      this->backward[name] += bench::now() - start;
      return dx;
    };
    tape_.record(op, std::move(outputs), std::move(inputs), timed);
    last_ = bench::now();
  }

  std::map<std::string, double> forward, backward;

 private:
  train::Tape& tape_;
  double last_;
};

struct Workload {
  const char* config;
  int64_t B, T, vocab;
  bool per_token;  // whether labels are tokens
};

const std::map<std::string, Workload>& workloads() {
  static const std::map<std::string, Workload> all = {
      {"distilbert", {R"({"model_type": "distilbert", "architectures": ["DistilBertForSequenceClassification"]})", 8, 128, 30522, false}},
      {"bert", {R"({"model_type": "bert", "architectures": ["BertForMaskedLM"]})", 8, 128, 30522, true}},
      {"mixtral",
       {R"({"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "vocab_size": 8192, "hidden_size": 512, "num_hidden_layers": 4,
            "intermediate_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 8, "num_local_experts": 16, "num_experts_per_tok": 2,
            "max_position_embeddings": 512, "output_router_logits": true})",
        8, 256, 8192, true}},
  };
  return all;
}

double resident_mib(const char* key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.compare(0, std::strlen(key), key) == 0) return std::atof(line.c_str() + std::strlen(key) + 1) / 1024;
  return 0;
}

void adamw(Context& ctx, Tensor& p, const Tensor& g, Tensor& m, Tensor& v, int step) {
  AdamWCall c{.lr = 1e-4f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0.01f};
  c.correction1 = 1 - static_cast<float>(std::pow(0.9, step)), c.correction2 = 1 - static_cast<float>(std::pow(0.999, step));
  float *p0 = p.data<float>(), *m0 = m.data<float>(), *v0 = v.data<float>();
  const float* g0 = g.data<float>();
  ctx.over_rows(p.numel(), 4, [&](int64_t begin, int64_t end) {
    AdamWCall part = c;
    part.p = p0 + begin, part.m = m0 + begin, part.v = v0 + begin, part.g = g0 + begin, part.n = end - begin;
    ctx.kernels().adamw(part);
  });
}

void print(const char* title, const std::map<std::string, double>& times, int steps) {
  std::vector<std::pair<double, std::string>> order;
  double total = 0;
  for (const auto& [name, t] : times) order.emplace_back(t / steps, name), total += t / steps;
  std::sort(order.rbegin(), order.rend());
  std::printf("%s %.0f ms\n", title, total * 1e3);
  for (const auto& [t, name] : order)
    if (t > 1e-4) std::printf("  %-24s %8.2f ms\n", name.c_str(), t * 1e3);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  const auto has = [&](const char* word) { return std::find(args.begin(), args.end(), word) != args.end(); };
  const Workload& w = workloads().at(has("mixtral") ? "mixtral" : has("bert") ? "bert" : "distilbert");
  Context ctx;
  const auto model = models::from_config(ctx, Json::parse(w.config), {.pack = false});
  models::Inputs in;
  std::vector<int64_t> ids, labels;
  for (int64_t i = 0; i < w.B * w.T; ++i) ids.push_back(i * 7919 % w.vocab);
  for (int64_t i = 0; i < w.B; ++i) labels.push_back(i % 2);
  in.input_ids = Tensor::from(ids, {w.B, w.T});
  in.labels = w.per_token ? Tensor::from(ids, {w.B, w.T}) : Tensor::from(labels, {w.B});
  ctx.set_training({.dropout = has("dropout"), .matmul = has("bf16") ? DType::BF16 : DType::F32, .checkpoint = has("checkpoint")});
  auto parameters = model->parameters();
  std::vector<Tensor> m, v;
  train::Tape tape;
  int64_t count = 0;
  for (const auto& [name, p] : parameters) {
    tape.watch(p);
    m.push_back(Tensor::zeros(p.shape(), DType::F32));
    v.push_back(Tensor::zeros(p.shape(), DType::F32));
    count += p.numel();
  }
  std::printf("process before the first step: %.0f MiB now, %.0f MiB at most\n", resident_mib("VmRSS:"), resident_mib("VmHWM:"));
  Timing timing(tape);
  double best = 1e30, best_forward = 0, best_backward = 0, loss = 0;
  const int steps = 6;
  for (int step = 1; step <= steps; ++step) {
    if (step == 2) timing.forward.clear(), timing.backward.clear();
    const double start = bench::now();
    if (has("ops")) ctx.set_recorder(&timing);
    else ctx.set_recorder(&tape);
    const Tensor result = model->forward(ctx, in).loss;
    ctx.set_recorder(nullptr);
    loss = result.item();
    const double middle = bench::now();
    tape.backward(ctx, result);
    const double end = bench::now();
    for (size_t i = 0; i < parameters.size(); ++i)
      if (const Tensor g = tape.grad(parameters[i].second); g.defined()) adamw(ctx, parameters[i].second, g, m[i], v[i], step);
    tape.clear();
    const double all = bench::now() - start;
    std::printf("step %d: forward %.0f ms, backward %.0f ms, optimiser %.0f ms, together %.0f ms; loss %.4f\n", step, (middle - start) * 1e3,
                (end - middle) * 1e3, (all - (end - start)) * 1e3, all * 1e3, loss);
    if (all < best) best = all, best_forward = middle - start, best_backward = end - middle;
  }
  if (has("ops")) print("forward", timing.forward, steps - 1), print("backward", timing.backward, steps - 1);
  std::printf("%.1f M parameters, %d threads: best step %.0f ms (forward %.0f, backward %.0f); at most %.0f MiB in the pool, %.0f in all\n",
              static_cast<double>(count) * 1e-6, ctx.threads(), best * 1e3, best_forward * 1e3, best_backward * 1e3,
              static_cast<double>(ctx.pool().peak_bytes()) / (1 << 20), resident_mib("VmHWM:"));
}
