// Binds text: the tokenizer, its encodings and options.
#include <pybind11/stl.h>

#include <optional>
#include <string_view>
#include <vector>

#include "bindings.h"
#include "tenon/text/tokenizer.h"

namespace tenon::python {
namespace {

using text::AddedToken;
using text::DecodeOptions;
using text::EncodeOptions;
using text::Encoding;
using text::Tokenizer;
using text::TokenizerConfig;

/// Views of Python strings. The list must outlive this object; strings with lone surrogates are kept here as (invalid) UTF-8, which
/// the tokenizer repairs.
class Texts {
 public:
  explicit Texts(const py::list& strings) {
    views_.reserve(strings.size());
    for (const py::handle s : strings) views_.push_back(view(s));
  }
  std::string_view operator[](size_t i) const { return views_[i]; }
  size_t size() const { return views_.size(); }
  const std::vector<std::string_view>& all() const { return views_; }

 private:
  std::string_view view(py::handle s) {
    check(py::isinstance<py::str>(s), ErrorCode::Type, "tokenizer", "expected a str, got ",
          py::str(py::type::handle_of(s)).cast<std::string>());
    Py_ssize_t n = 0;
    if (const char* p = PyUnicode_AsUTF8AndSize(s.ptr(), &n)) return {p, static_cast<size_t>(n)};
    PyErr_Clear();
    py::object bytes = py::reinterpret_steal<py::object>(PyUnicode_AsEncodedString(s.ptr(), "utf-8", "surrogatepass"));
    if (!bytes) throw py::error_already_set();
    kept_.push_back(bytes);
    return {PyBytes_AS_STRING(bytes.ptr()), static_cast<size_t>(PyBytes_GET_SIZE(bytes.ptr()))};
  }
  std::vector<std::string_view> views_;
  std::vector<py::object> kept_;
};

std::vector<Encoding> encode_batch(const Tokenizer& tokenizer, const py::list& texts, const std::optional<py::list>& pairs,
                                   const EncodeOptions& options) {
  const Texts first(texts), second(pairs.value_or(py::list()));
  check(!pairs || second.size() == first.size(), ErrorCode::Shape, "tokenizer", "expected as many second texts as texts, got ", second.size(),
        " and ", first.size());
  std::vector<text::TextInput> inputs(first.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    inputs[i].text = first[i];
    if (pairs) inputs[i].pair = second[i];
  }
  py::gil_scoped_release release;
  return tokenizer.encode_batch(std::span<const text::TextInput>(inputs), options);
}

std::vector<Encoding> encode_words(const Tokenizer& tokenizer, const std::vector<py::list>& texts,
                                   const std::optional<std::vector<py::list>>& pairs, const EncodeOptions& options) {
  check(!pairs || pairs->size() == texts.size(), ErrorCode::Shape, "tokenizer", "expected as many second texts as texts, got ",
        pairs ? pairs->size() : 0, " and ", texts.size());
  std::vector<Texts> kept;
  kept.reserve(2 * texts.size());
  std::vector<text::WordsInput> inputs(texts.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    inputs[i].words = kept.emplace_back(texts[i]).all();
    if (pairs) inputs[i].pair = kept.emplace_back((*pairs)[i]).all();
  }
  py::gil_scoped_release release;
  return tokenizer.encode_batch(std::span<const text::WordsInput>(inputs), options);
}

/// One field of encodings of one length as a tensor. Shapes: -> (B,T) int64. Errors: Error(Shape) if the lengths differ.
Tensor stack(const std::vector<const Encoding*>& encodings, std::vector<int32_t> Encoding::*field) {
  const auto B = static_cast<int64_t>(encodings.size()), T = B ? static_cast<int64_t>(encodings[0]->size()) : 0;
  Tensor t = Tensor::empty({B, T}, DType::I64);
  int64_t* to = t.data<int64_t>();
  for (const Encoding* e : encodings) {
    check(static_cast<int64_t>(e->size()) == T, ErrorCode::Shape, "tokenizer", "expected texts of one length for a tensor, got ", T, " and ",
          e->size(), " tokens (padding=True makes them equal)");
    for (const int32_t v : e->*field) *to++ = v;
  }
  return t;
}

py::list optional_ids(const std::vector<int32_t>& ids) {
  py::list list(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) list[i] = ids[i] < 0 ? py::object(py::none()) : py::object(py::int_(ids[i]));
  return list;
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

void bind_encoding(py::module_& m) {
  py::class_<Encoding>(m, "Encoding", "The tokens of one text or pair.")
      .def_readonly("ids", &Encoding::ids)
      .def_readonly("type_ids", &Encoding::type_ids)
      .def_readonly("attention_mask", &Encoding::attention_mask)
      .def_readonly("special_tokens_mask", &Encoding::special_tokens_mask)
      .def_readonly("offsets", &Encoding::offsets)
      .def_readonly("overflowing", &Encoding::overflowing)
      .def_property_readonly("word_ids", [](const Encoding& e) { return optional_ids(e.word_ids); })
      .def_property_readonly("sequence_ids", [](const Encoding& e) { return optional_ids(e.sequence_ids); })
      .def("__len__", &Encoding::size)
      .def("char_to_token", &Encoding::char_to_token, py::arg("position"), py::arg("sequence") = 0)
      .def("char_to_word", &Encoding::char_to_word, py::arg("position"), py::arg("sequence") = 0)
      .def("word_to_tokens", &Encoding::word_to_tokens, py::arg("word"), py::arg("sequence") = 0)
      .def("word_to_chars", &Encoding::word_to_chars, py::arg("word"), py::arg("sequence") = 0);
  m.def("stack_ids", [](const std::vector<const Encoding*>& e) { return stack(e, &Encoding::ids); });
  m.def("stack_type_ids", [](const std::vector<const Encoding*>& e) { return stack(e, &Encoding::type_ids); });
  m.def("stack_attention_mask", [](const std::vector<const Encoding*>& e) { return stack(e, &Encoding::attention_mask); });
  m.def("stack_special_tokens_mask", [](const std::vector<const Encoding*>& e) { return stack(e, &Encoding::special_tokens_mask); });
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
      .def("__repr__", [](const AddedToken& t) { return "AddedToken(" + py::repr(py::str(t.content)).cast<std::string>() + ")"; })
      .def("__eq__", [](const AddedToken& a, const AddedToken& b) { return a == b; }, py::is_operator())
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

py::str decode(const Tokenizer& tokenizer, const std::vector<int64_t>& ids, bool skip_special_tokens, std::optional<bool> clean_up) {
  std::vector<int32_t> narrow;
  narrow.reserve(ids.size());
  for (const int64_t id : ids) {
    check(id >= 0 && id <= INT32_MAX, ErrorCode::Limit, "tokenizer", "decode: expected ids of the vocabulary, got ", id);
    narrow.push_back(static_cast<int32_t>(id));
  }
  const std::string text =
      tokenizer.decode(narrow, {.skip_special_tokens = skip_special_tokens, .clean_up = clean_up, .skip_unknown_ids = false});
  return py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

}  // namespace

void bind_text(py::module_& m) {
  bind_options(m);
  bind_encoding(m);
  bind_added_token(m);
  bind_config(m);
  const auto unlocked = py::call_guard<py::gil_scoped_release>();
  py::class_<Tokenizer, std::shared_ptr<Tokenizer>>(m, "Tokenizer", "Text to token ids and back; several threads may use one.")
      .def_static("from_file", &Tokenizer::from_file, py::arg("path"), unlocked)
      .def_static("from_json", [](const std::string& json) { return Tokenizer::from_json(json); }, py::arg("json"), unlocked)
      .def_static("from_folder", &Tokenizer::from_folder, py::arg("path"), unlocked)
      .def("encode_batch", &encode_batch, py::arg("texts"), py::arg("pairs"), py::arg("options"))
      .def("encode_words", &encode_words, py::arg("texts"), py::arg("pairs"), py::arg("options"))
      .def("decode", &decode, py::arg("ids"), py::arg("skip_special_tokens") = false, py::arg("clean_up") = py::none())
      .def("join", &Tokenizer::join, py::arg("tokens"))
      .def("token_to_id", [](const Tokenizer& t, const std::string& token) { return t.token_to_id(token); })
      .def("id_to_token", &Tokenizer::id_to_token)
      .def("has_id", &Tokenizer::has_id)
      .def("vocab_size", &Tokenizer::vocab_size, py::arg("with_added") = true)
      .def("vocab", &Tokenizer::vocab, py::arg("with_added") = true)
      .def("add_tokens", [](Tokenizer& t, const std::vector<AddedToken>& tokens) { return t.add_tokens(tokens); })
      .def("added_tokens", [](const Tokenizer& t) {
        py::dict d;
        for (const auto& [id, entry] : t.added_tokens().entries()) d[py::int_(id)] = entry.token;
        return d;
      })
      .def("set_role", &Tokenizer::set_role)
      .def("role", &Tokenizer::role)
      .def("role_id", &Tokenizer::role_id)
      .def("special_ids", &Tokenizer::special_ids)
      .def("num_special_tokens_to_add", &Tokenizer::num_special_tokens_to_add, py::arg("is_pair") = false)
      .def_property_readonly("config", [](Tokenizer& t) -> TokenizerConfig& { return t.config(); }, py::return_value_policy::reference_internal)
      .def("to_json", &Tokenizer::to_json)
      .def("save", &Tokenizer::save, py::arg("folder"), unlocked);
}

}  // namespace tenon::python
