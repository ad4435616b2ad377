// An encoding that knows its tokenizer, as Python holds it.
#pragma once

#include <memory>
#include <string>
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

}  // namespace tenon::python
