// Resizing against values that Pillow 13 gives, and the row loops against each other.
#include <doctest/doctest.h>

#include "../../src/vision/resample.h"
#include "samples.h"
#include "tenon/vision/resize.h"

using namespace tenon;
using namespace tenon::vision;
using samples::Bytes;

namespace {

struct HashCase {
  int height, width, channels, filter, to_height, to_width;
  uint64_t hash;
};

// picture(height, width, channels) resized by Pillow 13. Where the height shrinks by more than twice what the width does, it goes
// down first: the cases 10x90 and 37x12 (of 37x53 and 64x40) lie on both sides of that.
constexpr HashCase kHashes[] = {
    {37, 53, 3, 0, 16, 20, 0x7fe0a4dfbe369d83u},  {37, 53, 3, 0, 80, 100, 0xb28ca629440cde3bu},
    {37, 53, 3, 0, 10, 90, 0xa7af7522ff1b8c9eu},  {37, 53, 3, 0, 37, 12, 0x29f09afbbec7f978u},
    {37, 53, 3, 0, 90, 40, 0x4f1eba8766e8ce3eu},  {37, 53, 3, 1, 16, 20, 0x52a4e376e3fb4ecbu},
    {37, 53, 3, 1, 80, 100, 0xc37c55bf307a705bu}, {37, 53, 3, 1, 10, 90, 0xde5f946d0e80ef7fu},
    {37, 53, 3, 1, 37, 12, 0xd24d7414d5f3a17fu},  {37, 53, 3, 1, 90, 40, 0x10b160800e92804eu},
    {37, 53, 3, 2, 16, 20, 0xbbb418339d9f9dc5u},  {37, 53, 3, 2, 80, 100, 0x6767dd5a51caa57au},
    {37, 53, 3, 2, 10, 90, 0xf0a5ea9cd34d0121u},  {37, 53, 3, 2, 37, 12, 0xf542e86203dca0d8u},
    {37, 53, 3, 2, 90, 40, 0x439b0814bf0b3d16u},  {37, 53, 3, 3, 16, 20, 0xf14816c59bb81ee5u},
    {37, 53, 3, 3, 80, 100, 0x0b8171b4f02e8973u}, {37, 53, 3, 3, 10, 90, 0x1fafca7b4a9cad5cu},
    {37, 53, 3, 3, 37, 12, 0xbfc4eb1126fb7d94u},  {37, 53, 3, 3, 90, 40, 0x1e68114e998505e3u},
    {37, 53, 3, 4, 16, 20, 0xc107a509f00c63edu},  {37, 53, 3, 4, 80, 100, 0xb28ca629440cde3bu},
    {37, 53, 3, 4, 10, 90, 0x53ee859c6c16e7f4u},  {37, 53, 3, 4, 37, 12, 0x388ec201ab5a5ee8u},
    {37, 53, 3, 4, 90, 40, 0xbbd07555f288505fu},  {37, 53, 3, 5, 16, 20, 0xca476328f39b3b6bu},
    {37, 53, 3, 5, 80, 100, 0x2043dff1bdea1b1cu}, {37, 53, 3, 5, 10, 90, 0x458bd7be8d79d6c5u},
    {37, 53, 3, 5, 37, 12, 0x4016ff18e13ea846u},  {37, 53, 3, 5, 90, 40, 0x5e4bb3e75f084907u},
    {64, 40, 1, 0, 16, 20, 0x17e57c2da2b755deu},  {64, 40, 1, 0, 80, 100, 0x15dc2e3b9212e6fau},
    {64, 40, 1, 0, 10, 90, 0x8c169ba6356afcb2u},  {64, 40, 1, 0, 37, 12, 0x344cacea27c035d7u},
    {64, 40, 1, 0, 90, 40, 0xe790ccb3cf4a745cu},  {64, 40, 1, 1, 16, 20, 0x6d51c239e45d6c8fu},
    {64, 40, 1, 1, 80, 100, 0x9a7922930a265823u}, {64, 40, 1, 1, 10, 90, 0x342eb78c4e911581u},
    {64, 40, 1, 1, 37, 12, 0x98ffcbae34bc785au},  {64, 40, 1, 1, 90, 40, 0xc535ad1122bf072du},
    {64, 40, 1, 2, 16, 20, 0xf81606f61d269465u},  {64, 40, 1, 2, 80, 100, 0x3f2365f9c9699e4fu},
    {64, 40, 1, 2, 10, 90, 0xfc721607817a5215u},  {64, 40, 1, 2, 37, 12, 0x3902442f116cddf6u},
    {64, 40, 1, 2, 90, 40, 0x00161ea0f137a226u},  {64, 40, 1, 3, 16, 20, 0x05be25c8595fcb87u},
    {64, 40, 1, 3, 80, 100, 0xf666c032de74c554u}, {64, 40, 1, 3, 10, 90, 0xebd4bd468a918089u},
    {64, 40, 1, 3, 37, 12, 0x2d8c872440bd1a46u},  {64, 40, 1, 3, 90, 40, 0x58c884c6f85121f4u},
    {64, 40, 1, 4, 16, 20, 0x16dbe3ed8b356198u},  {64, 40, 1, 4, 80, 100, 0x420249d4f62b1ceau},
    {64, 40, 1, 4, 10, 90, 0x2ee4280f259c307cu},  {64, 40, 1, 4, 37, 12, 0x1cf1f261b0f4611au},
    {64, 40, 1, 4, 90, 40, 0x7bfd67b51486a463u},  {64, 40, 1, 5, 16, 20, 0x16176053d449fb26u},
    {64, 40, 1, 5, 80, 100, 0x5610a86015e15a16u}, {64, 40, 1, 5, 10, 90, 0x5863f5e8fa14e5c5u},
    {64, 40, 1, 5, 37, 12, 0x84ffd35fe6280e8du},  {64, 40, 1, 5, 90, 40, 0x8ef9752e3a1a5219u},
};

}  // namespace

TEST_CASE("small results, written out") {
  const Bytes shrunk[] = {{92, 166, 201, 106, 193, 251, 166, 228, 66, 157, 242, 31, 244, 37, 115, 244, 52, 150},
                          {72, 155, 186, 122, 201, 85, 184, 157, 49, 159, 189, 73, 200, 95, 79, 204, 62, 130},
                          {85, 160, 173, 125, 187, 94, 175, 156, 60, 158, 178, 79, 193, 100, 85, 205, 71, 120},
                          {77, 156, 182, 123, 194, 89, 180, 157, 52, 158, 185, 76, 197, 97, 83, 204, 64, 125},
                          {76, 152, 184, 115, 191, 97, 170, 172, 47, 166, 176, 74, 208, 105, 92, 190, 55, 127},
                          {80, 155, 189, 118, 188, 98, 174, 160, 54, 159, 189, 72, 201, 92, 90, 207, 62, 127}};
  for (int f = 0; f < 6; ++f) {
    const Image out = resize(samples::picture(6, 8, 3), 2, 3, filter_of(f));
    CHECK(out.height == 2);
    CHECK(out.width == 3);
    CHECK(out.pixels == shrunk[f]);
  }
}

TEST_CASE("all filters, growing and shrinking, colour and grey, equal Pillow's bytes") {
  for (const HashCase& c : kHashes) {
    CAPTURE(c.filter);
    CAPTURE(c.to_height);
    CAPTURE(c.to_width);
    const Image image = samples::picture(c.height, c.width, c.channels);
    CHECK(samples::hash(resize(image, c.to_height, c.to_width, filter_of(c.filter)).pixels) == c.hash);
    CHECK(samples::hash(resize(image, c.to_height, c.to_width, filter_of(c.filter), 3).pixels) == c.hash);
  }
}

TEST_CASE("the same size is a copy, one row or column works, channels are independent") {
  const Image image = samples::picture(9, 11, 3);
  for (int f = 0; f < 6; ++f) {
    CHECK(resize(image, 9, 11, filter_of(f)).pixels == image.pixels);
    CHECK(resize(samples::picture(1, 1, 3), 5, 4, filter_of(f)).pixels.size() == 60);
    CHECK(resize(image, 1, 1, filter_of(f)).pixels.size() == 3);
    const Image four = resize(samples::picture(8, 9, 4), 5, 4, filter_of(f));
    for (int c = 0; c < 4; ++c) {
      Image one(8, 9, 1);
      for (size_t i = 0; i < one.pixels.size(); ++i) one.pixels[i] = samples::picture(8, 9, 4).pixels[i * 4 + c];
      const Image small = resize(one, 5, 4, filter_of(f));
      for (size_t i = 0; i < small.pixels.size(); ++i) CHECK(small.pixels[i] == four.pixels[i * 4 + c]);
    }
  }
}

TEST_CASE("the row loops of this machine agree with the portable ones") {
  using namespace vision::detail;
  for (int in : {1, 2, 7, 40, 301})
    for (int out : {1, 3, 16, 39, 130})
      for (int f = 1; f < 6; ++f) {
        const Taps taps = make_taps(in, out, filter_of(f));
        REQUIRE(taps.runs.size() == static_cast<size_t>(out));
        for (int channels = 1; channels <= 4; ++channels) {
          Bytes row = samples::picture(1, in, channels).pixels;
          row.resize(row.size() + kSlack, 0xee);
          const size_t bytes = static_cast<size_t>(out) * channels;
          Bytes expected(bytes + kSlack), got(bytes + kSlack);
          kPortableRows.across(expected.data(), row.data(), taps, channels);
          row_kernel().across(got.data(), row.data(), taps, channels);
          CHECK(Bytes(expected.begin(), expected.end() - kSlack) == Bytes(got.begin(), got.end() - kSlack));
        }
        const Image rows = samples::picture(in, 37, 1);
        for (const Taps::Run& run : taps.runs) {
          Bytes expected(37), got(37);
          kPortableRows.down(expected.data(), rows.row(run.first), 37, taps, run, 37);
          row_kernel().down(got.data(), rows.row(run.first), 37, taps, run, 37);
          CHECK(expected == got);
        }
      }
}

TEST_CASE("impossible sizes and filters are errors") {
  const Image image = samples::picture(4, 4, 3);
  const auto code = [&](int height, int width) {
    try {
      resize(image, height, width);
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::Device;
  };
  CHECK(code(0, 4) == ErrorCode::Limit);
  CHECK(code(4, -1) == ErrorCode::Limit);
  CHECK(code(1 << 20, 1 << 20) == ErrorCode::Limit);
  CHECK_THROWS_AS(filter_of(6), Error);
  CHECK_THROWS_AS(filter_of(-1), Error);
  Image broken = image;
  broken.pixels.pop_back();
  CHECK_THROWS_AS(resize(broken, 2, 2), Error);
}
