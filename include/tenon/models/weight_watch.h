// Whether a model still is what a graph was recorded of.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tenon/models/model.h"
#include "tenon/nn/linear.h"

namespace tenon::models {

/// What a model computes with now. Weights that change in place are read where they lie; of adapters' factors there are packed copies, which
/// training replaces. The model must outlive it.
class WeightWatch {
 public:
  explicit WeightWatch(const Model& model) : model_(model), revision_(model.revision()) {
    Collector collector;
    const_cast<Model&>(model).visit(collector);  // the collector changes nothing
    seen_ = std::move(collector.seen);
  }
  /// False once weights were packed, moved or replaced, adapters or routing changed, or an adapter was trained.
  bool same() const {
    return model_.revision() == revision_ && std::all_of(seen_.begin(), seen_.end(), [](const Seen& s) { return s.first->version == s.second; });
  }

 private:
  using Seen = std::pair<std::shared_ptr<Storage>, uint32_t>;
  struct Collector final : nn::Visitor {
    void parameter(const std::string&, Tensor&, const Shape&, const nn::ParameterInfo&) override {}
    void linear(const std::string&, nn::Linear& layer) override {
      for (const nn::Lora& l : layer.lora)
        for (const Tensor* t : {&l.a, &l.b}) seen.emplace_back(t->storage(), t->storage()->version);
    }
    void packed_elsewhere(const std::string& name, nn::Linear& layer) override { linear(name, layer); }
    std::vector<Seen> seen;
  };

  const Model& model_;
  uint64_t revision_;
  std::vector<Seen> seen_;
};

}  // namespace tenon::models
