// The pickle machine: protocol 2, which torch.save writes.
// Source: the opcode descriptions in CPython's Lib/pickletools.py.
#include "io/torch_pickle.h"

#include <bit>
#include <cstdio>

#include "tenon/core/error.h"
#include "tenon/io/files.h"

namespace tenon::io::pickle {
namespace {

struct StorageName {
  std::string_view name;
  DType dtype;
};
constexpr StorageName kStorages[] = {{"DoubleStorage", DType::F64},    {"FloatStorage", DType::F32}, {"HalfStorage", DType::F16},
                                     {"BFloat16Storage", DType::BF16}, {"LongStorage", DType::I64},  {"IntStorage", DType::I32},
                                     {"ShortStorage", DType::I16},     {"CharStorage", DType::I8},   {"ByteStorage", DType::U8},
                                     {"BoolStorage", DType::Bool}};

std::string hex(unsigned char c) {
  char text[8];
  std::snprintf(text, sizeof(text), "0x%02x", c);
  return text;
}

}  // namespace

Value Machine::run() {
  while (step(static_cast<unsigned char>(take(1)[0]))) {
  }
  return pop();
}

bool Machine::step(unsigned char opcode) {
  switch (opcode) {
    case '.':
      return false;
    case 0x80: {  // PROTO
      const uint64_t version = take_number(1);
      check(version == 2, ErrorCode::Format, where_, "pickle: expected protocol 2, got ", version);
      return true;
    }
    case 'q':
      remember(take_number(1));
      return true;  // BINPUT
    case 'r':
      remember(take_number(4));
      return true;  // LONG_BINPUT
    case 'h':
      recall(take_number(1));
      return true;  // BINGET
    case 'j':
      recall(take_number(4));
      return true;  // LONG_BINGET
    case 'c':
      push_global();
      return true;  // GLOBAL
    case 'R':
      call();
      return true;  // REDUCE
    case 'Q':
      load_persistent();
      return true;  // BINPERSID
    case 'b':       // BUILD: attributes of a dictionary (_metadata of a state dict) say nothing of tensors
      pop();
      as<Dict*>(top(), "an attribute setter");
      return true;
    default:
      break;
  }
  if (step_scalar(opcode) || step_container(opcode)) return true;
  fail(ErrorCode::Format, where_, "pickle: the opcode ", hex(opcode), " at byte ", at_ - 1,
       " is refused: only dictionaries of tensors are read");
}

bool Machine::step_scalar(unsigned char opcode) {
  switch (opcode) {
    case 'N':
      stack_.emplace_back(None{});
      return true;
    case 0x88:
      stack_.emplace_back(true);
      return true;
    case 0x89:
      stack_.emplace_back(false);
      return true;
    case 'K':
      stack_.emplace_back(static_cast<int64_t>(take_number(1)));
      return true;
    case 'M':
      stack_.emplace_back(static_cast<int64_t>(take_number(2)));
      return true;
    case 'J':
      stack_.emplace_back(static_cast<int64_t>(static_cast<int32_t>(take_number(4))));
      return true;
    case 0x8a:
      stack_.emplace_back(take_long());
      return true;
    case 'G': {  // big-endian, unlike everything else
      uint64_t bits = 0;
      for (const char c : take(8)) bits = bits << 8 | static_cast<unsigned char>(c);
      stack_.emplace_back(std::bit_cast<double>(bits));
      return true;
    }
    case 'X': {
      const uint64_t bytes = take_number(4);
      stack_.emplace_back(take(bytes));
      return true;
    }
    default:
      return false;
  }
}

bool Machine::step_container(unsigned char opcode) {
  switch (opcode) {
    case '(':
      stack_.emplace_back(Mark{});
      return true;
    case ')':
      push_tuple(0);
      return true;
    case 0x85:
      push_tuple(1);
      return true;
    case 0x86:
      push_tuple(2);
      return true;
    case 0x87:
      push_tuple(3);
      return true;
    case 't': {
      Sequence* items = new_sequence(pop_to_mark());
      stack_.emplace_back(items);
      return true;
    }
    case ']':
      stack_.emplace_back(new_sequence({}));
      return true;
    case '}':
      stack_.emplace_back(new_dict());
      return true;
    case 'a': {
      const Value item = pop();
      as<Sequence*>(top(), "a list")->items.push_back(item);
      return true;
    }
    case 'e': {
      const std::vector<Value> items = pop_to_mark();
      auto& list = as<Sequence*>(top(), "a list")->items;
      list.insert(list.end(), items.begin(), items.end());
      return true;
    }
    case 's': {
      const Value value = pop();
      const Value key = pop();
      set_items({key, value});
      return true;
    }
    case 'u':
      set_items(pop_to_mark());
      return true;
    default:
      return false;
  }
}

std::string_view Machine::take(uint64_t bytes) {
  check(bytes <= code_.size() - at_, ErrorCode::Format, where_, "pickle: it ends in the middle of a value");
  const std::string_view piece = code_.substr(at_, static_cast<size_t>(bytes));
  at_ += piece.size();
  return piece;
}

std::string_view Machine::take_line() {
  const size_t end = code_.find('\n', at_);
  check(end != std::string_view::npos, ErrorCode::Format, where_, "pickle: it ends in the middle of a name");
  const std::string_view line = take(end - at_);
  take(1);
  return line;
}

uint64_t Machine::take_number(int bytes) {
  uint64_t v = 0;
  const std::string_view piece = take(static_cast<uint64_t>(bytes));
  for (size_t i = piece.size(); i-- > 0;) v = v << 8 | static_cast<unsigned char>(piece[i]);
  return v;
}

int64_t Machine::take_long() {
  const uint64_t bytes = take_number(1);
  check(bytes <= 8, ErrorCode::Format, where_, "pickle: a number of ", bytes, " bytes: expected at most 8");
  uint64_t v = take_number(static_cast<int>(bytes));
  if (bytes > 0 && bytes < 8 && v >> (8 * bytes - 1) & 1) v |= ~uint64_t{0} << (8 * bytes);
  return static_cast<int64_t>(v);
}

Value& Machine::top() {
  check(!stack_.empty(), ErrorCode::Format, where_, "pickle: it takes more values than it made");
  return stack_.back();
}

Value Machine::pop() {
  Value v = top();
  check(!std::holds_alternative<Mark>(v), ErrorCode::Format, where_, "pickle: a mark where a value is expected");
  stack_.pop_back();
  return v;
}

std::vector<Value> Machine::pop_to_mark() {
  size_t mark = stack_.size();
  while (mark > 0 && !std::holds_alternative<Mark>(stack_[mark - 1])) --mark;
  check(mark > 0, ErrorCode::Format, where_, "pickle: the mark of a container is missing");
  std::vector<Value> items(stack_.begin() + static_cast<std::ptrdiff_t>(mark), stack_.end());
  stack_.resize(mark - 1);
  return items;
}

void Machine::push_tuple(size_t count) {
  std::vector<Value> items(count);
  for (size_t i = count; i-- > 0;) items[i] = pop();
  stack_.emplace_back(new_sequence(std::move(items)));
}

void Machine::set_items(const std::vector<Value>& pairs) {
  check(pairs.size() % 2 == 0, ErrorCode::Format, where_, "pickle: a dictionary key without a value");
  Dict* dict = as<Dict*>(top(), "a dictionary");
  for (size_t i = 0; i < pairs.size(); i += 2) dict->items.emplace_back(pairs[i], pairs[i + 1]);
}

void Machine::remember(uint64_t slot) {
  // Writers number the slots from 0 without gaps; a hostile number must not size the table.
  check(slot <= memo_.size(), ErrorCode::Format, where_, "pickle: memo slot ", slot, " is out of order");
  if (slot == memo_.size()) memo_.emplace_back();
  memo_[static_cast<size_t>(slot)] = top();
}

void Machine::recall(uint64_t slot) {
  check(slot < memo_.size(), ErrorCode::Format, where_, "pickle: memo slot ", slot, " is empty");
  stack_.push_back(memo_[static_cast<size_t>(slot)]);
}

void Machine::push_global() {
  const std::string_view module = take_line(), name = take_line();
  if (module == "collections" && name == "OrderedDict") return void(stack_.emplace_back(Global::OrderedDict));
  if (module == "torch._utils" && name == "_rebuild_tensor_v2") return void(stack_.emplace_back(Global::RebuildTensor));
  if (module == "torch._utils" && name == "_rebuild_parameter") return void(stack_.emplace_back(Global::RebuildParameter));
  if (module == "torch")
    for (const StorageName& s : kStorages)
      if (s.name == name) return void(stack_.emplace_back(StorageType{s.dtype}));
  fail(ErrorCode::Format, where_, "pickle: the global ", Printable{std::string(module) + "." + std::string(name)},
       " is refused: only dictionaries of tensors are read");
}

void Machine::call() {
  const Sequence& args = *as<Sequence*>(pop(), "arguments");
  const Global function = as<Global>(pop(), "a function");
  switch (function) {
    case Global::OrderedDict:
      check(args.items.empty(), ErrorCode::Format, where_, "pickle: OrderedDict: expected no arguments, got ", args.items.size());
      stack_.emplace_back(new_dict());
      return;
    case Global::RebuildTensor:
      stack_.emplace_back(rebuild_tensor(args));
      return;
    case Global::RebuildParameter:
      check(!args.items.empty(), ErrorCode::Format, where_, "pickle: a parameter without a tensor");
      stack_.emplace_back(as<TensorRef>(args.items[0], "a tensor"));
      return;
  }
}

TensorRef Machine::rebuild_tensor(const Sequence& args) const {
  check(args.items.size() >= 4, ErrorCode::Format, where_, "pickle: a tensor: expected 4 arguments or more, got ", args.items.size());
  return {as<StorageRef>(args.items[0], "a storage"), as<int64_t>(args.items[1], "an offset"), as<Sequence*>(args.items[2], "a size"),
          as<Sequence*>(args.items[3], "strides")};
}

void Machine::load_persistent() {
  const Value id = pop();
  const auto& items = as<Sequence*>(id, "a storage")->items;
  check(items.size() == 5 && as<std::string_view>(items[0], "a storage") == "storage", ErrorCode::Format, where_,
        "pickle: expected a storage of 5 parts, got ", items.size());
  stack_.emplace_back(StorageRef{as<StorageType>(items[1], "a storage type").dtype, as<std::string_view>(items[2], "a storage key"),
                                 as<int64_t>(items[4], "a number of elements")});
}

Sequence* Machine::new_sequence(std::vector<Value> items) { return &sequences_.emplace_back(Sequence{std::move(items)}); }
Dict* Machine::new_dict() { return &dicts_.emplace_back(); }

template <class Kind>
const Kind& Machine::as(const Value& v, const char* what) const {
  const Kind* held = std::get_if<Kind>(&v);
  check(held != nullptr, ErrorCode::Format, where_, "pickle: expected ", what, " before byte ", at_, ", got something else");
  return *held;
}

}  // namespace tenon::io::pickle
