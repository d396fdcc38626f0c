#include "model/tokenizer/utf8.h"

#include <cstring>

namespace causeway::model::tokenizer {
namespace {

// The bytes that may follow a lead byte (Unicode 15, table 3-7); `length` 0: not a lead byte.
struct Lead {
  uint8_t length;
  uint8_t second_low;
  uint8_t second_high;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) {
    return {1, 0, 0};
  }
  if (byte < 0xC2 || byte > 0xF4) {
    return {0, 0, 0};
  }
  if (byte < 0xE0) {
    return {2, 0x80, 0xBF};
  }
  if (byte < 0xF0) {
    return {3, static_cast<uint8_t>(byte == 0xE0 ? 0xA0 : 0x80), static_cast<uint8_t>(byte == 0xED ? 0x9F : 0xBF)};
  }
  return {4, static_cast<uint8_t>(byte == 0xF0 ? 0x90 : 0x80), static_cast<uint8_t>(byte == 0xF4 ? 0x8F : 0xBF)};
}

}  // namespace

Utf8Step StepUtf8(std::string_view bytes, size_t offset) {
  const Lead lead = LeadOf(static_cast<uint8_t>(bytes[offset]));
  if (lead.length == 0) {
    return {Utf8Step::Kind::kInvalid, 1};
  }
  for (uint8_t i = 1; i < lead.length; ++i) {
    if (offset + i >= bytes.size()) {
      return {Utf8Step::Kind::kIncomplete, i};
    }
    const auto byte = static_cast<uint8_t>(bytes[offset + i]);
    const uint8_t low = i == 1 ? lead.second_low : 0x80;
    const uint8_t high = i == 1 ? lead.second_high : 0xBF;
    if (byte < low || byte > high) {
      return {Utf8Step::Kind::kInvalid, i};
    }
  }
  return {Utf8Step::Kind::kComplete, lead.length};
}

bool IsAscii(std::string_view text) {
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, sizeof(word));
    if ((word & 0x8080808080808080u) != 0) {
      return false;
    }
  }
  for (; i < text.size(); ++i) {
    if (static_cast<uint8_t>(text[i]) >= 0x80) {
      return false;
    }
  }
  return true;
}

bool IsValidUtf8(std::string_view bytes) {
  size_t i = 0;
  while (i < bytes.size()) {
    if (static_cast<uint8_t>(bytes[i]) < 0x80) {
      ++i;
      continue;
    }
    const Utf8Step step = StepUtf8(bytes, i);
    if (step.kind != Utf8Step::Kind::kComplete) {
      return false;
    }
    i += step.length;
  }
  return true;
}

Character CharacterBefore(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) {
    --begin;
  }
  return CharacterAt(text, begin);
}

void AppendUtf8(char32_t character, std::string& out) {
  const auto push = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (character < 0x80) {
    push(character);
  } else if (character < 0x800) {
    push(0xC0 | character >> 6);
    push(0x80 | (character & 0x3F));
  } else if (character < 0x10000) {
    push(0xE0 | character >> 12);
    push(0x80 | (character >> 6 & 0x3F));
    push(0x80 | (character & 0x3F));
  } else {
    push(0xF0 | character >> 18);
    push(0x80 | (character >> 12 & 0x3F));
    push(0x80 | (character >> 6 & 0x3F));
    push(0x80 | (character & 0x3F));
  }
}

void LossyUtf8Stream::Append(std::string_view bytes, std::string& out) {
  std::string joined;
  if (!held_.empty()) {
    joined = held_;
    joined.append(bytes);
    bytes = joined;
    held_.clear();
  }
  for (size_t i = 0; i < bytes.size();) {
    const Utf8Step step = StepUtf8(bytes, i);
    if (step.kind == Utf8Step::Kind::kComplete) {
      out.append(bytes, i, step.length);
    } else if (step.kind == Utf8Step::Kind::kInvalid) {
      out.append(kReplacementCharacter);
    } else {
      held_.assign(bytes.substr(i));
      return;
    }
    i += step.length;
  }
}

void LossyUtf8Stream::Finish(std::string& out) {
  if (!held_.empty()) {
    out.append(kReplacementCharacter);  // what is held is one maximal subpart
    held_.clear();
  }
}

}  // namespace causeway::model::tokenizer
