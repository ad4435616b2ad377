// An encoding that knows its tokenizer, as Python holds it.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings.h"
#include "id_batch.h"
#include "tenon/text/tokenizer.h"

namespace tenon::python {

struct HeldEncoding : text::Encoding {
  HeldEncoding() = default;
  HeldEncoding(text::Encoding e, std::shared_ptr<const text::Tokenizer> t) : text::Encoding(std::move(e)), tokenizer(std::move(t)) {}
  /// The tokens as strings.
  std::vector<std::string> tokens() const;

  std::shared_ptr<const text::Tokenizer> tokenizer;  // none in an unpickled one: its tokens are all in `texts`
};

/// Views of Python strings. The strings must outlive this object; those with lone surrogates are kept here with U+FFFD in their place.
class Texts {
 public:
  Texts() = default;
  explicit Texts(const py::list& strings);
  /// Errors: Error(Type) if it is no str.
  std::string_view add(py::handle s);
  std::string_view operator[](size_t i) const { return views_[i]; }
  size_t size() const { return views_.size(); }
  const std::vector<std::string_view>& all() const { return views_; }

 private:
  std::vector<std::string_view> views_;
  std::deque<std::string> kept_;
};

/// The encodings of a batch. Most callers want lists of ids and none of the encodings, so those become Python objects when asked for; of a
/// large batch whose caller asked for ids and masks alone even the rest of the encodings is made when it is asked for, by encoding again.
class Encodings {
 public:
  Encodings(std::vector<text::Encoding> list, std::shared_ptr<const text::Tokenizer> tokenizer)
      : list_(std::move(list)), tokenizer_(std::move(tokenizer)) {}
  /// Ids alone, of single texts, which `texts` keeps alive and `views` shows; the tokenizer may change later, so this one is a copy.
  /// `lists` are made early.
  Encodings(const py::list& texts, const Texts& views, const text::Tokenizer& tokenizer, const text::EncodeOptions& options,
            const std::vector<Column>& lists);

  size_t size() const { return batch_ ? batch_->size() : list_.size(); }
  size_t longest() const;
  /// The ids, while nothing else was asked for, and for the column they are enough; else null.
  IdBatch* batch(Column column) { return batch_ && (column != Column::TypeIds || has_zero_types_) ? &*batch_ : nullptr; }
  const std::vector<text::Encoding>& complete();
  const std::shared_ptr<const text::Tokenizer>& tokenizer() const { return tokenizer_; }

 private:
  std::optional<IdBatch> batch_;
  std::vector<text::Encoding> list_;  // empty while there is a batch_
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  bool has_zero_types_ = false;
  py::list texts_;
  text::EncodeOptions options_;
};

void bind_encoding(py::module_& m);
void bind_train_tokenizer(py::module_& m);

}  // namespace tenon::python
