// Binds text::Encoding, with the tokenizer that made it (for the tokens as strings), and fields of several as one tensor.
#include <pybind11/stl.h>

#include <algorithm>

#include "encoding.h"
#include "ids.h"

namespace tenon::python {
namespace {

using text::Encoding;

using Field = std::vector<int32_t> Encoding::*;

/// One field of encodings of one length as a tensor. Shapes: -> (B,T) int64. Errors: Error(Shape) if the lengths differ.
template <class Range, class Get>
Tensor stack(const Range& encodings, Get&& get, Field field) {
  const auto B = static_cast<int64_t>(encodings.size()), T = B ? static_cast<int64_t>(get(encodings[0]).size()) : 0;
  Tensor t = Tensor::empty({B, T}, DType::I64);
  int64_t* to = t.data<int64_t>();
  for (const auto& entry : encodings) {
    const Encoding& e = get(entry);
    check(static_cast<int64_t>(e.size()) == T, ErrorCode::Shape, "tokenizer", "expected texts of one length for a tensor, got ", T, " and ",
          e.size(), " tokens (padding=True makes them equal)");
    for (const int32_t v : e.*field) *to++ = v;
  }
  return t;
}

template <Field field>
Tensor stack_list(const std::vector<const HeldEncoding*>& encodings) {
  return stack(
      encodings, [](const HeldEncoding* e) -> const Encoding& { return *e; }, field);
}

template <Column column, Field field>
Tensor stack_all(Encodings& encodings) {
  if (const IdBatch* batch = encodings.batch(column)) return batch->stack(column);
  return stack(
      encodings.complete(), [](const Encoding& e) -> const Encoding& { return e; }, field);
}

Tensor stack_special_tokens_mask(Encodings& encodings) {
  return stack(
      encodings.complete(), [](const Encoding& e) -> const Encoding& { return e; }, &Encoding::special_tokens_mask);
}

// One field of every encoding as lists.
py::list field_lists(const std::vector<Encoding>& encodings, Field field) {
  py::list out(encodings.size());
  for (size_t i = 0; i < encodings.size(); ++i) {
    const std::vector<int32_t>& values = encodings[i].*field;
    py::list row(values.size());
    for (size_t k = 0; k < values.size(); ++k) {
      PyObject* number = shared_int(values[k]);
      if (!number) throw py::error_already_set();
      PyList_SET_ITEM(row.ptr(), static_cast<Py_ssize_t>(k), number);
    }
    leave_to_counting(row.ptr());
    PyList_SET_ITEM(out.ptr(), static_cast<Py_ssize_t>(i), row.release().ptr());
  }
  return out;
}

template <Column column, Field field>
py::list lists(Encodings& encodings) {
  if (IdBatch* batch = encodings.batch(column)) return batch->lists(column);
  return field_lists(encodings.complete(), field);
}

// Offsets as lists of pairs.
py::list offset_lists(Encodings& encodings) {
  py::list out;
  for (const Encoding& encoding : encodings.complete()) {
    py::list row(encoding.offsets.size());
    for (size_t k = 0; k < row.size(); ++k) {
      const auto& [begin, end] = encoding.offsets[k];
      PyObject* pair = PyTuple_New(2);
      if (!pair) throw py::error_already_set();
      PyList_SET_ITEM(row.ptr(), static_cast<Py_ssize_t>(k), pair);
      PyObject* first = PyLong_FromUnsignedLong(begin);
      PyObject* last = PyLong_FromUnsignedLong(end);
      PyTuple_SET_ITEM(pair, 0, first);
      PyTuple_SET_ITEM(pair, 1, last);
      if (!first || !last) throw py::error_already_set();
      leave_to_counting(pair);
    }
    leave_to_counting(row.ptr());
    out.append(std::move(row));
  }
  return out;
}

std::vector<text::TextInput> inputs_of(const Texts& texts) {
  std::vector<text::TextInput> out(texts.size());
  for (size_t i = 0; i < out.size(); ++i) out[i].text = texts[i];
  return out;
}

HeldEncoding encoding_at(Encodings& encodings, Index index) {
  const auto n = static_cast<int64_t>(encodings.size());
  const int64_t i = index.value;
  if (i < -n || i >= n) throw py::index_error("[tokenizer] expected the index of a text");
  return HeldEncoding(encodings.complete()[static_cast<size_t>(i < 0 ? i + n : i)], encodings.tokenizer());
}

void bind_encodings(py::module_& m) {
  py::class_<Encodings>(m, "Encodings", "The encodings of a batch, made into objects one by one.")
      .def("__len__", &Encodings::size)
      .def("__getitem__", &encoding_at, py::arg("index"))
      .def_property_readonly("ids", &lists<Column::Ids, &Encoding::ids>)
      .def_property_readonly("type_ids", &lists<Column::TypeIds, &Encoding::type_ids>)
      .def_property_readonly("attention_mask", &lists<Column::AttentionMask, &Encoding::attention_mask>)
      .def_property_readonly("special_tokens_mask", [](Encodings& e) { return field_lists(e.complete(), &Encoding::special_tokens_mask); })
      .def_property_readonly("offsets", &offset_lists)
      .def_property_readonly("longest", &Encodings::longest, "Tokens of the longest one.");
}

py::list optional_ids(const std::vector<int32_t>& ids) {
  py::list list(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) list[i] = ids[i] < 0 ? py::object(py::none()) : py::object(py::int_(ids[i]));
  return list;
}

template <class Int>
py::object unless_negative(Int v) {
  return v < 0 ? py::object(py::none()) : py::object(py::int_(v));
}

template <class Pair>
py::object unless_empty(const Pair& range) {
  return range.first == range.second ? py::object(py::none()) : py::object(py::make_tuple(range.first, range.second));
}

// The value of a token, None outside the list and for -1.
py::object at(const std::vector<int32_t>& values, Index index) {
  const int64_t i = index.value;
  return i < 0 || i >= static_cast<int64_t>(values.size()) ? py::object(py::none()) : unless_negative(values[static_cast<size_t>(i)]);
}

py::object token_to_chars(const HeldEncoding& e, Index token) {
  if (at(e.sequence_ids, token).is_none()) return py::none();
  const auto& [begin, end] = e.offsets[static_cast<size_t>(token.value)];
  return py::make_tuple(begin, end);
}

template <class Position>
bool is_position(Index v) {
  return v.value >= 0 && v.value <= static_cast<int64_t>(std::numeric_limits<Position>::max());
}

py::tuple get_state(const HeldEncoding& e) {
  py::list overflowing;
  for (const Encoding& window : e.overflowing) overflowing.append(HeldEncoding(window, e.tokenizer));
  return py::make_tuple(e.ids, e.type_ids, e.attention_mask, e.special_tokens_mask, e.offsets, e.word_ids, e.sequence_ids, e.tokens(),
                        overflowing);
}

HeldEncoding set_state(const py::tuple& state) {
  check(state.size() == 9, ErrorCode::Format, "Encoding", "expected a pickled Encoding");
  HeldEncoding e;
  e.ids = state[0].cast<std::vector<int32_t>>();
  e.type_ids = state[1].cast<std::vector<int32_t>>();
  e.attention_mask = state[2].cast<std::vector<int32_t>>();
  e.special_tokens_mask = state[3].cast<std::vector<int32_t>>();
  e.offsets = state[4].cast<std::vector<std::pair<uint32_t, uint32_t>>>();
  e.word_ids = state[5].cast<std::vector<int32_t>>();
  e.sequence_ids = state[6].cast<std::vector<int32_t>>();
  const auto tokens = state[7].cast<std::vector<std::string>>();
  for (const size_t n : {e.type_ids.size(), e.attention_mask.size(), e.special_tokens_mask.size(), e.offsets.size(), e.word_ids.size(),
                         e.sequence_ids.size(), tokens.size()})
    check(n == e.size(), ErrorCode::Format, "Encoding", "expected fields of one length, got ", n, " and ", e.size());
  for (size_t i = 0; i < tokens.size(); ++i) e.texts.emplace_back(static_cast<uint32_t>(i), tokens[i]);
  for (const py::handle window : state[8]) e.overflowing.push_back(window.cast<const HeldEncoding&>());
  return e;
}

}  // namespace

Encodings::Encodings(const py::list& texts, const Texts& views, const text::Tokenizer& tokenizer, const text::EncodeOptions& options,
                     const std::vector<Column>& lists)
    : tokenizer_(std::make_shared<text::Tokenizer>(tokenizer)), texts_(texts), options_(options) {
  const int32_t one = 0;
  const Encoding framed = tokenizer_->prepare(std::span(&one, 1));
  has_zero_types_ = tokenizer_->config().pad_token_type_id == 0 &&
                    std::all_of(framed.type_ids.begin(), framed.type_ids.end(), [](int32_t t) { return t == 0; });
  std::vector<Column> early = lists;
  if (!has_zero_types_) std::erase(early, Column::TypeIds);
  batch_.emplace(views.all(), *tokenizer_, options_, early);
}

size_t Encodings::longest() const {
  if (batch_) return batch_->longest();
  size_t n = 0;
  for (const Encoding& e : list_) n = std::max(n, e.size());
  return n;
}

const std::vector<Encoding>& Encodings::complete() {
  if (!batch_) return list_;
  std::vector<Encoding> list;
  const Texts views(texts_);
  {
    const py::gil_scoped_release release;
    const std::vector<text::TextInput> inputs = inputs_of(views);
    list = tokenizer_->encode_batch(std::span<const text::TextInput>(inputs), options_);
  }
  // another thread may have been faster
  if (batch_) list_ = std::move(list);
  batch_.reset();
  return list_;
}

std::vector<std::string> HeldEncoding::tokens() const {
  if (tokenizer) return tokenizer->tokens(*this);
  std::vector<std::string> out(size());
  for (const auto& [i, text] : texts) out[i] = text;
  return out;
}

void bind_encoding(py::module_& m) {
  py::class_<HeldEncoding>(m, "Encoding", "The tokens of one text or pair.")
      .def_readonly("ids", &HeldEncoding::ids)
      .def_readonly("type_ids", &HeldEncoding::type_ids)
      .def_readonly("attention_mask", &HeldEncoding::attention_mask)
      .def_readonly("special_tokens_mask", &HeldEncoding::special_tokens_mask)
      .def_readonly("offsets", &HeldEncoding::offsets)
      .def_property_readonly("overflowing",
                             [](const HeldEncoding& e) {
                               std::vector<HeldEncoding> out;
                               for (const Encoding& window : e.overflowing) out.emplace_back(window, e.tokenizer);
                               return out;
                             })
      .def_property_readonly("tokens", &HeldEncoding::tokens)
      .def_property_readonly("word_ids", [](const HeldEncoding& e) { return optional_ids(e.word_ids); })
      .def_property_readonly("words", [](const HeldEncoding& e) { return optional_ids(e.word_ids); })
      .def_property_readonly("sequence_ids", [](const HeldEncoding& e) { return optional_ids(e.sequence_ids); })
      .def_property_readonly("n_sequences", &HeldEncoding::n_sequences)
      .def("__len__", &HeldEncoding::size)
      .def("__repr__",
           [](const HeldEncoding& e) {
             return "Encoding(num_tokens=" + std::to_string(e.size()) +
                    ", attributes=[ids, type_ids, tokens, offsets, attention_mask, special_tokens_mask, overflowing])";
           })
      .def(
          "token_to_sequence", [](const HeldEncoding& e, Index token) { return at(e.sequence_ids, token); }, py::arg("token_index"))
      .def(
          "token_to_word", [](const HeldEncoding& e, Index token) { return at(e.word_ids, token); }, py::arg("token_index"))
      .def("token_to_chars", &token_to_chars, py::arg("token_index"))
      .def(
          "char_to_token",
          [](const HeldEncoding& e, Index position, int sequence) -> py::object {
            if (!is_position<uint32_t>(position)) return py::none();
            return unless_negative(e.char_to_token(static_cast<uint32_t>(position.value), sequence));
          },
          py::arg("char_pos"), py::arg("sequence_index") = 0)
      .def(
          "char_to_word",
          [](const HeldEncoding& e, Index position, int sequence) -> py::object {
            if (!is_position<uint32_t>(position)) return py::none();
            return unless_negative(e.char_to_word(static_cast<uint32_t>(position.value), sequence));
          },
          py::arg("char_pos"), py::arg("sequence_index") = 0)
      .def(
          "word_to_tokens",
          [](const HeldEncoding& e, Index word, int sequence) -> py::object {
            if (!is_position<int32_t>(word)) return py::none();
            return unless_empty(e.word_to_tokens(static_cast<int32_t>(word.value), sequence));
          },
          py::arg("word_index"), py::arg("sequence_index") = 0)
      .def(
          "word_to_chars",
          [](const HeldEncoding& e, Index word, int sequence) -> py::object {
            if (!is_position<int32_t>(word)) return py::none();
            const auto tokens = e.word_to_tokens(static_cast<int32_t>(word.value), sequence);
            if (tokens.first == tokens.second) return py::none();
            const auto [begin, end] = e.word_to_chars(static_cast<int32_t>(word.value), sequence);
            return py::make_tuple(begin, end);
          },
          py::arg("word_index"), py::arg("sequence_index") = 0)
      .def(py::pickle(&get_state, &set_state));
  bind_encodings(m);
  // Encodings first: it is a sequence too, of objects that would die before their pointers are read
  m.def("stack_ids", &stack_all<Column::Ids, &Encoding::ids>);
  m.def("stack_ids", &stack_list<&Encoding::ids>);
  m.def("stack_type_ids", &stack_all<Column::TypeIds, &Encoding::type_ids>);
  m.def("stack_type_ids", &stack_list<&Encoding::type_ids>);
  m.def("stack_attention_mask", &stack_all<Column::AttentionMask, &Encoding::attention_mask>);
  m.def("stack_attention_mask", &stack_list<&Encoding::attention_mask>);
  m.def("stack_special_tokens_mask", &stack_special_tokens_mask);
  m.def("stack_special_tokens_mask", &stack_list<&Encoding::special_tokens_mask>);
}

}  // namespace tenon::python
