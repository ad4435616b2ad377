// Searches the lines of a text file by meaning: embeds each line, then finds those nearest to a query.
//
//     example_semantic_search FOLDER examples/data/texts.tsv "a company warns that its profit will fall"
//
// FOLDER holds a sentence encoder such as all-MiniLM-L6-v2. Without a query, each line of standard input is one.
#include <tenon/tenon.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream file(path);
  // The library's own way to report a mistake serves an application as well.
  tenon::check(file.good(), tenon::ErrorCode::File, path, "cannot be opened");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);)
    if (!line.empty()) lines.push_back(line);
  tenon::check(!lines.empty(), tenon::ErrorCode::Limit, path, "expected at least one line, got none");
  return lines;
}

void search(const tenon::SentenceEmbedding& embed, const tenon::Tensor& corpus, const std::vector<std::string>& lines, const std::string& query) {
  std::printf("\n\"%s\"\n", query.c_str());
  for (const tenon::Hit& hit : tenon::nearest(corpus, embed(query), 5))
    std::printf("  %.3f  %s\n", static_cast<double>(hit.score), lines[static_cast<size_t>(hit.index)].c_str());
}

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s FOLDER FILE [QUERY...]\n", argv[0]);
    return 2;
  }
  try {
    const std::vector<std::string> lines = read_lines(argv[2]);
    const tenon::SentenceEmbedding embed(argv[1]);
    const auto start = std::chrono::steady_clock::now();
    const tenon::Tensor corpus = embed(lines);  // (lines, width), of unit length: dot products are cosines
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("%zu lines embedded in %.2f s (%.0f per second)\n", lines.size(), seconds, static_cast<double>(lines.size()) / seconds);
    for (int i = 3; i < argc; ++i) search(embed, corpus, lines, argv[i]);
    for (std::string query; argc == 3 && std::getline(std::cin, query);) search(embed, corpus, lines, query);
  } catch (const tenon::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
