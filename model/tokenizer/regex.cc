#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/tokenizer/regex.h"

#include <algorithm>
#include <iterator>

#include <pcre2.h>

#include "base/check.h"
#include "fmt/format.h"

namespace causeway::model::tokenizer {
namespace {

constexpr size_t kMaxPatternBytes = 1 << 16;
constexpr uint32_t kMatchLimit = 50'000'000;  // steps of one match
constexpr uint32_t kHeapLimitKib = 64 << 10;
constexpr size_t kJitStackBytes = 1 << 20;

// What matching needs besides the pattern; one per thread, so that matching allocates nothing.
struct MatchMemory {
  MatchMemory()
      : data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr)) {
    CHECK(data != nullptr && context != nullptr && stack != nullptr);
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_heap_limit(context, kHeapLimitKib);
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~MatchMemory() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  MatchMemory(const MatchMemory&) = delete;
  MatchMemory& operator=(const MatchMemory&) = delete;

  pcre2_match_data* const data;
  pcre2_match_context* const context;
  pcre2_jit_stack* const stack;
};

std::string MessageOf(int code) {
  unsigned char text[256];
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

// Scripts that patterns name. To PCRE2 \p{Han} is every character that Han texts use; here, as in Oniguruma, it is
// those of the script alone.
constexpr std::string_view kScripts[] = {"Han",     "Hiragana", "Katakana", "Hangul", "Bopomofo", "Latin",
                                         "Greek",   "Cyrillic", "Arabic",   "Hebrew", "Thai",     "Devanagari",
                                         "Bengali", "Tamil",    "Telugu",   "Lao",    "Khmer",    "Myanmar"};

std::string WithScriptsAlone(std::string_view pattern) {
  std::string out;
  for (size_t at = 0; at < pattern.size(); ++at) {
    out += pattern[at];
    if (pattern[at] != '\\' || at + 1 == pattern.size()) {
      continue;
    }
    out += pattern[++at];  // an escaped backslash begins nothing
    const std::string_view rest = pattern.substr(at + 1);
    const size_t end = rest.find('}');
    if ((pattern[at] != 'p' && pattern[at] != 'P') || !rest.starts_with('{') || end == std::string_view::npos) {
      continue;
    }
    const std::string_view name = rest.substr(1, end - 1);
    if (std::find(std::begin(kScripts), std::end(kScripts), name) != std::end(kScripts)) {
      out += "{sc:";
      at += 1;
    }
  }
  return out;
}

}  // namespace

void Regex::Free::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

Result<Regex> Regex::Compile(const std::string& written) {
  if (written.size() > kMaxPatternBytes) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("a pattern of {} bytes; at most {}", written.size(), kMaxPatternBytes));
  }
  const std::string pattern = WithScriptsAlone(written);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* const code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                         PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (code == nullptr) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("bad pattern '{}': {} at byte {}", pattern.substr(0, 80), MessageOf(error), offset));
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without JIT matching is slower, not different
  return Regex(code);
}

Result<Regex> Regex::Literal(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    // A backslash before an ASCII non-word character makes it literal.
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && !std::isalnum(byte) && c != '_') {
      pattern += '\\';
    }
    pattern += c;
  }
  return Compile(pattern);
}

Result<void> Regex::FindAll(std::string_view text, std::vector<Match>& matches, bool cuts) const {
  thread_local MatchMemory memory;
  matches.clear();
  size_t at = 0;
  // An empty match at `at` would stand where another one ended, or at the very start: it cuts nothing.
  const uint32_t options = PCRE2_NO_UTF_CHECK | (cuts ? PCRE2_NOTEMPTY_ATSTART : PCRE2_NOTEMPTY);
  while (at < text.size()) {
    const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, options,
                                  memory.data, memory.context);
    if (found == PCRE2_ERROR_NOMATCH) {
      break;
    }
    if (found < 0) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "the text is too much for the tokenizer's pattern: " + MessageOf(found));
    }
    const PCRE2_SIZE* const range = pcre2_get_ovector_pointer(memory.data);
    if (range[1] <= at && range[1] <= range[0]) {
      break;  // a \K that went backwards
    }
    matches.push_back({range[0], range[1]});
    at = range[1];
  }
  return {};
}

}  // namespace causeway::model::tokenizer
