// Readers of tokenizer files; what they put into a TokenizerSpec are views, alive as long as the texts and parsers passed in.
#pragma once

#include <string>
#include <string_view>

#include "json_dom.h"
#include "tenon/text/tokenizer.h"

namespace tenon::text {

/// tokenizer.json. Errors: Error(Format), Error(Type), Error(Limit).
void read_tokenizer_json(simdjson::dom::parser& parser, std::string_view json, std::string_view where, TokenizerSpec& spec);
/// An object of tokens and ids. Errors: Error(Format), Error(Type).
void read_vocab_json(simdjson::dom::parser& parser, std::string_view json, std::string_view where, ModelData& data);
/// One token a line, the id is the line's number. Errors: Error(Format) if it is no UTF-8.
void read_vocab_txt(std::string_view text, std::string_view where, ModelData& data);
/// Two tokens a line, "#version" lines apart. Errors: Error(Format) naming the line.
void read_merges_txt(std::string_view text, std::string_view where, ModelData& data);
/// An object of an added token, or a plain string.
AddedToken read_added_token(const Json& spec, bool is_special);

}  // namespace tenon::text
