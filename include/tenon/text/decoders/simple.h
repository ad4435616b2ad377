// Decoders that edit tokens as text: Fuse, Strip, Replace, Metaspace, BPEDecoder, Sequence.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tenon/text/decoder.h"
#include "tenon/text/pattern.h"
#include "tenon/text/pre_tokenizers/metaspace.h"

namespace tenon::text {

class Fuse : public Decoder {
 public:
  explicit Fuse(const Json&) {}
  void decode(std::vector<std::string>& tokens) const override {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens.assign(1, std::move(all));
  }
};

/// Takes up to `start` copies of a character off the front of each token and `stop` off its end.
class StripDecoder : public Decoder {
 public:
  explicit StripDecoder(const Json& spec)
      : content_(spec.at("content").as_string("content")), start_(spec.value("start", 0)), stop_(spec.value("stop", 0)) {
    one_char(content_, "Strip.content");
    check(start_ >= 0 && stop_ >= 0, ErrorCode::Format, "tokenizer.json", "Strip: expected counts, got ", start_, " and ", stop_);
  }
  void decode(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (int64_t i = 0; i < start_ && rest.starts_with(content_); ++i) rest.remove_prefix(content_.size());
      for (int64_t i = 0; i < stop_ && rest.ends_with(content_); ++i) rest.remove_suffix(content_.size());
      token = std::string(rest);
    }
  }

 private:
  std::string content_;
  int64_t start_, stop_;
};

class ReplaceDecoder : public Decoder {
 public:
  explicit ReplaceDecoder(const Json& spec) : pattern_(spec.at("pattern")), content_(spec.at("content").as_string("content")) {}
  void decode(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      std::string out;
      size_t at = 0;
      pattern_.for_each(token, [&](size_t begin, size_t end) {
        out.append(token, at, begin - at).append(content_);
        at = end;
      });
      token = out.append(token, at);
    }
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class MetaspaceDecoder : public Decoder {
 public:
  explicit MetaspaceDecoder(const Json& spec)
      : mark_(spec.value("replacement", "\xE2\x96\x81")), has_prefix_(parse_prepend_scheme(spec) != PrependScheme::Never) {
    one_char(mark_, "Metaspace.replacement");
  }
  void decode(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], mark_, i == 0 && has_prefix_ ? "" : " ");
  }

 private:
  std::string mark_;
  bool has_prefix_;
};

class BpeDecoder : public Decoder {
 public:
  explicit BpeDecoder(const Json& spec) : suffix_(spec.value("suffix", "</w>")) {}
  void decode(std::vector<std::string>& tokens) const override {
    if (suffix_.empty()) return;
    for (size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], suffix_, i + 1 == tokens.size() ? "" : " ");
  }

 private:
  std::string suffix_;
};

class DecoderSequence : public Decoder {
 public:
  explicit DecoderSequence(const Json& spec) {
    for (const Json& stage : spec.at("decoders").as_array("decoders"))
      if (auto decoder = make_decoder(stage)) stages_.push_back(std::move(decoder));
  }
  void decode(std::vector<std::string>& tokens) const override {
    for (const auto& stage : stages_) stage->decode(tokens);
  }

 private:
  std::vector<std::unique_ptr<Decoder>> stages_;
};

}  // namespace tenon::text
