// Sequence: normalizers one after another.
#pragma once

#include <memory>
#include <vector>

#include "tenon/text/normalizer.h"

namespace tenon::text {

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(const Json& spec) {
    for (const Json& stage : spec.at("normalizers").as_array("normalizers"))
      if (auto normalizer = make_normalizer(stage)) stages_.push_back(std::move(normalizer));
  }
  void normalize(Pieces& pieces) const override {
    for (const auto& stage : stages_) stage->normalize(pieces);
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> stages_;
};

}  // namespace tenon::text
