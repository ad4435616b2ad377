// UnicodeScripts: cuts where the script of the text changes.
#pragma once

#include "tenon/text/pre_tokenizer.h"

namespace tenon::text {

/// Han, Hiragana and Katakana count as one script. Spaces and other characters of any script go with what stands before them; before the
/// first character that has a script they vanish, as they do in the reference library.
class UnicodeScripts : public PreTokenizer {
 public:
  explicit UnicodeScripts(const Json&) {}
  void cut(Pieces& pieces) const override;
};

}  // namespace tenon::text
