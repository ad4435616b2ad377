// An encoding that knows its tokenizer, as Python holds it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings.h"
#include "tenon/text/tokenizer.h"

namespace tenon::python {

struct HeldEncoding : text::Encoding {
  HeldEncoding() = default;
  HeldEncoding(text::Encoding e, std::shared_ptr<const text::Tokenizer> t) : text::Encoding(std::move(e)), tokenizer(std::move(t)) {}
  /// The tokens as strings.
  std::vector<std::string> tokens() const;

  std::shared_ptr<const text::Tokenizer> tokenizer;  // none in an unpickled one: its tokens are all in `texts`
};

/// The encodings of a batch. Most callers want lists of ids and none of the encodings, so those become Python objects when asked for.
struct Encodings {
  std::vector<text::Encoding> list;
  std::shared_ptr<const text::Tokenizer> tokenizer;
};

void bind_encoding(py::module_& m);
void bind_train_tokenizer(py::module_& m);

/// Views of Python strings. The strings must outlive this object; those with lone surrogates are kept here as (invalid) UTF-8, which the
/// tokenizer repairs.
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
  std::vector<py::object> kept_;
};

}  // namespace tenon::python
