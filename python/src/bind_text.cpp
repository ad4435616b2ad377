// Binds text: the tokenizer, its encodings and options.
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "encoding.h"
#include "ids.h"
#include "tenon/text/decode_stream.h"
#include "tenon/text/tokenizer.h"

namespace tenon::python {
namespace {

using text::AddedToken;
using text::DecodeOptions;
using text::EncodeOptions;
using text::Encoding;
using text::Tokenizer;
using text::TokenizerConfig;

using Optional = std::optional<py::list>;

void check_count(size_t texts, const Optional& pairs) {
  check(!pairs || pairs->size() == texts, ErrorCode::Shape, "tokenizer", "expected as many second texts as texts, got ",
        pairs ? pairs->size() : 0, " and ", texts);
}

// Below this a second encoding of the same texts would cost more than the fields that the first one leaves out.
constexpr size_t kLargeBatch = size_t{1} << 15;

// A second text may be None. With ids_only the caller wants ids and masks, and probably nothing else; `lists` names the columns that will be
// asked for as Python lists.
Encodings encode_batch(const std::shared_ptr<Tokenizer>& tokenizer, const py::list& texts, const Optional& pairs,
                       const EncodeOptions& options, bool ids_only, const std::vector<std::string>& lists) {
  check_count(texts.size(), pairs);
  const Texts first(texts);
  size_t bytes = 0;
  for (const std::string_view text : first.all()) bytes += text.size();
  if (ids_only && !pairs && !options.return_overflowing && bytes >= kLargeBatch) {
    std::vector<Column> columns;
    for (size_t i = 0; i < kColumnNames.size(); ++i)
      if (std::find(lists.begin(), lists.end(), kColumnNames[i]) != lists.end()) columns.push_back(static_cast<Column>(i));
    return Encodings(texts, first, *tokenizer, options, columns);
  }
  Texts second;
  std::vector<text::TextInput> inputs(first.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    inputs[i].text = first[i];
    if (pairs && !(*pairs)[i].is_none()) inputs[i].pair = second.add((*pairs)[i]);
  }
  std::vector<Encoding> encodings;
  {
    py::gil_scoped_release release;
    encodings = tokenizer->encode_batch(std::span<const text::TextInput>(inputs), options);
  }
  return {std::move(encodings), tokenizer};
}

Encodings encode_words(const std::shared_ptr<Tokenizer>& tokenizer, const std::vector<py::list>& texts,
                       const Optional& pairs, const EncodeOptions& options) {
  check_count(texts.size(), pairs);
  std::vector<Texts> kept;
  kept.reserve(2 * texts.size());
  std::vector<text::WordsInput> inputs(texts.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    inputs[i].words = kept.emplace_back(texts[i]).all();
    if (pairs && !(*pairs)[i].is_none()) inputs[i].pair = kept.emplace_back((*pairs)[i].cast<py::list>()).all();
  }
  std::vector<Encoding> encodings;
  {
    py::gil_scoped_release release;
    encodings = tokenizer->encode_batch(std::span<const text::WordsInput>(inputs), options);
  }
  return {std::move(encodings), tokenizer};
}

void bind_options(py::module_& m) {
  py::enum_<text::Padding>(m, "Padding")
      .value("none", text::Padding::None)
      .value("longest", text::Padding::Longest)
      .value("max_length", text::Padding::MaxLength);
  py::enum_<text::Truncation>(m, "Truncation")
      .value("none", text::Truncation::None)
      .value("longest_first", text::Truncation::LongestFirst)
      .value("only_first", text::Truncation::OnlyFirst)
      .value("only_second", text::Truncation::OnlySecond);
  py::enum_<text::Side>(m, "Side").value("left", text::Side::Left).value("right", text::Side::Right);
  py::enum_<text::Role> role(m, "Role", "A role that a token may have.");
  for (size_t i = 0; i < text::kRoleNames.size(); ++i) role.value(text::kRoleNames[i], static_cast<text::Role>(i));
  py::class_<EncodeOptions>(m, "EncodeOptions")
      .def(py::init<>())
      .def_readwrite("add_special_tokens", &EncodeOptions::add_special_tokens)
      .def_readwrite("padding", &EncodeOptions::padding)
      .def_readwrite("truncation", &EncodeOptions::truncation)
      .def_readwrite("max_length", &EncodeOptions::max_length)
      .def_readwrite("stride", &EncodeOptions::stride)
      .def_readwrite("pad_to_multiple_of", &EncodeOptions::pad_to_multiple_of)
      .def_readwrite("padding_side", &EncodeOptions::padding_side)
      .def_readwrite("truncation_side", &EncodeOptions::truncation_side)
      .def_readwrite("return_overflowing", &EncodeOptions::return_overflowing)
      .def_readwrite("split_special_tokens", &EncodeOptions::split_special_tokens);
}

void bind_added_token(py::module_& m) {
  py::class_<AddedToken>(m, "AddedToken", "A text with an id of its own, found before the other stages see the text.")
      .def(py::init([](std::string content, bool single_word, bool lstrip, bool rstrip, std::optional<bool> normalized, bool special) {
             return AddedToken{std::move(content), single_word, lstrip, rstrip, normalized.value_or(!special), special};
           }),
           py::arg("content"), py::arg("single_word") = false, py::arg("lstrip") = false, py::arg("rstrip") = false,
           py::arg("normalized") = py::none(), py::arg("special") = false)
      .def_readwrite("content", &AddedToken::content)
      .def_readwrite("single_word", &AddedToken::single_word)
      .def_readwrite("lstrip", &AddedToken::lstrip)
      .def_readwrite("rstrip", &AddedToken::rstrip)
      .def_readwrite("normalized", &AddedToken::normalized)
      .def_readwrite("special", &AddedToken::special)
      .def("__str__", [](const AddedToken& t) { return t.content; })
      .def("__repr__",
           [](const AddedToken& t) {
             const auto flag = [](const char* name, bool on) { return std::string(", ") + name + (on ? "=True" : "=False"); };
             return "AddedToken(" + Json(t.content).dump() + flag("rstrip", t.rstrip) + flag("lstrip", t.lstrip) +
                    flag("single_word", t.single_word) + flag("normalized", t.normalized) + flag("special", t.special) + ")";
           })
      .def(
          "__eq__", [](const AddedToken& a, const AddedToken& b) { return a == b; }, py::is_operator())
      .def("__hash__", [](const AddedToken& t) { return py::hash(py::str(t.content)); });
}

void bind_config(py::module_& m) {
  py::class_<TokenizerConfig>(m, "TokenizerConfig", "What tokenizer_config.json says beyond the stages.")
      .def_readonly("tokenizer_class", &TokenizerConfig::tokenizer_class)
      .def_readwrite("model_max_length", &TokenizerConfig::model_max_length)
      .def_readwrite("padding_side", &TokenizerConfig::padding_side)
      .def_readwrite("truncation_side", &TokenizerConfig::truncation_side)
      .def_readwrite("model_input_names", &TokenizerConfig::model_input_names)
      .def_readwrite("clean_up_tokenization_spaces", &TokenizerConfig::clean_up_tokenization_spaces)
      .def_readwrite("split_special_tokens", &TokenizerConfig::split_special_tokens)
      .def_readwrite("pad_token_type_id", &TokenizerConfig::pad_token_type_id)
      .def_readwrite("extra_special_tokens", &TokenizerConfig::extra_special_tokens)
      .def_readwrite("chat_template", &TokenizerConfig::chat_template)
      .def_property_readonly("file", [](const TokenizerConfig& c) { return to_python(c.file); });
}

// Ids to be decoded. Errors: Error(Limit) naming one that no vocabulary has; Error(Type) for what are no ids.
std::vector<int32_t> ids_to_decode(py::handle given) {
  std::vector<int32_t> out;
  for (const int64_t id : ids_of(given, "tokenizer", "decode")) {
    check(id >= 0 && id <= INT32_MAX, ErrorCode::Limit, "tokenizer", "decode: expected ids of the vocabulary, got ", id);
    out.push_back(static_cast<int32_t>(id));
  }
  return out;
}

// Ids that become a model's input: they need not be in the vocabulary.
std::vector<int32_t> ids_to_prepare(py::handle given) {
  std::vector<int32_t> out;
  for (const int64_t id : ids_of(given, "tokenizer", "ids")) {
    check(id >= INT32_MIN && id <= INT32_MAX, ErrorCode::Limit, "tokenizer", "ids: expected numbers of 32 bits, got ", id);
    out.push_back(static_cast<int32_t>(id));
  }
  return out;
}

py::str to_str(std::string_view text) {
  return py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

DecodeOptions decode_options(bool skip_special_tokens, std::optional<bool> clean_up) {
  return {.skip_special_tokens = skip_special_tokens, .clean_up = clean_up, .skip_unknown_ids = false};
}

py::str decode(const Tokenizer& tokenizer, py::handle ids, bool skip_special_tokens, std::optional<bool> clean_up) {
  return to_str(tokenizer.decode(ids_to_decode(ids), decode_options(skip_special_tokens, clean_up)));
}

void bind_decode_stream(py::module_& m) {
  using text::DecodeStream;
  py::class_<DecodeStream>(m, "DecodeStream", "Token ids in, text out as soon as its characters are complete.")
      .def(py::init([](const std::shared_ptr<Tokenizer>& tokenizer, bool skip_special_tokens, std::optional<bool> clean_up) {
             return DecodeStream(*tokenizer, decode_options(skip_special_tokens, clean_up));
           }),
           py::arg("tokenizer"), py::arg("skip_special_tokens") = false, py::arg("clean_up") = py::none(), py::keep_alive<1, 2>())
      .def(
          "push", [](DecodeStream& s, py::handle ids) { return to_str(s.push(ids_to_decode(ids))); }, py::arg("ids"))
      .def("finish", [](DecodeStream& s) { return to_str(s.finish()); });
}

// Without the vocabulary.
py::dict stages_of(const Tokenizer& tokenizer) {
  const text::TokenizerSpec& stages = tokenizer.stages();
  py::dict out;
  out["normalizer"] = to_python(stages.normalizer);
  out["pre_tokenizer"] = to_python(stages.pre_tokenizer);
  out["post_processor"] = to_python(stages.post_processor);
  out["decoder"] = to_python(stages.decoder);
  out["model"] = to_python(stages.model);
  return out;
}

HeldEncoding prepare(const std::shared_ptr<Tokenizer>& tokenizer, py::handle ids, py::handle pair, const EncodeOptions& options) {
  const std::vector<int32_t> first = ids_to_prepare(ids);
  std::vector<int32_t> kept;
  std::optional<std::span<const int32_t>> second;
  if (!pair.is_none()) second = kept = ids_to_prepare(pair);
  return HeldEncoding(tokenizer->prepare(first, second, options), tokenizer);
}

}  // namespace

Texts::Texts(const py::list& strings) {
  views_.reserve(strings.size());
  for (const py::handle s : strings) views_.push_back(add(s));
}

std::string_view Texts::add(py::handle s) {
  // the name of the type is asked for only where it is needed: it costs more than encoding a short text
  if (!PyUnicode_Check(s.ptr())) fail(ErrorCode::Type, "tokenizer", "expected a str, got ", py::str(py::type::handle_of(s)).cast<std::string>());
  Py_ssize_t n = 0;
  if (const char* p = PyUnicode_AsUTF8AndSize(s.ptr(), &n)) return {p, static_cast<size_t>(n)};
  PyErr_Clear();
  py::object bytes = py::reinterpret_steal<py::object>(PyUnicode_AsEncodedString(s.ptr(), "utf-8", "surrogatepass"));
  if (!bytes) throw py::error_already_set();
  std::string& text = kept_.emplace_back(PyBytes_AS_STRING(bytes.ptr()), static_cast<size_t>(PyBytes_GET_SIZE(bytes.ptr())));
  // one character for one, so that offsets are those of the str
  for (size_t i = 0; i + 2 < text.size(); ++i)
    if (text[i] == '\xED' && static_cast<unsigned char>(text[i + 1]) >= 0xA0) text.replace(i, 3, "\xEF\xBF\xBD");
  return text;
}

// Whether a list holds strings and nothing else: the usual batch, told from one of pairs without a look at each in Python.
bool are_strings(const py::list& values) {
  for (const py::handle value : values)
    if (!PyUnicode_Check(value.ptr())) return false;
  return true;
}

void bind_text(py::module_& m) {
  m.def("are_strings", &are_strings, py::arg("values"));
  bind_options(m);
  bind_encoding(m);
  bind_decode_stream(m);
  bind_added_token(m);
  bind_config(m);
  const auto unlocked = py::call_guard<py::gil_scoped_release>();
  py::class_<Tokenizer, std::shared_ptr<Tokenizer>>(m, "Tokenizer", "Text to token ids and back; several threads may use one.")
      .def_static("from_file", &Tokenizer::from_file, py::arg("path"), unlocked)
      .def_static(
          "from_json", [](const std::string& json) { return Tokenizer::from_json(json); }, py::arg("json"), unlocked)
      .def_static("from_folder", &Tokenizer::from_folder, py::arg("path"), unlocked)
      .def("encode_batch", &encode_batch, py::arg("texts"), py::arg("pairs"), py::arg("options"), py::arg("ids_only") = false,
           py::arg("lists") = std::vector<std::string>())
      .def(
          "encode_plain", [](const Tokenizer& t, py::handle text) { return t.encode_plain(Texts().add(text)); }, py::arg("text"),
          "The ids of a text in which nothing counts as an added token.")
      .def("encode_words", &encode_words, py::arg("texts"), py::arg("pairs"), py::arg("options"))
      .def("prepare", &prepare, py::arg("ids"), py::arg("pair"), py::arg("options"))
      .def("decode", &decode, py::arg("ids"), py::arg("skip_special_tokens") = false, py::arg("clean_up") = py::none())
      .def("join", &Tokenizer::join, py::arg("tokens"))
      .def("token_to_id", [](const Tokenizer& t, const std::string& token) { return t.token_to_id(token); })
      .def("id_to_token", [](const Tokenizer& t, Index id) { return t.id_to_token(id.value); })
      .def("has_id", [](const Tokenizer& t, Index id) { return t.has_id(id.value); })
      .def("vocab_size", &Tokenizer::vocab_size, py::arg("with_added") = true)
      .def("vocab", &Tokenizer::vocab, py::arg("with_added") = true)
      .def("add_tokens", [](Tokenizer& t, const std::vector<AddedToken>& tokens) { return t.add_tokens(tokens); })
      .def("added_tokens",
           [](const Tokenizer& t) {
             py::dict d;
             for (const auto& [id, entry] : t.added_tokens().entries()) d[py::int_(id)] = entry.token;
             return d;
           })
      .def("set_role", &Tokenizer::set_role)
      .def("name_role",
           [](Tokenizer& t, text::Role role, std::string token) { t.config().roles[static_cast<size_t>(role)] = std::move(token); })
      .def("set_bos_eos", &Tokenizer::set_bos_eos, py::arg("add_bos"), py::arg("add_eos"))
      .def("set_add_prefix_space", &Tokenizer::set_add_prefix_space)
      .def("set_language", &Tokenizer::set_language, py::arg("code"))
      .def("language_id", &Tokenizer::language_id, py::arg("code"))
      .def("languages", &Tokenizer::languages)
      .def("copy", [](const Tokenizer& t) { return std::make_shared<Tokenizer>(t); })
      .def_property_readonly("target", [](const Tokenizer& t) { return std::const_pointer_cast<Tokenizer>(t.target()); })
      .def("role", &Tokenizer::role)
      .def("role_id", &Tokenizer::role_id)
      .def("special_ids", &Tokenizer::special_ids)
      .def("num_special_tokens_to_add", &Tokenizer::num_special_tokens_to_add, py::arg("is_pair") = false)
      .def_property_readonly(
          "config", [](Tokenizer& t) -> TokenizerConfig& { return t.config(); }, py::return_value_policy::reference_internal)
      .def_property_readonly("model_type", &Tokenizer::model_type)
      .def_property_readonly("stages", &stages_of)
      .def_property_readonly("file_names", &Tokenizer::file_names)
      .def("to_json", &Tokenizer::to_json)
      .def("save", &Tokenizer::save, py::arg("folder"), unlocked);
  bind_train_tokenizer(m);
}

}  // namespace tenon::python
