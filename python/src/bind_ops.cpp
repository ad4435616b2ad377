// Binds ops for the tensors of Python: each call gives the result and, where gradients are wanted, how they are had.
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "bindings.h"
#include "tenon/ops/activation.h"
#include "tenon/ops/dropout.h"
#include "tenon/ops/embedding.h"
#include "tenon/ops/layer_norm.h"
#include "tenon/ops/linear.h"
#include "tenon/ops/loss.h"
#include "tenon/ops/matmul.h"
#include "tenon/ops/rms_norm.h"
#include "tenon/ops/softmax.h"

namespace tenon::python {
namespace {

/// Keeps what one op recorded, so that its gradients can be had any number of times.
class OpGradient final : public Recorder {
 public:
  explicit OpGradient(std::vector<Tensor> wanted) : wanted_(std::move(wanted)) {}

  bool wants(const Tensor& t) const override {
    if (!t.defined()) return false;
    return std::any_of(wanted_.begin(), wanted_.end(), [&](const Tensor& w) { return w.id() == t.id(); });
  }
  void record(std::string_view op, std::vector<Tensor> outputs, std::vector<Tensor> inputs, Backward backward) override {
    check(!backward_ && outputs.size() == 1, ErrorCode::Type, op, "gradient: expected an op that records one step");
    check(backward != nullptr, ErrorCode::Type, op, "gradient: this op has no backward, but an input wants a gradient");
    for (const Tensor& t : inputs) inputs_.push_back(wants(t) ? std::optional(t.shape()) : std::nullopt);
    backward_ = std::move(backward);
  }
  bool recorded() const { return backward_ != nullptr; }

  /// The gradients of the op's inputs in their order, none where it is not wanted.
  std::vector<std::optional<Tensor>> backward(const Tensor& dy) const {
    BorrowedContext context;
    const std::vector<Tensor> dx = backward_(*context, std::span(&dy, 1));
    std::vector<std::optional<Tensor>> found(inputs_.size());
    for (size_t i = 0; i < dx.size(); ++i)
      if (inputs_[i] && dx[i].defined()) found[i] = dx[i].shape() == *inputs_[i] ? dx[i] : dx[i].view(*inputs_[i]);
    return found;
  }

 private:
  std::vector<Tensor> wanted_;
  std::vector<std::optional<Shape>> inputs_;  // the shapes of those that want a gradient
  Backward backward_;
};

using Result = std::pair<Tensor, std::shared_ptr<OpGradient>>;
using Maybe = std::optional<Tensor>;

/// Runs compute(ctx) with a recorder if something is wanted.
template <class Compute>
Result run(std::vector<Tensor> wanted, const TrainingMode& mode, Compute&& compute) {
  std::shared_ptr<OpGradient> gradient;
  if (!wanted.empty()) gradient = std::make_shared<OpGradient>(std::move(wanted));
  BorrowedContext borrowed;
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
  if (gradient && !gradient->recorded()) gradient = nullptr;
  return {std::move(y), std::move(gradient)};
}

TrainingMode autocast(bool bf16) { return {.dropout = false, .matmul = bf16 ? DType::BF16 : DType::F32, .checkpoint = false}; }

std::span<const int64_t> numbers(const Tensor& t) { return t.values<int64_t>(); }

Shape rows_of(const Tensor& ids, int64_t C) {
  Shape s(ids.shape().begin(), ids.shape().end());
  s.append(C);
  return s;
}

}  // namespace

void bind_ops(py::module_& m) {
  using std::vector;
  const auto released = py::call_guard<py::gil_scoped_release>();
  py::class_<OpGradient, std::shared_ptr<OpGradient>>(m, "OpGradient", "How the gradients of one op's inputs follow from that of its result.")
      .def("backward", &OpGradient::backward, released);
  m.def("op_linear", [](const Tensor& x, const Tensor& w, const Maybe& bias, const vector<Tensor>& wanted, bool bf16) {
    return run(wanted, autocast(bf16), [&](Context& ctx) { return ops::linear(ctx, x, w, bias.value_or(Tensor())); });
  }, released);
  m.def("op_matmul", [](const Tensor& a, const Tensor& b, const vector<Tensor>& wanted, bool bf16) {
    return run(wanted, autocast(bf16), [&](Context& ctx) { return ops::matmul(ctx, a, b); });
  }, released);
  m.def("op_activation", [](const Tensor& x, const std::string& name, const vector<Tensor>& wanted) {
    return run(wanted, {}, [&](Context& ctx) { return ops::activation(ctx, x, ops::parse_activation(name)); });
  }, released);
  m.def("op_softmax", [](const Tensor& x, const vector<Tensor>& wanted) {
    return run(wanted, {}, [&](Context& ctx) { return ops::softmax(ctx, x); });
  }, released);
  m.def("op_log_softmax", [](const Tensor& x, const vector<Tensor>& wanted) {
    return run(wanted, {}, [&](Context& ctx) { return ops::log_softmax(ctx, x); });
  }, released);
  m.def("op_layer_norm", [](const Tensor& x, const Tensor& w, const Tensor& b, float eps, const vector<Tensor>& wanted) {
    return run(wanted, {}, [&](Context& ctx) { return ops::layer_norm(ctx, x, w, b, eps); });
  }, released);
  m.def("op_rms_norm", [](const Tensor& x, const Tensor& w, float eps, const vector<Tensor>& wanted) {
    return run(wanted, {}, [&](Context& ctx) { return ops::rms_norm(ctx, x, w, eps); });
  }, released);
  m.def("op_embedding", [](const Tensor& table, const Tensor& ids, int64_t padding, const vector<Tensor>& wanted) {
    Result r = run(wanted, {}, [&](Context& ctx) { return ops::embedding(ctx, table, numbers(ids), DType::F32, "index", padding); });
    r.first = r.first.view(rows_of(ids, table.size(1)));
    return r;
  }, released);
  m.def("op_cross_entropy", [](const Tensor& logits, const Tensor& labels, int64_t ignore, float smoothing, const vector<Tensor>& wanted) {
    return run(wanted, {}, [&](Context& ctx) { return ops::cross_entropy(ctx, logits, numbers(labels), ignore, smoothing); });
  }, released);
  m.def("op_dropout", [](const Tensor& x, float p, uint64_t seed, const vector<Tensor>& wanted) {
    return run(wanted, {.dropout = true, .matmul = DType::F32, .checkpoint = false}, [&](Context& ctx) {
      ctx.random() = Random(seed);
      return ops::dropout(ctx, x, p);
    });
  }, released);
}

}  // namespace tenon::python
