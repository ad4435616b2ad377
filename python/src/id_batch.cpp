// IdBatch: encoding in parts, and making lists of those that are done while others are not.
#include "id_batch.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "tenon/core/parallel.h"
#include "tenon/text/id_encoder.h"

namespace tenon::python {
namespace {

// Large enough that a part pays for taking the GIL, small enough that the last ones do not leave a thread without work.
constexpr size_t kPartBytes = size_t{1} << 13, kMostParts = 512;

// Python's collector of cycles would come whenever there are some hundred more objects; it waits until they are all there.
class CollectorPause {
 public:
  CollectorPause() : was_on_(PyGC_Disable() != 0) {}
  ~CollectorPause() {
    if (was_on_) PyGC_Enable();
  }
  CollectorPause(const CollectorPause&) = delete;
  CollectorPause& operator=(const CollectorPause&) = delete;

 private:
  bool was_on_;
};

// The objects that are shared, null for a number that nobody asked for.
constexpr int32_t kShared = 1 << 18;  // vocabularies are smaller; other numbers get an object of their own
PyObject** shared_ints() {
  static PyObject** known = new PyObject*[kShared]();
  return known;
}
inline PyObject* int_of(PyObject** known, int32_t value) {
  if (value < 0 || value >= kShared) return PyLong_FromLong(value);
  PyObject*& object = known[value];
  if (!object) object = PyLong_FromLong(value);
  Py_XINCREF(object);
  return object;
}

// A list of n numbers. value(k) is a new reference, or null with an error set.
template <class Value>
PyObject* make_row(size_t n, Value&& value) {
  PyObject* row = PyList_New(static_cast<Py_ssize_t>(n));
  if (!row) throw py::error_already_set();
  for (size_t k = 0; k < n; ++k) {
    PyObject* number = value(k);
    if (!number) {
      Py_DECREF(row);
      throw py::error_already_set();
    }
    PyList_SET_ITEM(row, static_cast<Py_ssize_t>(k), number);
  }
  leave_to_counting(row);
  return row;
}

// The row of a column for a text of n ids, brought to `length` with padding.
PyObject* column_row(Column column, const int32_t* ids, size_t n, size_t length, const text::PaddingPlan* padding) {
  PyObject** const ints = shared_ints();
  const size_t begin = padding && padding->side == text::Side::Left ? length - n : 0;
  const int32_t pad = padding ? padding->id : 0;
  switch (column) {
    case Column::Ids:
      return make_row(length, [&](size_t k) { return int_of(ints, k - begin < n ? ids[k - begin] : pad); });
    case Column::AttentionMask:
      return make_row(length, [&](size_t k) { return int_of(ints, k - begin < n); });
    case Column::TypeIds: break;
  }
  return make_row(length, [&](size_t) { return int_of(ints, 0); });
}

}  // namespace

PyObject* shared_int(int32_t value) { return int_of(shared_ints(), value); }

void leave_to_counting(PyObject* numbers) { PyObject_GC_UnTrack(numbers); }

// What the threads share while a batch is encoded.
class IdBatch::Maker {
 public:
  Maker(IdBatch& batch, const std::vector<std::string_view>& texts, const text::Tokenizer& tokenizer, const text::EncodeOptions& options,
        const std::vector<Column>& lists)
      : batch_(batch), texts_(texts), tokenizer_(tokenizer), options_(options), lists_(lists) {
    size_t bytes = 0;
    for (const std::string_view text : texts) bytes += text.size();
    const size_t most = std::max(kPartBytes, bytes / kMostParts);
    bytes = 0;
    for (size_t i = 0; i < texts.size(); ++i) {
      if (i == 0 || bytes >= most) {
        begins_.push_back(i);
        bytes = 0;
      }
      bytes += texts[i].size() + 1;
    }
    begins_.push_back(texts.size());
    batch.parts_.resize(parts());
    is_ready_ = std::vector<std::atomic<bool>>(parts());
  }

  size_t parts() const { return begins_.size() - 1; }

  // The work of one thread; the caller's makes the lists.
  void run(bool is_caller) {
    const bool converts = is_caller && !lists_.empty();
    try {
      text::IdEncoder encoder(tokenizer_, options_);
      for (size_t part = next_++; part < parts(); part = next_++) {
        encode(part, encoder);
        if (converts) convert_done();
      }
      // the others are at their last parts
      while (converts && !is_failed_ && converted_ < parts()) {
        const size_t seen = done_;
        convert_done();
        if (converted_ < parts() && !is_failed_) done_.wait(seen);
      }
    } catch (...) {
      is_failed_ = true;
      next_ = parts();
      ++done_;
      done_.notify_all();
      throw;
    }
  }

 private:
  void encode(size_t part, text::IdEncoder& encoder) {
    std::vector<int32_t>& ids = batch_.parts_[part];
    for (size_t i = begins_[part]; i < begins_[part + 1]; ++i) {
      const size_t first = ids.size();
      encoder.append({texts_[i]}, ids);
      batch_.lengths_[i] = static_cast<uint32_t>(ids.size() - first);
    }
    is_ready_[part] = true;
    ++done_;
    done_.notify_all();
  }

  void convert_done() {
    if (done_ == converted_) return;
    const py::gil_scoped_acquire acquire;
    for (size_t part = 0; part < parts(); ++part) {
      if (!is_ready_[part]) continue;
      is_ready_[part] = false;
      convert(part);
      ++converted_;
    }
  }

  void convert(size_t part) {
    const int32_t* ids = batch_.parts_[part].data();
    for (size_t i = begins_[part]; i < begins_[part + 1]; ++i) {
      const size_t n = batch_.lengths_[i];
      for (const Column column : lists_)
        PyList_SET_ITEM(batch_.made_[static_cast<size_t>(column)].ptr(), static_cast<Py_ssize_t>(i), column_row(column, ids, n, n, nullptr));
      ids += n;
    }
  }

  IdBatch& batch_;
  const std::vector<std::string_view>& texts_;
  const text::Tokenizer& tokenizer_;
  const text::EncodeOptions& options_;
  const std::vector<Column>& lists_;
  std::vector<size_t> begins_;               // the first text of each part, and the number of texts
  std::vector<std::atomic<bool>> is_ready_;  // whether a part is encoded and waits for its lists
  std::atomic<size_t> next_{0}, done_{0};
  std::atomic<bool> is_failed_{false};
  size_t converted_ = 0;  // parts with lists; the caller's alone
};

IdBatch::IdBatch(const std::vector<std::string_view>& texts, const text::Tokenizer& tokenizer, const text::EncodeOptions& options,
                 const std::vector<Column>& lists)
    : lengths_(texts.size()) {
  // with padding no list is done before the last text is
  const bool is_padded = options.padding != text::Padding::None;
  const std::vector<Column> early = is_padded ? std::vector<Column>() : lists;
  const CollectorPause pause;
  for (const Column column : early) made_[static_cast<size_t>(column)] = py::list(texts.size());
  const py::gil_scoped_release release;
  Maker maker(*this, texts, tokenizer, options, early);
  const auto threads = static_cast<int64_t>(std::min(static_cast<size_t>(get_num_threads()), std::max<size_t>(1, maker.parts())));
  parallel_for(static_cast<int>(threads), threads, 1, [&](int64_t begin, int64_t) { maker.run(begin == 0); });
  if (is_padded) padding_ = tokenizer.padding_for(options, longest());
}

size_t IdBatch::longest() const {
  const size_t n = lengths_.empty() ? 0 : *std::max_element(lengths_.begin(), lengths_.end());
  return padding_ ? std::max(n, padding_->length) : n;
}

py::list IdBatch::lists(Column column) {
  py::list& made = made_[static_cast<size_t>(column)];
  if (made.size() == size() && size() > 0) return std::exchange(made, py::list());
  const CollectorPause pause;
  py::list out(size());
  size_t i = 0;
  for (const std::vector<int32_t>& part : parts_) {
    const int32_t* const end = part.data() + part.size();
    for (const int32_t* ids = part.data(); i < size() && static_cast<size_t>(end - ids) >= lengths_[i]; ++i) {
      const size_t n = lengths_[i], length = padding_ ? std::max(n, padding_->length) : n;
      PyList_SET_ITEM(out.ptr(), static_cast<Py_ssize_t>(i), column_row(column, ids, n, length, padding_ ? &*padding_ : nullptr));
      ids += n;
    }
  }
  return out;
}

Tensor IdBatch::stack(Column column) const {
  const size_t B = size();
  const auto length = [&](size_t i) { return padding_ ? std::max<size_t>(lengths_[i], padding_->length) : lengths_[i]; };
  const size_t T = B ? length(0) : 0;
  Tensor t = Tensor::empty({static_cast<int64_t>(B), static_cast<int64_t>(T)}, DType::I64);
  int64_t* row = t.data<int64_t>();
  const bool is_left = padding_ && padding_->side == text::Side::Left;
  size_t i = 0;
  for (const std::vector<int32_t>& part : parts_) {
    const int32_t* const end = part.data() + part.size();
    for (const int32_t* ids = part.data(); i < B && static_cast<size_t>(end - ids) >= lengths_[i]; ++i, row += T) {
      const size_t n = lengths_[i], begin = is_left ? T - n : 0;
      check(length(i) == T, ErrorCode::Shape, "tokenizer", "expected texts of one length for a tensor, got ", T, " and ", length(i),
            " tokens (padding=True makes them equal)");
      std::fill_n(row, T, column == Column::Ids && padding_ ? padding_->id : 0);
      if (column == Column::Ids) std::copy_n(ids, n, row + begin);
      if (column == Column::AttentionMask) std::fill_n(row + begin, n, 1);
      ids += n;
    }
  }
  return t;
}

}  // namespace tenon::python
