// Precompiled: SentencePiece's normalisation rules, applied cluster by cluster.
#pragma once

#include <string_view>
#include <vector>

#include "tenon/text/charsmap.h"
#include "tenon/text/normalizer.h"
#include "tenon/text/unicode.h"

namespace tenon::text {

/// A cluster of less than 6 bytes is replaced as a whole by the shortest rule that it starts with; longer ones, and those without such a
/// rule, character by character. (SentencePiece itself takes the longest rule; tokenizer.json's reference library does this.)
class Precompiled : public Normalizer {
 public:
  explicit Precompiled(const Json& spec);
  void normalize(Pieces& pieces) const override;

 private:
  uint8_t traits_at(std::string_view text, size_t i) const;
  size_t cluster_length(std::string_view text) const;
  size_t kept_prefix(std::string_view text) const;
  bool changes(std::string_view cluster) const;
  int add_steps(std::string_view cluster, std::vector<NormalStep>& steps) const;
  void rewrite(Rewriter& r, std::vector<NormalStep>& steps) const;

  Charsmap map_;
  std::vector<uint8_t> traits_;  // of U+0000 to U+FFFF: GraphemeKind, and whether there is no rule for the character
};

}  // namespace tenon::text
