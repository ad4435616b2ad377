// The ids of a batch of texts on their way to Python lists and tensors.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "bindings.h"
#include "tenon/text/tokenizer.h"

namespace tenon::python {

/// The columns that ids and their number are enough for.
enum class Column { Ids, TypeIds, AttentionMask };
inline constexpr std::array<const char*, 3> kColumnNames = {"ids", "type_ids", "attention_mask"};

/// Texts of a batch as ids alone, padded where the options say. Type ids are 0 for every token.
class IdBatch {
 public:
  /// Encodes on all threads. The columns in `lists` become Python lists while the others still encode, which takes the GIL for
  /// moments only; it must be held by the caller. Errors: as Tokenizer::encode()'s.
  IdBatch(const std::vector<std::string_view>& texts, const text::Tokenizer& tokenizer, const text::EncodeOptions& options,
          const std::vector<Column>& lists);

  size_t size() const { return lengths_.size(); }
  /// Tokens of the longest text, padding included.
  size_t longest() const;
  py::list lists(Column column);
  /// Shapes: -> (B,T) int64. Errors: Error(Shape) if the texts are not of one length.
  Tensor stack(Column column) const;

 private:
  class Maker;
  std::vector<std::vector<int32_t>> parts_;  // ids of neighbouring texts, one after another
  std::vector<uint32_t> lengths_;            // of the texts, without padding
  std::optional<text::PaddingPlan> padding_;
  std::array<py::list, kColumnNames.size()> made_;  // empty unless asked for in time, and once handed out
};

/// The int object of a number: one for each id that was ever asked for, shared by all lists, since making one costs more than finding its
/// token in the vocabulary. They stay until the process ends. Needs the GIL; returns a new reference, or null with an error set.
PyObject* shared_int(int32_t value);

/// Takes a list or tuple of numbers off the list of Python's collector of cycles, as Python itself does with tuples and NumPy with arrays
/// of objects: it would look at every number of a batch, on one thread, for up to a fifth of the time that making the batch takes. The
/// object goes when its last reference does; only a cycle that someone makes of it later is never found.
void leave_to_counting(PyObject* numbers);

}  // namespace tenon::python
