// Sequence: pre-tokenizers one after another, each on the pieces of the one before.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "tenon/text/pre_tokenizer.h"

namespace tenon::text {

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(const Json& spec) {
    for (const Json& stage : spec.at("pretokenizers").as_array("pretokenizers"))
      if (auto pre_tokenizer = make_pre_tokenizer(stage)) stages_.push_back(std::move(pre_tokenizer));
  }
  void cut(Pieces& pieces) const override {
    for (const auto& stage : stages_) stage->cut(pieces);
  }
  bool leave_bytes() override { return !stages_.empty() && stages_.back()->leave_bytes(); }
  bool reads_origins() const override {
    return std::any_of(stages_.begin(), stages_.end(), [](const auto& stage) { return stage->reads_origins(); });
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> stages_;
};

}  // namespace tenon::text
