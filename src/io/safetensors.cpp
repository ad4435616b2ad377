// Reading and checking safetensors headers (through simdjson), and writing files.
#include "tenon/io/safetensors.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "tenon/core/json.h"
#include "tenon/io/files.h"
#include "tenon/io/mapped_file.h"

namespace tenon::io {
namespace {

using simdjson::dom::element;

constexpr size_t kMaxHeaderBytes = 100'000'000;  // as the reference reader
constexpr size_t kMaxDepth = 64;
constexpr std::string_view kMetadataKey = "__metadata__";

struct DTypeName {
  std::string_view name;
  DType dtype;
};
/// Narrow to wide: the reference writer puts the tensors of later rows first.
constexpr std::array kDTypes = {
    DTypeName{"BOOL", DType::Bool},      DTypeName{"U8", DType::U8},          DTypeName{"I8", DType::I8},
    DTypeName{"F8_E5M2", DType::F8E5M2}, DTypeName{"F8_E4M3", DType::F8E4M3}, DTypeName{"F8_E8M0", DType::F8E8M0},
    DTypeName{"I16", DType::I16},        DTypeName{"U16", DType::U16},        DTypeName{"F16", DType::F16},
    DTypeName{"BF16", DType::BF16},      DTypeName{"I32", DType::I32},        DTypeName{"U32", DType::U32},
    DTypeName{"F32", DType::F32},        DTypeName{"F64", DType::F64},        DTypeName{"I64", DType::I64},
    DTypeName{"U64", DType::U64}};

size_t rank_of(DType dtype) {
  size_t i = 0;
  while (kDTypes[i].dtype != dtype) ++i;
  return i;
}

/// Formats only when it is written: headers name tens of thousands of tensors in checks that hold.
struct TensorNamed {
  std::string_view name;
  friend std::ostream& operator<<(std::ostream& out, const TensorNamed& t) { return out << "tensor " << Printable{t.name}; }
};
TensorNamed tensor_named(std::string_view name) { return {name}; }

}  // namespace

std::string_view safetensors_dtype(DType dtype) { return kDTypes[rank_of(dtype)].name; }

/// Fills a SafeTensors from its file; every step checks one kind of damage.
class HeaderReader {
 public:
  HeaderReader(SafeTensors& out, const Storage& file) : out_(out), where_(out.path_), file_(file) {}

  void read() {
    const std::string_view header = header_text();
    simdjson::dom::parser parser;
    check(parser.allocate(header.size(), kMaxDepth) == simdjson::SUCCESS, ErrorCode::Memory, where_, "cannot allocate a parser for ",
          header.size(), " bytes");
    const simdjson::padded_string padded(header);
    element root;
    const simdjson::error_code error = parser.parse(padded).get(root);
    check(error == simdjson::SUCCESS, ErrorCode::Format, where_, "the header is not valid JSON: ", simdjson::error_message(error));
    simdjson::dom::object object;
    check(root.get(object) == simdjson::SUCCESS, ErrorCode::Format, where_, "the header is no JSON object");
    out_.entries_.reserve(object.size());
    for (const auto [name, value] : object) {
      if (name == kMetadataKey)
        read_metadata(value);
      else
        read_entry(name, value);
    }
    sort_names();
    check_cover();
  }

 private:
  std::string_view header_text() {
    check(file_.bytes >= 8, ErrorCode::Format, where_, "no safetensors file: expected at least 8 bytes, got ", file_.bytes);
    const auto* bytes = static_cast<const unsigned char*>(file_.data);
    uint64_t length = 0;
    for (int i = 0; i < 8; ++i) length |= uint64_t{bytes[i]} << (8 * i);
    check(length <= kMaxHeaderBytes, ErrorCode::Format, where_, "header too long (damaged, or no safetensors file): expected at most ",
          kMaxHeaderBytes, " bytes, got ", length);
    check(length <= file_.bytes - 8, ErrorCode::Format, where_, "the header passes the end of the file: expected ", length, " bytes, got ",
          file_.bytes - 8);
    check(length > 0 && bytes[8] == '{', ErrorCode::Format, where_, "the header does not start with '{': no safetensors file");
    data_begin_ = 8 + static_cast<size_t>(length);
    return {reinterpret_cast<const char*>(bytes) + 8, static_cast<size_t>(length)};
  }

  void read_metadata(element value) {
    check(!has_metadata_, ErrorCode::Format, where_, kMetadataKey, " is written twice");
    has_metadata_ = true;
    simdjson::dom::object object;
    check(value.get(object) == simdjson::SUCCESS, ErrorCode::Format, where_, kMetadataKey, ": expected an object of strings");
    for (const auto [key, text] : object) {
      std::string_view view;
      check(text.get(view) == simdjson::SUCCESS, ErrorCode::Format, where_, kMetadataKey, ": the value of ", Printable{key},
            " is no string");
      out_.metadata_[std::string(key)] = view;
    }
  }

  void read_entry(std::string_view name, element value) {
    simdjson::dom::object fields;
    check(value.get(fields) == simdjson::SUCCESS, ErrorCode::Format, where_, tensor_named(name), ": expected an object with dtype, shape ",
          "and data_offsets");
    SafeTensors::Entry entry;
    entry.name = name;
    bool has_dtype = false, has_shape = false, has_offsets = false;
    for (const auto [key, field] : fields) {
      if (key == "dtype")
        read_dtype(entry, field), has_dtype = true;
      else if (key == "shape")
        read_shape(entry, field, has_shape), has_shape = true;
      else if (key == "data_offsets")
        read_offsets(entry, field), has_offsets = true;
    }
    check(has_dtype && has_shape && has_offsets, ErrorCode::Format, where_, tensor_named(name), ": ",
          !has_dtype   ? "dtype"
          : !has_shape ? "shape"
                       : "data_offsets",
          " is missing");
    check_size(entry);
    out_.entries_.push_back(std::move(entry));
  }

  void read_dtype(SafeTensors::Entry& entry, element field) {
    std::string_view text;
    check(field.get(text) == simdjson::SUCCESS, ErrorCode::Format, where_, tensor_named(entry.name), ": dtype: expected a string");
    const auto row = std::find_if(kDTypes.begin(), kDTypes.end(), [&](const DTypeName& d) { return d.name == text; });
    check(row != kDTypes.end(), ErrorCode::Format, where_, tensor_named(entry.name), ": unknown dtype ", Printable{text},
          ": expected F64, F32, F16, BF16, F8_E4M3, F8_E5M2, F8_E8M0, I64, I32, I16, I8, U64, U32, U16, U8 or BOOL");
    entry.info.dtype = row->dtype;
  }

  void read_shape(SafeTensors::Entry& entry, element field, bool again) {
    simdjson::dom::array dims;
    check(!again, ErrorCode::Format, where_, tensor_named(entry.name), ": shape is written twice");
    check(field.get(dims) == simdjson::SUCCESS, ErrorCode::Format, where_, tensor_named(entry.name), ": shape: expected an array");
    for (const element dim : dims) {
      int64_t d;
      check(dim.get(d) == simdjson::SUCCESS && d >= 0, ErrorCode::Format, where_, tensor_named(entry.name),
            ": shape: expected sizes that are whole numbers of 0 to 2^63 - 1");
      check(entry.info.shape.rank() < Shape::kMaxRank, ErrorCode::Limit, where_, tensor_named(entry.name), ": expected at most ",
            Shape::kMaxRank, " dimensions, got more");
      entry.info.shape.append(d);
    }
  }

  void read_offsets(SafeTensors::Entry& entry, element field) {
    simdjson::dom::array pair;
    check(field.get(pair) == simdjson::SUCCESS && pair.size() == 2, ErrorCode::Format, where_, tensor_named(entry.name),
          ": data_offsets: expected an array of two numbers");
    uint64_t begin = 0, end = 0;
    check(pair.at(0).get(begin) == simdjson::SUCCESS && pair.at(1).get(end) == simdjson::SUCCESS, ErrorCode::Format, where_,
          tensor_named(entry.name), ": data_offsets: expected whole numbers of 0 or more");
    const uint64_t data_bytes = file_.bytes - data_begin_;
    check(begin <= end, ErrorCode::Format, where_, tensor_named(entry.name), ": data_offsets [", begin, ", ", end, "] run backwards");
    check(end <= data_bytes, ErrorCode::Format, where_, tensor_named(entry.name), ": data_offsets [", begin, ", ", end,
          "] pass the end of the file, which has ", data_bytes, " bytes of data (cut short?)");
    entry.begin = data_begin_ + static_cast<size_t>(begin);
    entry.end = data_begin_ + static_cast<size_t>(end);
  }

  void check_size(const SafeTensors::Entry& entry) {
    int64_t bytes = 1;
    bool fits = true;
    for (const int64_t d : entry.info.shape) fits = fits && !__builtin_mul_overflow(bytes, d, &bytes);
    fits = fits && !__builtin_mul_overflow(bytes, static_cast<int64_t>(size_of(entry.info.dtype)), &bytes);
    check(fits, ErrorCode::Format, where_, tensor_named(entry.name), ": the size of ", entry.info.shape, " overflows");
    check(static_cast<uint64_t>(bytes) == entry.end - entry.begin, ErrorCode::Format, where_, tensor_named(entry.name), ": ",
          entry.info.shape, " ", safetensors_dtype(entry.info.dtype), ": expected ", bytes, " bytes, got ", entry.end - entry.begin,
          " by data_offsets");
  }

  void sort_names() {
    auto& order = out_.by_name_;
    order.resize(out_.entries_.size());
    std::iota(order.begin(), order.end(), 0u);
    const auto name = [&](uint32_t i) -> const std::string& { return out_.entries_[i].name; };
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return name(a) < name(b); });
    for (size_t i = 1; i < order.size(); ++i)
      check(name(order[i - 1]) != name(order[i]), ErrorCode::Format, where_, tensor_named(name(order[i])), " is written twice");
  }

  void check_cover() {
    const auto& entries = out_.entries_;
    std::vector<uint32_t> order(entries.size());
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return std::pair(entries[a].begin, entries[a].end) < std::pair(entries[b].begin, entries[b].end);
    });
    size_t covered = data_begin_;
    for (size_t i = 0; i < order.size(); ++i) {
      const auto& e = entries[order[i]];
      check(e.begin >= covered, ErrorCode::Format, where_, tensor_named(e.name), " overlaps ",
            tensor_named(entries[order[i ? i - 1 : 0]].name));
      check(e.begin <= covered, ErrorCode::Format, where_, tensor_named(e.name), ": ", e.begin - covered,
            " bytes before it belong to no tensor");
      covered = e.end;
    }
    check(covered == file_.bytes, ErrorCode::Format, where_, file_.bytes - covered, " bytes at the end belong to no tensor");
  }

  SafeTensors& out_;
  const std::string& where_;
  const Storage& file_;
  size_t data_begin_ = 0;
  bool has_metadata_ = false;
};

SafeTensors SafeTensors::open(const std::string& path) { return over(map_file(path), path); }

SafeTensors SafeTensors::over(std::shared_ptr<Storage> storage, std::string where) {
  SafeTensors out;
  out.path_ = std::move(where);
  out.storage_ = std::move(storage);
  HeaderReader(out, *out.storage_).read();
  return out;
}

std::vector<std::string> SafeTensors::names() const {
  std::vector<std::string> out;
  out.reserve(entries_.size());
  for (const Entry& e : entries_) out.push_back(e.name);
  return out;
}

const SafeTensors::Entry* SafeTensors::find(std::string_view name) const {
  const auto it =
      std::lower_bound(by_name_.begin(), by_name_.end(), name, [&](uint32_t i, std::string_view n) { return entries_[i].name < n; });
  return it != by_name_.end() && entries_[*it].name == name ? &entries_[*it] : nullptr;
}

const SafeTensors::Entry& SafeTensors::at(std::string_view name) const {
  const Entry* e = find(name);
  check(e != nullptr, ErrorCode::Format, path_, "there is no ", tensor_named(name), " among its ", entries_.size(), " tensors");
  return *e;
}

const TensorInfo& SafeTensors::info(std::string_view name) const { return at(name).info; }

Tensor SafeTensors::tensor(std::string_view name) const {
  const Entry& e = at(name);
  const char* source = static_cast<const char*>(storage_->data) + e.begin;
  if (reinterpret_cast<uintptr_t>(source) % size_of(e.info.dtype) == 0) return Tensor::over(storage_, e.begin, e.info.shape, e.info.dtype);
  Tensor copy = Tensor::empty(e.info.shape, e.info.dtype);
  if (copy.nbytes()) std::memcpy(copy.raw(), source, copy.nbytes());
  return copy;
}

namespace {

/// Indices of the tensors in the order of the file; every name and tensor is checked on the way.
std::vector<size_t> writing_order(const std::string& where, std::span<const NamedTensor> tensors) {
  for (const auto& [name, tensor] : tensors) {
    check(tensor.defined(), ErrorCode::Type, where, tensor_named(name), ": expected a tensor, got none");
    check(name != kMetadataKey, ErrorCode::Format, where, tensor_named(name), ": this name is reserved");
    check(simdjson::validate_utf8(name), ErrorCode::Format, where, "the name of a tensor is not UTF-8");
  }
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto name = [&](size_t i) -> const std::string& { return tensors[i].first; };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return name(a) < name(b); });
  for (size_t i = 1; i < order.size(); ++i)
    check(name(order[i - 1]) != name(order[i]), ErrorCode::Format, where, tensor_named(name(order[i])), " is given twice");
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return rank_of(tensors[a].second.dtype()) > rank_of(tensors[b].second.dtype()); });
  return order;
}

std::string header_of(std::span<const NamedTensor> tensors, std::span<const size_t> order, const Metadata& metadata) {
  std::string header = "{";
  const auto add_string = [&](std::string_view text) { header += Json(std::string(text)).dump(); };
  if (!metadata.empty()) {
    add_string(kMetadataKey);
    header += ":{";
    for (auto it = metadata.begin(); it != metadata.end(); ++it) {
      if (it != metadata.begin()) header += ',';
      add_string(it->first);
      header += ':';
      add_string(it->second);
    }
    header += '}';
  }
  size_t offset = 0;
  for (const size_t i : order) {
    const auto& [name, tensor] = tensors[i];
    if (header.size() > 1) header += ',';
    add_string(name);
    header += ":{\"dtype\":";
    add_string(safetensors_dtype(tensor.dtype()));
    header += ",\"shape\":[";
    for (int d = 0; d < tensor.rank(); ++d) {
      if (d) header += ',';
      header += std::to_string(tensor.size(d));
    }
    header += "],\"data_offsets\":[" + std::to_string(offset) + ',';
    offset += tensor.nbytes();
    header += std::to_string(offset) + "]}";
  }
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');
  return header;
}

}  // namespace

void write_safetensors(AtomicFile& file, std::span<const NamedTensor> tensors, const Metadata& metadata) {
  const std::vector<size_t> order = writing_order(file.path(), tensors);
  const std::string header = header_of(tensors, order, metadata);
  check(header.size() <= kMaxHeaderBytes, ErrorCode::Limit, file.path(), "too many tensors: expected a header of at most ", kMaxHeaderBytes,
        " bytes, got ", header.size());
  check(simdjson::validate_utf8(header), ErrorCode::Format, file.path(), "the metadata is not UTF-8");
  char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
  file.write(length, sizeof(length));
  file.write(header);
  for (const size_t i : order) {
    const Tensor here = tensors[i].second.to(Device{});
    file.write(here.raw(), here.nbytes());
  }
}

void write_safetensors(const std::string& path, std::span<const NamedTensor> tensors, const Metadata& metadata) {
  AtomicFile file(path);
  write_safetensors(file, tensors, metadata);
  file.commit();
}

}  // namespace tenon::io
