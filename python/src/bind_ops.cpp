// Binds ops for the tensors of Python: each call gives the result and, where gradients are wanted, how they are had.
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "bindings.h"
#include "tenon/ops/activation.h"
#include "tenon/ops/attention.h"
#include "tenon/ops/dropout.h"
#include "tenon/ops/elementwise.h"
#include "tenon/ops/embedding.h"
#include "tenon/ops/layer_norm.h"
#include "tenon/ops/linear.h"
#include "tenon/ops/loss.h"
#include "tenon/ops/matmul.h"
#include "tenon/ops/rms_norm.h"
#include "tenon/ops/softmax.h"

namespace tenon::python {
namespace {

/// Keeps what one call recorded, so that its gradients can be had any number of times.
class OpGradient final : public Recorder {
 public:
  explicit OpGradient(std::vector<Tensor> wanted) : wanted_(std::move(wanted)) {
    for (const Tensor& t : wanted_) known_.insert(t.id());
  }

  bool wants(const Tensor& t) const override { return t.defined() && known_.contains(t.id()); }
  void record(std::string_view op, std::vector<Tensor> outputs, std::vector<Tensor> inputs, Backward backward) override {
    check(backward != nullptr, ErrorCode::Type, op, "gradient: this op has no backward, but an input wants a gradient");
    Step step{{}, {}, std::move(backward)};
    for (const Tensor& t : inputs) step.inputs.push_back(wants(t) ? t.id() : 0);
    for (const Tensor& t : outputs) {
      step.outputs.push_back(t.id());
      known_.insert(t.id());
    }
    steps_.push_back(std::move(step));
  }
  /// Names the result, which is the last that may be asked for. True if it depends on what is wanted.
  bool finish(const Tensor& y) {
    result_ = y.id();
    return wants(y) && !steps_.empty();
  }

  /// The gradients of what is wanted, none where the result does not depend on one.
  std::vector<std::optional<Tensor>> backward(const Tensor& dy) const {
    BorrowedContext context(dy.device());
    std::unordered_map<uint64_t, Tensor> gradients{{result_, dy}};
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
      std::vector<Tensor> dys;
      bool reached = false;
      for (const uint64_t id : step->outputs) {
        const auto it = gradients.find(id);
        dys.push_back(it == gradients.end() ? Tensor() : it->second);
        reached |= dys.back().defined();
      }
      if (!reached) continue;
      const std::vector<Tensor> dx = step->backward(*context, dys);
      for (size_t i = 0; i < dx.size(); ++i) {
        if (!step->inputs[i] || !dx[i].defined()) continue;
        Tensor& sum = gradients[step->inputs[i]];
        sum = sum.defined() ? ops::add(*context, sum, dx[i].view(sum.shape())) : dx[i];
      }
    }
    std::vector<std::optional<Tensor>> found;
    for (const Tensor& t : wanted_) {
      const auto it = gradients.find(t.id());
      found.push_back(it == gradients.end() ? std::nullopt : std::optional(it->second.view(t.shape())));
    }
    return found;
  }

 private:
  struct Step {
    std::vector<uint64_t> outputs, inputs;  // 0: no gradient wanted
    Backward backward;
  };
  std::vector<Tensor> wanted_;
  std::unordered_set<uint64_t> known_;
  std::vector<Step> steps_;
  uint64_t result_ = 0;
};

using Result = std::pair<Tensor, std::shared_ptr<OpGradient>>;
using Maybe = std::optional<Tensor>;

/// Runs compute(ctx) where `first` lies, with a recorder if something is wanted.
template <class Compute>
Result run(const Tensor& first, std::vector<Tensor> wanted, const TrainingMode& mode, Compute&& compute) {
  std::shared_ptr<OpGradient> gradient;
  if (!wanted.empty()) gradient = std::make_shared<OpGradient>(std::move(wanted));
  BorrowedContext borrowed(first.device());
  Context& ctx = *borrowed;
  struct Reset {
    Context& ctx;
    ~Reset() {
      ctx.set_recorder(nullptr);
      ctx.set_training({});
    }
  } const reset{ctx};
  ctx.set_recorder(gradient.get());
  ctx.set_training(mode);
  Tensor y = compute(ctx);
  if (gradient && !gradient->finish(y)) gradient = nullptr;
  return {std::move(y), std::move(gradient)};
}

/// Integers, which the host reads wherever they lie.
std::vector<int64_t> numbers(const Tensor& t) {
  const Tensor here = t.to(Device{});
  const auto values = here.values<int64_t>();
  return {values.begin(), values.end()};
}

Shape rows_of(const Tensor& ids, int64_t C) {
  Shape s(ids.shape().begin(), ids.shape().end());
  s.append(C);
  return s;
}

}  // namespace

void bind_ops(py::module_& m) {
  using std::vector;
  const auto released = py::call_guard<py::gil_scoped_release>();
  py::class_<OpGradient, std::shared_ptr<OpGradient>>(m, "OpGradient", "How the gradients of what was wanted follow from that of a result.")
      .def("backward", &OpGradient::backward, released);
  m.def("op_linear", [](const Tensor& x, const Tensor& w, const Maybe& bias, const vector<Tensor>& wanted, ProductType matmul) {
    return run(x, wanted, matmul.on(x.device()), [&](Context& ctx) { return ops::linear(ctx, x, w, bias.value_or(Tensor())); });
  }, released);
  m.def("op_matmul", [](const Tensor& a, const Tensor& b, const vector<Tensor>& wanted, ProductType matmul) {
    return run(a, wanted, matmul.on(a.device()), [&](Context& ctx) {
      return matmul.type != DType::F32 ? ops::linear(ctx, a, b, {}, Activation::None, {}, true) : ops::matmul(ctx, a, b);
    });
  }, released);
  m.def("op_activation", [](const Tensor& x, const std::string& name, const vector<Tensor>& wanted) {
    return run(x, wanted, {}, [&](Context& ctx) { return ops::activation(ctx, x, ops::parse_activation(name)); });
  }, released);
  m.def("op_softmax", [](const Tensor& x, const vector<Tensor>& wanted) {
    return run(x, wanted, {}, [&](Context& ctx) { return ops::softmax(ctx, x); });
  }, released);
  m.def("op_log_softmax", [](const Tensor& x, const vector<Tensor>& wanted) {
    return run(x, wanted, {}, [&](Context& ctx) { return ops::log_softmax(ctx, x); });
  }, released);
  m.def("op_attention", [](const Tensor& q, const Tensor& k, const Tensor& v, bool causal, float scale, const Maybe& key_bias, float dropout, uint64_t seed,
                           const vector<Tensor>& wanted, ProductType matmul) {
    // Each matrix of the stack is a sequence of one head.
    const int64_t T = q.size(q.rank() - 2), S = k.size(k.rank() - 2), D = q.size(q.rank() - 1), Dv = v.size(v.rank() - 1), stack = q.numel() / (T * D);
    vector<int64_t> q_start, k_start;
    for (int64_t i = 0; i <= stack; ++i) q_start.push_back(i * T), k_start.push_back(i * S);
    Shape shape(q.shape().begin(), q.shape().end() - 1);
    shape.append(Dv);
    TrainingMode mode = matmul.on(q.device());
    mode.dropout = dropout > 0;
    return run(q, wanted, mode, [&](Context& ctx) {
      ctx.random() = Random(seed);
      const Tensor bias = key_bias ? key_bias->to(Device{}) : Tensor();
      const Tensor y = ops::attention(ctx, ops::reshape(ctx, q, {stack * T, D}), ops::reshape(ctx, k, {stack * S, D}), ops::reshape(ctx, v, {stack * S, Dv}),
                                      {.heads = 1, .scale = scale, .causal = causal, .q_start = q_start, .k_start = k_start,
                                       .key_bias = bias.defined() ? bias.data<float>() : nullptr, .dropout = dropout});
      return ops::reshape(ctx, y, shape);
    });
  }, released);
  m.def("op_layer_norm", [](const Tensor& x, const Tensor& w, const Tensor& b, float eps, const vector<Tensor>& wanted) {
    return run(x, wanted, {}, [&](Context& ctx) { return ops::layer_norm(ctx, x, w, b, eps); });
  }, released);
  m.def("op_rms_norm", [](const Tensor& x, const Tensor& w, float eps, const vector<Tensor>& wanted) {
    return run(x, wanted, {}, [&](Context& ctx) { return ops::rms_norm(ctx, x, w, eps); });
  }, released);
  m.def("op_embedding", [](const Tensor& table, const Tensor& ids, int64_t padding, const vector<Tensor>& wanted) {
    Result r = run(table, wanted, {}, [&](Context& ctx) { return ops::embedding(ctx, table, numbers(ids), DType::F32, "index", padding); });
    r.first = r.first.view(rows_of(ids, table.size(1)));
    return r;
  }, released);
  m.def("op_cross_entropy", [](const Tensor& logits, const Tensor& labels, int64_t ignore, float smoothing, const vector<Tensor>& wanted) {
    return run(logits, wanted, {}, [&](Context& ctx) { return ops::cross_entropy(ctx, logits, numbers(labels), ignore, smoothing); });
  }, released);
  m.def("op_dropout", [](const Tensor& x, float p, uint64_t seed, const vector<Tensor>& wanted) {
    return run(x, wanted, {.dropout = true}, [&](Context& ctx) {
      ctx.random() = Random(seed);
      return ops::dropout(ctx, x, p);
    });
  }, released);
}

}  // namespace tenon::python
