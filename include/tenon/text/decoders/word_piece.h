// WordPiece and CTC decoders, and the clean-up of spaces that they share.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/text/decoder.h"

namespace tenon::text {

struct CleanUpRule {
  const char* from;
  const char* to;
};
inline constexpr CleanUpRule kCleanUpRules[] = {{" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
                                                {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};

/// Takes out the spaces that tokenisation put before punctuation and English contractions; decoders shorten "do not" too.
inline void clean_up_spaces(std::string& text, bool with_do_not) {
  for (const CleanUpRule& rule : kCleanUpRules) {
    replace_all(text, rule.from, rule.to);
    if (with_do_not && std::string_view(rule.from) == " 'm") replace_all(text, " do not", " don't");
  }
}

class WordPieceDecoder : public Decoder {
 public:
  explicit WordPieceDecoder(const Json& spec) : prefix_(spec.value("prefix", "##")), clean_up_(spec.value("cleanup", true)) {}

  void decode(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string& token = tokens[i];
      if (i > 0) {
        if (token.starts_with(prefix_))
          token.erase(0, prefix_.size());
        else
          token.insert(0, 1, ' ');
      }
      if (clean_up_) clean_up_spaces(token, true);
    }
  }

 private:
  std::string prefix_;
  bool clean_up_;
};

class CtcDecoder : public Decoder {
 public:
  explicit CtcDecoder(const Json& spec)
      : pad_(spec.value("pad_token", "<pad>")),
        delimiter_(spec.value("word_delimiter_token", "|")),
        clean_up_(spec.value("cleanup", true)) {}

  void decode(std::vector<std::string>& tokens) const override {
    std::vector<std::string> out;
    const std::string* last = nullptr;
    for (const std::string& token : tokens) {
      const bool is_repeated = last && *last == token;
      last = &token;
      if (is_repeated) continue;
      std::string text = token;
      if (!pad_.empty()) replace_all(text, pad_, "");
      if (clean_up_) {
        clean_up_spaces(text, true);
        if (!delimiter_.empty()) replace_all(text, delimiter_, " ");
      }
      if (!text.empty()) out.push_back(std::move(text));
    }
    tokens = std::move(out);
  }

 private:
  std::string pad_, delimiter_;
  bool clean_up_;
};

}  // namespace tenon::text
