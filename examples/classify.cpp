// Classifies texts: the best labels of each, from a checkpoint with a classifier (BERT, DistilBERT, RoBERTa).
//
//     example_classify FOLDER "Shares fall after a profit warning" "Profit rises"
//
// FOLDER is what Hugging Face publishes: config.json, model.safetensors and the tokenizer's files.
#include <tenon/tenon.h>

#include <cstdio>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s FOLDER TEXT...\n", argv[0]);
    return 2;
  }
  try {
    const auto classify = tenon::pipeline("text-classification", argv[1]);
    const std::vector<std::string> texts(argv + 2, argv + argc);
    // All texts in one call: they run together, without padding. truncation cuts texts that are too long for the model; without it
    // they are an error.
    const auto results = classify(texts, {.top_k = 3, .truncation = true});
    for (size_t i = 0; i < texts.size(); ++i) {
      std::printf("%s\n", texts[i].c_str());
      for (const tenon::LabelScore& l : results[i].labels) std::printf("  %.4f  %s\n", static_cast<double>(l.score), l.label.c_str());
    }
  } catch (const tenon::Error& e) {
    // One exception type for everything: the message says where, what was expected and what was there; code() says which kind.
    std::fprintf(stderr, "%s\n", e.what());
    if (e.code() == tenon::ErrorCode::File) std::fprintf(stderr, "Is %s the folder of a checkpoint?\n", argv[1]);
    return 1;
  }
  return 0;
}
