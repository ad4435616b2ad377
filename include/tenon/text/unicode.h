// Properties and normalisation of code points, as the library that defines tokenizer.json sees them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::text {

/// Bits of char_flags(); the comment says which members the bit has. The bits above them are the number of the general category.
enum CharFlag : uint16_t {
  kSpace = 1,        // White_Space
  kPunctuation = 2,  // category P, and the ASCII symbols
  kNonspacing = 4,   // category Mn
  kControl = 8,      // categories Cc, Cf, Co and U+FFFD; not \t \n \r
  kMark = 16,        // category M
  kNumeric = 32,     // category N
  kWord = 64,        // \w of UTS 18
  kLetter = 128,     // \p{L} in patterns (a younger Unicode than the bits above know)
  kNumber = 256,     // \p{N} in patterns
  kChinese = 512,    // the CJK ideograph blocks that BERT isolates
};

/// The general categories in the order of their numbers, as patterns see them.
inline constexpr std::array<std::string_view, 30> kCategoryNames = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl",
                                                                    "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc",
                                                                    "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"};
inline constexpr unsigned kDecimal = 8;  // the number of Nd
inline constexpr unsigned kCategoryShift = 10;

/// The flags of a code point; those above U+10FFFF have none.
uint16_t char_flags(char32_t c);

/// The table behind char_flags(), for loops that read many characters up to U+10FFFF.
struct FlagPages {
  const uint16_t* page;   // of each 256 code points
  const uint16_t* flags;  // 256 a page
  uint16_t operator[](char32_t c) const { return flags[size_t{page[c >> 8]} << 8 | (c & 255)]; }
};
const FlagPages& flag_pages();

/// The general category in flags, and 32 for White_Space.
inline unsigned scan_kind(uint16_t flags) { return unsigned{flags} >> kCategoryShift | (flags & kSpace) << 5; }

/// The lower-case form; one code point but for U+0130, which gives two. Returns how many were written to out.
int to_lower(char32_t c, char32_t out[2]);

/// A valid text in lower case; a sigma that ends a word becomes the final one, as Python's str.lower() has it.
std::string to_lower(std::string_view text);

/// Canonical combining class; 0 for starters.
int combining_class(char32_t c);

/// The full (compatibility) decomposition. Returns how many code points were written to out, 1 if c decomposes to itself.
int decompose(char32_t c, bool compatibility, char32_t out[32]);

/// The composition of a and b, or 0 if there is none.
char32_t compose(char32_t a, char32_t b);

/// One step of a normalisation: `change` 1 inserts c; 0 puts c in the place of the next source character; -n does so and removes
/// the n source characters behind it.
struct NormalStep {
  char32_t c;
  int change;
};

enum class NormalForm { NFC, NFD, NFKC, NFKD };

/// The steps that bring valid text to the normal form; they consume every character of it once.
void normal_steps(std::string_view text, NormalForm form, std::vector<NormalStep>& out);

/// Bytes at the start of the text that are in this form already and do not depend on what follows.
size_t normal_prefix(std::string_view text, NormalForm form);

/// Bytes of the shortest start of a non-empty text that can be normalised without what follows.
size_t normal_segment(std::string_view text, NormalForm form);

}  // namespace tenon::text
