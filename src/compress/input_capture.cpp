// Picks the inputs of linear layers out of what ops record.
#include "tenon/compress/input_capture.h"

#include <algorithm>

namespace tenon::compress {

void LayerInputs::divide(const std::vector<float>& scale) {
  const auto over = [&](Tensor& t) {
    if (!t.defined()) return;
    const auto K = static_cast<int64_t>(scale.size());
    Tensor to = t.clone();  // others may hold the tensor
    for (int64_t i = 0; i < to.numel(); ++i) to.data<float>()[i] /= scale[static_cast<size_t>(i % K)];
    t = to;
  };
  for (size_t k = 0; k < std::min(scale.size(), statistics.sum.size()); ++k) statistics.sum[k] /= scale[k], statistics.most[k] /= scale[k];
  over(sample);
  for (Tensor& t : all) over(t);
}

Tensor spread_rows(const Tensor& x, int64_t count) {
  const int64_t K = x.size(-1), N = x.numel() / std::max<int64_t>(K, 1), n = std::min(N, count);
  Tensor y = Tensor::empty({n, K}, DType::F32);
  for (int64_t i = 0; i < n; ++i) std::copy_n(x.data<float>() + i * N / n * K, K, y.data<float>() + i * K);
  return y;
}

void InputCapture::watch(const nn::Linear& layer, bool keep_all) { watched_[layer.weight.id()].keep_all = keep_all; }

LayerInputs* InputCapture::of(const nn::Linear& layer) const {
  const auto it = watched_.find(layer.weight.id());
  return it == watched_.end() ? nullptr : it->second.inputs.get();
}

void InputCapture::add(LayerInputs& to, const Tensor& x, bool keep_all) const {
  if (keep_all) to.all.push_back(x);  // rows that are not finite too: their order is the tokens'
  if (!to.statistics.add(x)) {
    ++to.odd;
    return;
  }
  const int64_t K = x.size(-1), N = x.numel() / K, share = std::max<int64_t>(1, kept_ * N / std::max<int64_t>(expected_, 1));
  const Tensor some = spread_rows(x, std::min(share, kept_ - (to.sample.defined() ? to.sample.size(0) : 0)));
  if (some.numel()) {
    const int64_t before = to.sample.defined() ? to.sample.size(0) : 0;
    Tensor joined = Tensor::empty({before + some.size(0), K}, DType::F32);
    if (before) std::copy_n(std::as_const(to.sample).data<float>(), before * K, joined.data<float>());
    std::copy_n(some.data<float>(), some.numel(), joined.data<float>() + before * K);
    to.sample = joined;
  }
  if (!hessians_) return;
  if (!to.hessian) to.hessian = std::make_unique<Hessian>(K);
  to.hessian->add(ctx_, x);
}

void InputCapture::record(std::string_view op, std::vector<Tensor>, std::vector<Tensor> inputs, Backward) {
  if (op != "linear") return;
  const Tensor& x = inputs[0];
  for (size_t i = 1; i + 1 < inputs.size(); i += 2) {  // x, then weight and bias of each layer, then a residual
    const auto it = watched_.find(inputs[i].defined() ? inputs[i].id() : 0);
    if (it == watched_.end() || it->second.last == x.id()) continue;
    Watched& mine = it->second;
    if (!mine.inputs)
      for (const auto& [id, other] : watched_)
        if (other.inputs && other.last == x.id()) mine.inputs = other.inputs;
    const bool added = std::any_of(watched_.begin(), watched_.end(),
                                   [&](const auto& w) { return w.second.inputs == mine.inputs && mine.inputs && w.second.last == x.id(); });
    if (!mine.inputs) mine.inputs = std::make_shared<LayerInputs>();
    mine.last = x.id();
    if (added) continue;
    const bool keep =
        std::any_of(watched_.begin(), watched_.end(), [&](const auto& w) { return w.second.keep_all && w.second.inputs == mine.inputs; });
    add(*mine.inputs, x, keep || mine.keep_all);
  }
}

}  // namespace tenon::compress
