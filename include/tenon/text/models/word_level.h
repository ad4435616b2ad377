// WordLevel: a word is a token or unknown.
#pragma once

#include <string>
#include <vector>

#include "tenon/text/model.h"

namespace tenon::text {

class WordLevel : public Model {
 public:
  WordLevel(const Json& spec, const ModelData& data) : Model(data), unk_(spec.value("unk_token", "<unk>")), unk_id_(vocab_.find(unk_)) {}

  void tokenize(std::string_view word, std::vector<ModelToken>& out, Memory*) const override {
    int32_t id = vocab_.find(word);
    if (id < 0) id = unk_id_;
    check(id >= 0, ErrorCode::Format, "word_level", "unk_token: expected '", unk_, "' in the vocabulary");
    out.push_back({id, 0, static_cast<uint32_t>(word.size())});
  }

 private:
  std::string unk_;
  int32_t unk_id_;
};

}  // namespace tenon::text
