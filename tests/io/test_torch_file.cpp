// PyTorch's files: one that torch.save wrote, and hand-made archives and pickles that must be refused.
#include <doctest/doctest.h>

#include <cstring>

#include "io/temp_folder.h"
#include "tenon/io/mapped_file.h"
#include "tenon/io/torch_file.h"

using namespace tenon;
using namespace tenon::io;

namespace {

void append_number(std::string& out, uint64_t v, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(v >> (8 * i) & 0xff);
}

struct ZipFile {
  std::string name, content;
};

/// An archive of stored entries; `method` and `flags` go into the directory as they are.
std::string zip_of(const std::vector<ZipFile>& files, unsigned method = 0, unsigned flags = 0) {
  std::string out, directory;
  for (const ZipFile& file : files) {
    const std::string &name = file.name, &content = file.content;  // clang 14 cannot capture structured bindings
    const size_t local = out.size();
    const auto common = [&](std::string& to) {
      append_number(to, 20, 2), append_number(to, flags, 2), append_number(to, method, 2);
      append_number(to, 0, 8);  // time and checksum, which nobody looks at
      append_number(to, content.size(), 4), append_number(to, content.size(), 4);
      append_number(to, name.size(), 2), append_number(to, 0, 2);
    };
    out += "PK\3\4";
    common(out);
    out += name + content;
    directory += std::string("PK\1\2") + std::string(2, '\0');
    common(directory);
    directory += std::string(10, '\0');
    append_number(directory, local, 4);
    directory += name;
  }
  const size_t begin = out.size();
  out += directory + "PK\5\6" + std::string(4, '\0');
  append_number(out, files.size(), 2), append_number(out, files.size(), 2);
  append_number(out, directory.size(), 4), append_number(out, begin, 4), append_number(out, 0, 2);
  return out;
}

std::string text(const std::string& s) {
  std::string out = "X";
  append_number(out, s.size(), 4);
  return out + s;
}

std::string number(int v) {
  std::string out = "J";
  append_number(out, static_cast<uint32_t>(v), 4);
  return out;
}

std::string tuple(const std::vector<int>& values) {
  std::string out = "(";
  for (const int v : values) out += number(v);
  return out + "t";
}

/// The pickle of a float tensor over storage "0" of `numel` elements.
std::string tensor(int numel, int offset, const std::vector<int>& sizes, const std::vector<int>& strides) {
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(numel) +
         "tQ" + number(offset) + tuple(sizes) + tuple(strides) + "\x89" + "ccollections\nOrderedDict\n)RtR";
}

std::string pickle(const std::string& body) { return "\x80\x02" + body + "."; }
std::string dict(const std::string& value) { return pickle("}" + text("w") + value + "s"); }

std::string archive(const std::string& code, const std::string& data = std::string(24, '\0')) {
  return zip_of({{"x/data.pkl", code}, {"x/byteorder", "little"}, {"x/data/0", data}});
}

std::vector<NamedTensor> read(const std::string& bytes) {
  auto storage = std::make_shared<Storage>();
  const std::shared_ptr<char[]> block(new char[bytes.size()]);
  std::memcpy(block.get(), bytes.data(), bytes.size());
  storage->data = block.get();
  storage->bytes = bytes.size();
  storage->owner = block;
  return read_torch_file(storage, "f");
}

std::string read_error(const std::string& bytes) {
  return error_of([&] { read(bytes); });
}

std::string saved_file() { return join_path(TENON_TEST_DIR, "fuzz/corpus/torch/state_dict.bin"); }

std::vector<double> numbers(const Tensor& t) {
  const Tensor d = t.to(DType::F64);
  return {d.values<double>().begin(), d.values<double>().end()};
}

}  // namespace

TEST_CASE("torch file: what torch.save wrote") {
  const auto tensors = read_torch_file(saved_file());
  struct Expected {
    const char* name;
    DType dtype;
    Shape shape;
    std::vector<double> values;
    bool mapped;
  };
  const Expected expected[] = {
      {"float", DType::F32, {2, 3}, {0, 1, 2, 3, 4, 5}, true},
      {"shared", DType::F32, {4}, {6, 7, 8, 9}, true},
      {"transposed", DType::F32, {3, 2}, {0, 3, 1, 4, 2, 5}, false},
      {"column", DType::F32, {3}, {1, 5, 9}, false},
      {"scalar", DType::I64, {}, {7}, true},
      {"half", DType::F16, {2}, {1.5, -2}, true},
      {"bf16", DType::BF16, {1}, {3}, true},
      {"bool", DType::Bool, {3}, {1, 0, 1}, true},
      {"byte", DType::U8, {1}, {255}, true},
      {"empty", DType::F32, {0, 3}, {}, true},
      {"position_ids", DType::I64, {1, 4}, {0, 1, 2, 3}, true},
      {"parameter", DType::F64, {1, 1}, {2.5}, true},
  };
  REQUIRE(tensors.size() == std::size(expected));  // "epoch" and the _metadata of the dictionary are no tensors
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string& name = tensors[i].first;
    const Tensor& t = tensors[i].second;
    CAPTURE(name);
    CHECK(name == expected[i].name);
    CHECK(t.dtype() == expected[i].dtype);
    CHECK(t.shape() == expected[i].shape);
    CHECK(numbers(t) == expected[i].values);
    CHECK(is_mapped(t) == expected[i].mapped);
  }
}

TEST_CASE("torch file: hand-made archives read like torch's") {
  const float values[] = {0, 1, 2, 3, 4, 5};
  const std::string data(reinterpret_cast<const char*>(values), sizeof(values));
  CHECK(numbers(read(archive(dict(tensor(6, 0, {2, 3}, {3, 1})), data))[0].second) == std::vector<double>{0, 1, 2, 3, 4, 5});
  CHECK(numbers(read(archive(dict(tensor(6, 1, {2, 2}, {1, 2})), data))[0].second) == std::vector<double>{1, 3, 2, 4});
  CHECK(numbers(read(archive(dict(tensor(6, 5, {}, {})), data))[0].second) == std::vector<double>{5});
  CHECK(read(archive(dict(tensor(6, 6, {0}, {1})), data))[0].second.numel() == 0);
  CHECK(read(archive(pickle("}"))).empty());
}

TEST_CASE("torch file: globals and opcodes that could run code are refused by name") {
  CHECK(contains(read_error(archive(pickle("cos\nsystem\n" + text("ls") + "\x85R"))), "pickle: the global \"os.system\" is refused"));
  CHECK(contains(read_error(archive(pickle("cbuiltins\neval\n"))), "\"builtins.eval\" is refused"));
  CHECK(contains(read_error(archive(pickle("ctorch\nload\n"))), "\"torch.load\" is refused"));
  CHECK(contains(read_error(archive(pickle("ctorch.nn.modules.linear\nLinear\n"))), "is refused"));
  for (const char* opcode : {"\x81", "\x92", "\x93", "i", "o", "\x82", "P", "S", "V", "\x95", "0", "2"})
    CHECK(contains(read_error(archive(pickle("}" + std::string(opcode)))), "is refused: only dictionaries of tensors are read"));
  CHECK(contains(read_error(archive("\x80\x04}.")), "expected protocol 2, got 4"));
}

TEST_CASE("torch file: damaged pickles") {
  CHECK(contains(read_error(archive("")), "ends in the middle of a value"));
  CHECK(contains(read_error(archive("\x80\x02}")), "ends in the middle of a value"));
  CHECK(contains(read_error(archive(pickle(""))), "takes more values than it made"));
  CHECK(contains(read_error(archive(pickle("N"))), "expected a dictionary of tensors"));
  CHECK(contains(read_error(archive(pickle("("))), "a mark where a value is expected"));
  CHECK(contains(read_error(archive(pickle("}t"))), "the mark of a container is missing"));
  CHECK(contains(read_error(archive(pickle("}(Nu"))), "a dictionary key without a value"));
  CHECK(contains(read_error(archive(pickle("]NNs"))), "expected a dictionary before byte"));
  CHECK(contains(read_error(archive(pickle("}r\xff\xff\xff\xff"))), "memo slot 4294967295 is out of order"));
  CHECK(contains(read_error(archive(pickle("h\x05"))), "memo slot 5 is empty"));
  CHECK(contains(read_error(archive(pickle("X\xff\xff\xff\xff"))), "ends in the middle"));
  CHECK(contains(read_error(archive(pickle("\x8a\x09" + std::string(9, '\1')))), "a number of 9 bytes"));
  CHECK(contains(read_error(archive(pickle("Nq"))), "Format: "));
  CHECK(contains(read_error(archive(pickle("NNR"))), "expected arguments"));
  CHECK(contains(read_error(archive(pickle("NQ"))), "expected a storage"));
  // a list that holds itself
  CHECK(contains(read_error(archive(pickle("]q"
                                           "\x01"))),
                 "out of order"));
  CHECK(contains(read_error(archive(pickle(std::string("]q\0h\0a", 6)))), "expected a dictionary of tensors"));
}

TEST_CASE("torch file: tensors that leave their storage") {
  const auto error = [](int numel, int offset, const std::vector<int>& sizes, const std::vector<int>& strides) {
    return read_error(archive(dict(tensor(numel, offset, sizes, strides))));
  };
  CHECK(error(6, 0, {2, 3}, {3, 1}) == "no error");
  CHECK(contains(error(7, 0, {1}, {1}), "tensor \"w\": storage \"0\": expected 7 elements, got 6"));
  CHECK(contains(error(-1, 0, {1}, {1}), "expected -1 elements"));
  CHECK(contains(error(6, 0, {7}, {1}), "does not fit into its storage of 6 elements"));
  CHECK(contains(error(6, 1, {2, 3}, {3, 1}), "does not fit"));
  CHECK(contains(error(6, 0, {2}, {6}), "does not fit"));
  CHECK(contains(error(6, 7, {0}, {1}), "does not fit"));
  CHECK(contains(error(6, 0, {1000000}, {0}), "does not fit"));
  CHECK(contains(error(6, 0, {2147483647, 2147483647, 2147483647}, {2147483647, 2147483647, 1}), "does not fit"));
  CHECK(contains(error(6, -1, {1}, {1}), "must be numbers of 0 or more"));
  CHECK(contains(error(6, 0, {-1}, {1}), "must be numbers of 0 or more"));
  CHECK(contains(error(6, 0, {1}, {-1}), "must be numbers of 0 or more"));
  CHECK(contains(error(6, 0, {1, 1}, {1}), "2 sizes, but 1 strides"));
  CHECK(contains(error(6, 0, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1, 1, 1}), "expected at most 8 dimensions"));
  const std::string good = dict(tensor(6, 0, {1}, {1}));
  CHECK(contains(read_error(zip_of({{"x/data.pkl", good}})), "tensor \"w\": its storage \"0\" is missing"));
  CHECK(contains(read_error(zip_of({{"x/data.pkl", good}, {"x/byteorder", "big"}})), "expected the byte order \"little\", got \"big\""));
}

TEST_CASE("torch file: views that would be copied again and again are bounded by the size of the file") {
  std::string body = "}";
  for (int i = 0; i < 200; ++i) body += text("w" + std::to_string(i)) + tensor(1 << 16, 0, {256, 256}, {1, 256}) + "s";
  CHECK(contains(read_error(archive(pickle(body), std::string(1 << 18, '\0'))),
                 "Limit: [f] tensor \"w1\": the file's views would take more"));
}

TEST_CASE("torch file: damaged archives") {
  const std::string good = archive(dict(tensor(6, 0, {2, 3}, {3, 1})));
  CHECK(read_error(good) == "no error");
  CHECK(contains(read_error(""), "no zip archive"));
  CHECK(contains(read_error("\x80\x02\x8a\x0a"), "PyTorch before 1.6"));
  CHECK(contains(read_error(zip_of({{"x/other", ""}})), "it has no data.pkl"));
  CHECK(contains(read_error(zip_of({{"data.pkl", ""}})), "it has no data.pkl"));
  CHECK(contains(read_error(zip_of({{"x/data.pkl", ""}, {"x/data.pkl", ""}})), "\"x/data.pkl\" is in it twice"));
  CHECK(contains(read_error(zip_of({{"x/data.pkl", "}"}}, 8)), "\"x/data.pkl\" is compressed or encrypted"));
  CHECK(contains(read_error(zip_of({{"x/data.pkl", "}"}}, 0, 1)), "is compressed or encrypted"));
  for (size_t n = 0; n < good.size(); ++n) {
    CAPTURE(n);
    CHECK(read_error(good.substr(0, n)).rfind("Format: [f] ", 0) == 0);
  }
}

TEST_CASE("torch file: every bit of a file changed, none is read past its end") {
  const std::string good = archive(dict(tensor(6, 0, {2, 3}, {3, 1})));
  size_t opened = 0;
  for (size_t i = 0; i < good.size() * 8; ++i) {
    std::string changed = good;
    changed[i / 8] = static_cast<char>(changed[i / 8] ^ (1 << i % 8));
    try {
      for (const auto& named : read(changed)) CHECK(named.second.clone().nbytes() <= good.size());
      ++opened;
    } catch (const Error& e) {
      REQUIRE((e.code() == ErrorCode::Format || e.code() == ErrorCode::Limit));
    }
  }
  CHECK(opened > 0);
}
