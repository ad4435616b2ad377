// What Transformers' pipelines answer on the golden cases, and comparisons with it.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "tenon/tasks/pipeline.h"

namespace tenon::test {

inline std::string golden(const std::string& name) { return std::string(TENON_TEST_DIR) + "/golden/" + name; }
inline std::string example_data(const std::string& name) { return std::string(TENON_TEST_DIR) + "/../examples/data/" + name; }

inline const Json& expected() {
  static const Json json = Json::parse_file(golden("pipelines.json"));
  return json;
}

inline std::vector<std::string> strings(const Json& list) {
  std::vector<std::string> all;
  for (const Json& s : list.as_array()) all.push_back(s.as_string());
  return all;
}

inline void check_labels(const std::vector<LabelScore>& got, const Json& want) {
  REQUIRE(got.size() == want.as_array().size());
  for (size_t i = 0; i < got.size(); ++i) {
    const Json& w = want.as_array()[i];
    CHECK(got[i].label == w.at("label").as_string());
    CHECK(got[i].score == doctest::Approx(w.at("score").as_number()).epsilon(1e-4));
  }
}

inline void check_tokens(const std::vector<TokenScore>& got, const Json& want) {
  REQUIRE(got.size() == want.as_array().size());
  for (size_t i = 0; i < got.size(); ++i) {
    const Json& w = want.as_array()[i];
    CHECK(got[i].id == w.at("token").as_int());
    CHECK(got[i].token == w.at("token_str").as_string());
    CHECK(got[i].sequence == w.at("sequence").as_string());
    CHECK(got[i].score == doctest::Approx(w.at("score").as_number()).epsilon(1e-4));
  }
}

/// Compares with nested lists of numbers, within 1e-4 of the largest.
inline void check_values(const Tensor& got, const Json& want) {
  std::vector<double> flat;
  const auto flatten = [&flat](const auto& self, const Json& value) -> void {
    if (!value.is_array()) return flat.push_back(value.as_number());
    for (const Json& v : value.as_array()) self(self, v);
  };
  flatten(flatten, want);
  REQUIRE(got.numel() == static_cast<int64_t>(flat.size()));
  double largest = 0, error = 0;
  for (size_t i = 0; i < flat.size(); ++i) {
    largest = std::max(largest, std::abs(flat[i]));
    error = std::max(error, std::abs(flat[i] - got.data<float>()[i]));
  }
  CHECK(error <= 1e-4 * largest);
}

/// The code of the Error that f throws; fails the test if it throws none. `part` must be in its message.
template <class F>
ErrorCode error_of(F&& f, const std::string& part) {
  try {
    f();
  } catch (const Error& e) {
    CHECK_MESSAGE(std::string(e.what()).find(part) != std::string::npos, e.what());
    return e.code();
  }
  FAIL("expected an Error with \"", part, "\"");
  return {};
}

/// A folder that lasts as long as the object, with copies of some files.
class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(std::filesystem::temp_directory_path() / ("tenon_tasks_" + name + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder& copy(const std::string& from) {
    std::filesystem::copy(from, path_, std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
    return *this;
  }
  Folder& write(const std::string& name, const std::string& content) {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    io::write_file_atomic(file.string(), content);
    return *this;
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace tenon::test
