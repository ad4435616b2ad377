// The part of the pickle language that describes a dictionary of tensors, as a value tree.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tenon/core/dtype.h"

namespace tenon::io::pickle {

struct Sequence;
struct Dict;

struct None {};
struct Mark {};
struct StorageRef {  // a block of elements: the entry data/<key> of the archive
  DType dtype;
  std::string_view key;
  int64_t numel;
};
struct TensorRef {  // a strided view of a block
  StorageRef storage;
  int64_t offset;
  const Sequence *size, *stride;
};
enum class Global : uint8_t { OrderedDict, RebuildTensor, RebuildParameter };
struct StorageType {
  DType dtype;
};

/// Texts point into the pickle, containers into the Machine that read it: both must outlive the values.
using Value =
    std::variant<None, Mark, bool, int64_t, double, std::string_view, Global, StorageType, StorageRef, TensorRef, Sequence*, Dict*>;

struct Sequence {  // a tuple or a list
  std::vector<Value> items;
};
struct Dict {
  std::vector<std::pair<Value, Value>> items;
};

/// Reads one pickle. It runs no code: a call is understood only if it is one of the three that build dictionaries and tensors.
class Machine {
 public:
  /// `where` names the file in messages. Errors: Error(Format), naming the opcode or global, for anything but what is listed above.
  Machine(std::string_view code, const std::string& where) : code_(code), where_(where) {}
  /// The value of the whole pickle.
  Value run();

 private:
  bool step(unsigned char opcode);  // false at the end
  bool step_container(unsigned char opcode);
  bool step_scalar(unsigned char opcode);
  std::string_view take(uint64_t bytes);
  std::string_view take_line();
  uint64_t take_number(int bytes);
  int64_t take_long();
  Value& top();
  Value pop();
  std::vector<Value> pop_to_mark();
  void push_tuple(size_t count);
  void set_items(const std::vector<Value>& pairs);
  void remember(uint64_t slot);
  void recall(uint64_t slot);
  void push_global();
  void call();
  void load_persistent();
  TensorRef rebuild_tensor(const Sequence& args) const;
  Sequence* new_sequence(std::vector<Value> items);
  Dict* new_dict();
  template <class Kind>
  const Kind& as(const Value& v, const char* what) const;

  std::string_view code_;
  const std::string& where_;
  size_t at_ = 0;
  std::vector<Value> stack_, memo_;
  std::deque<Sequence> sequences_;  // owned here, since a hostile pickle may tie containers into circles
  std::deque<Dict> dicts_;
};

}  // namespace tenon::io::pickle
