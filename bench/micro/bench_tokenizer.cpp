// Tokenizers: the time to load one, its memory, and megabytes of text a second on one and two threads.
//
//   tenon_bench_tokenizer TOKENIZER TEXT [ROUNDS]     (a tokenizer.json or a folder; a text file, each line of which is a text)
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/core/error.h"
#include "tenon/text/tokenizer.h"

namespace {

using tenon::text::EncodeOptions;
using tenon::text::TextInput;
using tenon::text::Tokenizer;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Processor time of the whole process: steadier than the clock on a machine that does other work too.
double used() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  return static_cast<double>(u.ru_utime.tv_sec) + 1e-6 * static_cast<double>(u.ru_utime.tv_usec);
}

double resident_mb() {
  std::ifstream in("/proc/self/statm");
  double pages = 0;
  in >> pages >> pages;
  return pages * 4096 / 1e6;
}

Tokenizer load(const std::string& path) {
  return std::filesystem::is_directory(path) ? Tokenizer::from_folder(path) : Tokenizer::from_file(path);
}

int run(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s TOKENIZER TEXT [ROUNDS]\n", argv[0]);
    return 2;
  }
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 5;
  const double before = resident_mb();
  double best = 1e9;
  for (int i = 0; i < rounds; ++i) {
    const double start = now();
    const Tokenizer probe = load(argv[1]);
    best = std::min(best, now() - start);
  }
  const Tokenizer tokenizer = load(argv[1]);
  std::printf("load %.1f ms, %.1f MB resident more\n", 1e3 * best, resident_mb() - before);

  std::ifstream in(argv[2], std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  std::vector<TextInput> lines;
  size_t bytes = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (end > at) lines.push_back({std::string_view(text).substr(at, end - at)});
    bytes += end - at;
    at = end + 1;
  }
  EncodeOptions options;
  options.add_special_tokens = false;
  for (const bool ids_only : {false, true}) {
    options.ids_only = ids_only;
    for (const int threads : {1, 2}) {
      double wall = 1e9, cpu = 1e9;
      size_t tokens = 0;
      for (int i = 0; i < rounds; ++i) {
        const double start = now(), start_used = used();
        const auto encodings = tokenizer.encode_batch(lines, options, threads);
        wall = std::min(wall, now() - start);
        cpu = std::min(cpu, used() - start_used);
        tokens = 0;
        for (const auto& e : encodings) tokens += e.size();
      }
      const double mb = static_cast<double>(bytes) / 1e6;
      std::printf("%s, %d threads: %.1f MB/s (%.1f by processor time), %.1f ns a token, %zu tokens\n", ids_only ? "ids only" : "all", threads,
                  mb / wall, mb / cpu, 1e9 * wall / static_cast<double>(tokens), tokens);
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const tenon::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
