// Turns images into vectors with a ViT or CLIP checkpoint, and compares each with the first.
//
//     example_image_features FOLDER examples/data/cat.png examples/data/rocket.jpg
#include <tenon/tenon.h>

#include <cmath>
#include <cstdio>
#include <span>
#include <string>

/// The first row of (1 + patches, width): the class token, which stands for the whole image.
std::span<const float> class_token(const tenon::Tensor& features) {
  return features.values<float>().first(static_cast<size_t>(features.size(1)));
}

double cosine(std::span<const float> a, std::span<const float> b) {
  double dot = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) dot += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
  return dot / std::sqrt(aa * bb);
}

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s FOLDER IMAGE...\n", argv[0]);
    return 2;
  }
  try {
    const tenon::ImageFeatureExtraction extract(argv[1]);
    tenon::Tensor first;
    int failed = 0;
    for (int i = 2; i < argc; ++i) {
      try {
        const tenon::Tensor features = extract(std::string(argv[i]));
        if (!first.defined()) first = features;
        std::printf("%s  features %s  cosine with the first %.4f\n", argv[i], features.shape().str().c_str(),
                    cosine(class_token(features), class_token(first)));
      } catch (const tenon::Error& e) {  // one bad image does not stop the others: the model is as usable as before
        std::fprintf(stderr, "%s\n", e.what());
        ++failed;
      }
    }
    return failed ? 1 : 0;
  } catch (const tenon::Error& e) {  // the checkpoint itself
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
