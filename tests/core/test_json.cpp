// JSON values: parsing, typed access and its errors, writing.
#include <doctest/doctest.h>

#include <cmath>

#include "io/temp_folder.h"
#include "tenon/core/json.h"

using namespace tenon;

namespace {

std::string parse_error(std::string_view text) {
  return error_of([&] { Json::parse(text, "source"); });
}

}  // namespace

TEST_CASE("json: every kind of value") {
  const Json j = Json::parse(
      R"({"n": null, "t": true, "i": -5, "d": 2.5, "e": 1e3, "s": "a\u00e9\n\ud83d\ude00", "a": [1, [], {}], "o": {"k": "v"}})");
  CHECK(j.at("n").is_null());
  CHECK(j.at("t").as_bool());
  CHECK(j.at("i").as_int() == -5);
  CHECK(j.at("i").as_number() == -5);
  CHECK(j.at("d").as_number() == 2.5);
  CHECK(j.at("e").as_int() == 1000);
  CHECK(j.at("s").as_string() == "a\xc3\xa9\n\xf0\x9f\x98\x80");
  CHECK(j.at("a").as_array().size() == 3);
  CHECK(j.at("o").at("k").as_string() == "v");
  CHECK(j.as_object().front().first == "n");
  CHECK(j.as_object().back().first == "o");
  CHECK(Json::parse("7").as_int() == 7);
  CHECK(Json::parse(" \"x\" ").as_string() == "x");
}

TEST_CASE("json: limits of numbers") {
  CHECK(Json::parse("9223372036854775807").as_int() == INT64_MAX);
  CHECK(Json::parse("-9223372036854775808").as_int() == INT64_MIN);
  CHECK(Json::parse("18446744073709551615").as_number() == 18446744073709551615.0);
  CHECK(contains(error_of([] { Json::parse("18446744073709551615").as_int("big"); }), "Type: [json] big: expected an integer"));
  CHECK(contains(error_of([] { Json::parse("1.5").as_int("half"); }), "Type: [json] half: expected an integer, got a number"));
  CHECK(contains(parse_error("1e999"), "Format: "));
}

TEST_CASE("json: of keys written twice the last wins") {
  const Json j = Json::parse(R"({"a": 1, "b": 2, "a": 3})");
  CHECK(j.at("a").as_int() == 3);
  CHECK(j.value("a", 0) == 3);
}

TEST_CASE("json: members with fallbacks; null counts as absent") {
  const Json j = Json::parse(R"({"n": null, "i": 4, "d": 0.5, "s": "x", "b": false})");
  CHECK(j.value("i", 1) == 4);
  CHECK(j.value("n", 1) == 1);
  CHECK(j.value("none", int64_t{1} << 40) == int64_t{1} << 40);
  CHECK(j.value("d", 1.0) == 0.5);
  CHECK(j.value("i", 1.0) == 4.0);
  CHECK(j.value("s", "y") == "x");
  CHECK(j.value("n", "y") == "y");
  CHECK_FALSE(j.value("b", true));
  CHECK(j.value("none", true));
  CHECK(j.find("n") != nullptr);
  CHECK(j.get("n") == nullptr);
  CHECK_FALSE(j.has("n"));
  CHECK(Json(3).find("x") == nullptr);
  CHECK(contains(error_of([&] { j.value("s", 1); }), "Type: [json] s: expected an integer, got a string"));
  CHECK(contains(error_of([&] { j.value("i", "x"); }), "Type: [json] i: expected a string, got a number"));
  CHECK(contains(error_of([&] { j.value("s", true); }), "Type: [json] s: expected a boolean, got a string"));
  CHECK(contains(error_of([&] { j.value("b", 1.0); }), "Type: [json] b: expected a number, got a boolean"));
  CHECK(contains(error_of([&] { j.at("gone"); }), "Format: [json] the key \"gone\" is missing"));
  CHECK(contains(error_of([&] { j.as_array("top"); }), "Type: [json] top: expected an array, got an object"));
  CHECK(contains(error_of([&] { Json().as_object("top"); }), "Type: [json] top: expected an object, got null"));
}

TEST_CASE("json: set") {
  Json j;
  j.set("a", 1);
  j.set("b", "x");
  j.set("a", 2.5);
  CHECK(j.dump() == R"({"a": 2.5, "b": "x"})");
  CHECK(contains(error_of([] { Json(1).set("a", 1); }), "Type: "));
}

TEST_CASE("json: damaged text") {
  for (const char* text : {"",    " ",     "{",        "[1,",     "[1,]",        "{\"a\" 1}", "{a: 1}", "'x'", "tru",  "01",
                           "1 2", "{} {}", "\"\x01\"", "\"\\x\"", "\"\\ud800\"", "\"\xff\"",  "\"abc",  "nan", "[1]]", "\xef\xbb"}) {
    CAPTURE(text);
    CHECK(parse_error(text).rfind("Format: [source] not valid JSON: ", 0) == 0);
  }
}

TEST_CASE("json: depth is limited") {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(parse_error(nested(500)) == "no error");
  CHECK(contains(parse_error(nested(520)), "Format: "));
  CHECK(contains(parse_error(nested(1000000)), "Format: "));
  CHECK(contains(parse_error(std::string(1000000, '[')), "Format: "));
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  CHECK(contains(parse_error(objects), "Format: "));
}

TEST_CASE("json: what is written reads back the same") {
  const std::string text =
      R"({"n": null, "b": [true, false], "i": -5, "d": 0.1, "whole": 2.0, "small": 1e-05, "big": 1.7976931348623157e+308, "s": "q\"\\\n\u0001/)"
      "\xc3\xa9"
      R"(", "e": {}, "a": []})";
  const Json j = Json::parse(text);
  CHECK(j.dump() == text);
  CHECK(Json::parse(j.dump(2)).dump() == text);
  CHECK(Json::parse(R"({"a": [1, {"b": 2}]})").dump(2) == "{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ]\n}");
  for (const double v : {1.0 / 3, 1e-300, 123456789.125, 5e-324, -0.0}) {
    const Json back = Json::parse(Json(v).dump());
    CHECK_FALSE(back.is_int());
    CHECK(back.as_number() == v);
    CHECK(std::signbit(back.as_number()) == std::signbit(v));
  }
}

TEST_CASE("json: files") {
  const TempFolder folder;
  CHECK(Json::parse_file(folder.put("f", "[1]")).as_array().size() == 1);
  CHECK(contains(error_of([&] { Json::parse_file(folder / "none"); }), "File: [" + (folder / "none")));
  CHECK(contains(error_of([&] { Json::parse_file(folder.put("f", "[1")); }), "Format: [" + (folder / "f")));
  CHECK(contains(error_of([&] { Json::parse_file(folder.path()); }), "File: "));
}
