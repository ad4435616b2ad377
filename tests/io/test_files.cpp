// Reading whole files, and that a failed or unfinished write leaves the old file and no litter.
#include <doctest/doctest.h>

#include "io/temp_folder.h"
#include "tenon/io/files.h"

using namespace tenon;
using namespace tenon::io;

namespace {

std::string shown(std::string_view text) {
  std::ostringstream out;
  out << Printable{text};
  return out.str();
}

}  // namespace

TEST_CASE("files: what is written is read back, whatever the bytes") {
  const TempFolder folder;
  for (const std::string& bytes : {std::string(), std::string("one\r\n\0two\xff", 10), std::string(100000, 'x')}) {
    write_file_atomic(folder / "f", bytes);
    CHECK(read_file(folder / "f") == bytes);
  }
  CHECK(list_folder(folder.path()) == std::vector<std::string>{"f"});
}

TEST_CASE("files: errors name the path") {
  const TempFolder folder;
  const std::string f = folder.put("f", "12345");
  CHECK(error_of([&] { read_file(folder / "none"); }) == "File: [" + (folder / "none") + "] no such file");
  CHECK(contains(error_of([&] { read_file(folder.path()); }), "expected a file, got a folder"));
  CHECK(contains(error_of([&] { read_file(f, 4); }), "Limit: [" + f + "] too long: expected at most 4 bytes, got 5"));
  CHECK(contains(error_of([&] { write_file_atomic(folder / "none/f", "x"); }), "File: "));
  CHECK(contains(error_of([&] { write_file_atomic(folder.path(), "x"); }), "it is a folder"));
  CHECK(contains(error_of([&] { list_folder(folder / "none"); }), "File: "));
  CHECK(contains(error_of([&] { make_folders(f); }), "a file is in the way"));
  CHECK(contains(error_of([&] { read_file("/dev/zero"); }), "special file"));
}

TEST_CASE("files: an AtomicFile that is not committed changes nothing") {
  const TempFolder folder;
  folder.put("f", "old");
  {
    AtomicFile file(folder / "f");
    file.write("new");
    CHECK(list_folder(folder.path()).size() == 2);
    CHECK(read_file(folder / "f") == "old");
  }
  CHECK(list_folder(folder.path()) == std::vector<std::string>{"f"});
  CHECK(read_file(folder / "f") == "old");
}

TEST_CASE("files: an AtomicFile moves, commits once, and takes no bytes afterwards") {
  const TempFolder folder;
  AtomicFile first(folder / "f");
  first.write("new");
  AtomicFile file(std::move(first));
  file.write(" content");
  file.commit();
  CHECK(read_file(folder / "f") == "new content");
  CHECK(contains(error_of([&] { file.write("more"); }), "already closed"));
  CHECK(contains(error_of([&] { file.commit(); }), "already committed"));
  CHECK(read_file(folder / "f") == "new content");
}

TEST_CASE("files: paths") {
  CHECK(join_path("a", "b") == "a/b");
  CHECK(join_path("a/", "b") == "a/b");
  CHECK(join_path("", "b") == "b");
  CHECK(parent_folder("a/b") == "a");
  CHECK(parent_folder("b") == ".");
}

TEST_CASE("files: printable text is safe to print") {
  CHECK(shown("model.layers.0") == "\"model.layers.0\"");
  CHECK(shown(std::string("a\0b\n\x1b[31m", 9)) == "\"a\\x00b\\x0a\\x1b[31m\"");
  CHECK(shown(std::string(200, 'x')) == "\"" + std::string(80, 'x') + "...\"");
  // 79 bytes and then a character of two bytes: it must not be cut in half
  CHECK(shown(std::string(79, 'x') + "\xc3\xa9 and more") == "\"" + std::string(79, 'x') + "...\"");
  CHECK(shown(std::string(78, 'x') + "\xc3\xa9 and more") == "\"" + std::string(78, 'x') + "\xc3\xa9...\"");
}
