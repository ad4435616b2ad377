// BertProcessing: [CLS] A [SEP] B [SEP]; RobertaProcessing: <s> A </s> </s> B </s>, all of type 0.
#pragma once

#include <limits>
#include <string_view>
#include <utility>

#include "tenon/text/post_processor.h"

namespace tenon::text {

/// A token's id in a post-processor. Errors: Error(Format) if it is no id.
inline int32_t checked_id(const Json& value, std::string_view what) {
  const int64_t id = value.as_int(what);
  check(id >= 0 && id <= std::numeric_limits<int32_t>::max(), ErrorCode::Format, "tokenizer.json", what, ": expected a token id, got ", id);
  return static_cast<int32_t>(id);
}

/// A ["token", id] pair as one special token. Errors: Error(Format), Error(Type).
inline Token special_pair(const Json& spec, std::string_view key) {
  const Json::Array& pair = spec.at(key).as_array(key);
  check(pair.size() == 2, ErrorCode::Format, "tokenizer.json", key, ": expected [token, id], got ", pair.size(), " values");
  pair[0].as_string(key);
  return {checked_id(pair[1], key), 0, 0, -1};
}

inline Part special_part(const Token& token, int32_t type_id) { return {{&token, 1}, type_id, -1, true}; }

class BertProcessing : public PostProcessor {
 public:
  explicit BertProcessing(const Json& spec) : sep_(special_pair(spec, "sep")), cls_(special_pair(spec, "cls")) {}

  size_t added(bool is_pair) const override { return is_pair ? 3 : 2; }
  void process(std::vector<Part>& parts, bool add_special_tokens) const override {
    if (!add_special_tokens) return;
    std::vector<Part> out;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (i == 0) out.push_back(special_part(cls_, 0));
      out.push_back(parts[i]);
      out.push_back(special_part(sep_, i == 0 ? 0 : 1));
    }
    parts = std::move(out);
  }

 private:
  Token sep_, cls_;
};

class RobertaProcessing : public PostProcessor {
 public:
  explicit RobertaProcessing(const Json& spec)
      : sep_(special_pair(spec, "sep")),
        cls_(special_pair(spec, "cls")),
        trim_offsets_(spec.value("trim_offsets", true)),
        add_prefix_space_(spec.value("add_prefix_space", true)) {}

  size_t added(bool is_pair) const override { return is_pair ? 4 : 2; }
  void process(std::vector<Part>& parts, bool add_special_tokens) const override {
    for (Part& part : parts) {
      part.type_id = 0;
      part.trims = static_cast<uint8_t>(part.trims + trim_offsets_);
      part.keeps_prefix_space = add_prefix_space_;
    }
    if (!add_special_tokens) return;
    std::vector<Part> out;
    for (size_t i = 0; i < parts.size(); ++i) {
      out.push_back(special_part(i == 0 ? cls_ : sep_, 0));
      out.push_back(parts[i]);
      out.push_back(special_part(sep_, 0));
    }
    parts = std::move(out);
  }

 private:
  Token sep_, cls_;
  bool trim_offsets_, add_prefix_space_;
};

}  // namespace tenon::text
