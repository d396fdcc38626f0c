// tokenizer.json from arbitrary bytes. One that loads must encode text, and stream the result back as it
// decodes it whole.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "model/tokenizer/incremental_detokenizer.h"
#include "model/tokenizer/tokenizer.h"

namespace {

constexpr std::string_view kTexts[] = {"", "ab aab  b\n\n12", "h\xc3\xa9 \xf0\x9f\x91\x8b\xf0\x9f\x8f\xbd<s>",
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

void CheckStream(const causeway::model::Tokenizer& tokenizer, std::span<const causeway::Token> ids) {
  for (const bool skip : {false, true}) {
    causeway::model::IncrementalDetokenizer stream(tokenizer, skip);
    size_t bytes = 0;
    for (const causeway::Token id : ids) {
      bytes += stream.Append(id).size();
    }
    bytes += stream.Flush().size();
    CHECK(bytes <= (size_t{1} << 24));
    (void)tokenizer.Decode(ids, skip);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tokenizer = causeway::model::Tokenizer::FromJson({reinterpret_cast<const char*>(data), size});
  if (!tokenizer.ok()) {
    return 0;
  }
  for (const std::string_view text : kTexts) {
    for (const bool special : {false, true}) {
      const auto ids = (*tokenizer)->Encode(text, {.add_special_tokens = special, .parse_special = special});
      if (ids.ok()) {
        for (const causeway::Token id : *ids) {
          CHECK(id >= 0 && static_cast<size_t>(id) < (*tokenizer)->vocab_size());
        }
        CheckStream(**tokenizer, *ids);
      }
    }
  }
  const causeway::model::Tokenizer::Piece pieces[] = {{"<s>", true}, {"<s> a", false}};
  (void)(*tokenizer)->EncodePieces(pieces, true);
  return 0;
}
