// TemplateProcessing: the parts of a result as a list of texts and special tokens.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tenon/text/post_processors/bert.h"

namespace tenon::text {

class TemplateProcessing : public PostProcessor {
 public:
  explicit TemplateProcessing(const Json& spec) {
    // every special token first: the pieces point into this list
    const Json* specials = spec.get("special_tokens");
    if (specials)
      for (const auto& [name, token] : specials->as_object("special_tokens")) {
        Special special{name, {}};
        for (const Json& id : token.at("ids").as_array("special_tokens.ids"))
          special.tokens.push_back({checked_id(id, "special_tokens.ids"), 0, 0, -1});
        specials_.push_back(std::move(special));
      }
    single_ = parse(spec.at("single"), "single", 1);
    pair_ = parse(spec.at("pair"), "pair", 2);
  }

  size_t added(bool is_pair) const override {
    size_t n = 0;
    for (const Slot& slot : is_pair ? pair_ : single_)
      if (slot.special >= 0) n += specials_[static_cast<size_t>(slot.special)].tokens.size();
    return n;
  }

  void process(std::vector<Part>& parts, bool add_special_tokens) const override {
    check(parts.size() == 1 || parts.size() == 2, ErrorCode::Format, "TemplateProcessing", "parts: expected 1 or 2, got ", parts.size(),
          " (a template cannot follow another stage that adds tokens)");
    std::vector<Part> out;
    for (const Slot& slot : parts.size() == 2 ? pair_ : single_) {
      if (slot.special < 0) {
        Part part = parts[static_cast<size_t>(slot.sequence)];
        part.type_id = slot.type_id;
        out.push_back(part);
      } else if (add_special_tokens) {
        out.push_back({specials_[static_cast<size_t>(slot.special)].tokens, slot.type_id, -1, true});
      }
    }
    parts = std::move(out);
  }

 private:
  struct Special {
    std::string name;
    std::vector<Token> tokens;
  };
  struct Slot {
    int sequence = 0;
    int special = -1;  // index into specials_
    int32_t type_id = 0;
  };

  int find_special(const std::string& name) const {
    for (size_t i = 0; i < specials_.size(); ++i)
      if (specials_[i].name == name) return static_cast<int>(i);
    fail(ErrorCode::Format, "TemplateProcessing", "template: expected a name from special_tokens, got '", name, "'");
  }

  std::vector<Slot> parse(const Json& list, std::string_view what, int texts) const {
    std::vector<Slot> slots;
    for (const Json& piece : list.as_array(what)) {
      Slot slot;
      const Json* sequence = piece.get("Sequence");
      const Json& fields = sequence ? *sequence : piece.at("SpecialToken");
      const std::string& id = fields.at("id").as_string("id");
      slot.type_id = static_cast<int32_t>(fields.value("type_id", 0));
      if (sequence) {
        check(id == "A" || (id == "B" && texts == 2), ErrorCode::Format, "TemplateProcessing", what, ": expected ",
              texts == 2 ? "A or B" : "A", ", got '", id, "'");
        slot.sequence = id == "B";
      } else {
        slot.special = find_special(id);
      }
      slots.push_back(slot);
    }
    return slots;
  }

  std::vector<Special> specials_;
  std::vector<Slot> single_, pair_;
};

}  // namespace tenon::text
