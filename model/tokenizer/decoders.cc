#include <memory>

#include "model/tokenizer/byte_level.h"
#include "model/tokenizer/regex.h"
#include "model/tokenizer/stage_json.h"
#include "model/tokenizer/stages.h"
#include "model/tokenizer/utf8.h"

namespace causeway::model::tokenizer {
namespace {

using Tokens = std::vector<std::string>;

std::string Lossy(std::string_view bytes) {
  LossyUtf8Stream stream;
  std::string text;
  stream.Append(bytes, text);
  stream.Finish(text);
  return text;
}

Result<Decoder> MakeByteLevel(const Json&, int) {
  return Decoder([](Tokens& tokens) {
    std::string bytes;
    for (const std::string& token : tokens) {
      bytes += BytesOfText(token).value_or(token);
    }
    tokens.assign(1, Lossy(bytes));
  });
}

Result<Decoder> MakeReplace(const Json& json, int) {
  ASSIGN_OR_RETURN(Regex pattern, StagePattern(json));
  ASSIGN_OR_RETURN(std::string content, StageText(json, "content"));
  auto shared = std::make_shared<Regex>(std::move(pattern));  // std::function must be copyable
  return Decoder([shared, content = std::move(content)](Tokens& tokens) {
    std::vector<Match> matches;
    for (std::string& token : tokens) {
      if (!shared->FindAll(token, matches).ok() || matches.empty()) {
        continue;  // a token too long for the pattern stays as it is
      }
      std::string out;
      size_t at = 0;
      for (const Match& match : matches) {
        out.append(token, at, match.begin - at).append(content);
        at = match.end;
      }
      token = out.append(token, at);
    }
  });
}

int HexDigit(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                : -1;
}

// The byte of "<0xHH>", or -1.
int FallbackByte(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') {
    return -1;
  }
  const int high = HexDigit(token[3]);
  const int low = HexDigit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

Result<Decoder> MakeByteFallback(const Json&, int) {
  return Decoder([](Tokens& tokens) {
    Tokens out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) {
        return;
      }
      if (IsValidUtf8(bytes)) {
        out.push_back(bytes);
      } else {  // one replacement for each byte, not for each sequence
        for (size_t i = 0; i < bytes.size(); ++i) {
          out.emplace_back(kReplacementCharacter);
        }
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      const int byte = FallbackByte(token);
      if (byte >= 0) {
        bytes += static_cast<char>(byte);
      } else {
        flush();
        out.push_back(std::move(token));
      }
    }
    flush();
    tokens = std::move(out);
  });
}

Result<Decoder> MakeFuse(const Json&, int) {
  return Decoder([](Tokens& tokens) {
    std::string all;
    for (const std::string& token : tokens) {
      all += token;
    }
    tokens.assign(1, std::move(all));
  });
}

Result<Decoder> MakeStrip(const Json& json, int) {
  ASSIGN_OR_RETURN(std::string content, StageText(json, "content"));
  const auto count = [&](const char* name) -> size_t {
    const auto it = json.find(name);
    return it != json.end() && it->is_number_unsigned() ? it->get<size_t>() : 0;
  };
  const size_t start = count("start");
  const size_t stop = count("stop");
  return Decoder([content = std::move(content), start, stop](Tokens& tokens) {
    for (std::string& token : tokens) {
      std::string_view text = token;
      for (size_t i = 0; i < start && !content.empty() && text.starts_with(content); ++i) {
        text.remove_prefix(content.size());
      }
      for (size_t i = 0; i < stop && !content.empty() && text.ends_with(content); ++i) {
        text.remove_suffix(content.size());
      }
      token = std::string(text);
    }
  });
}

// Replacements become spaces; those of the first token, which encoding put there, vanish.
Result<Decoder> MakeMetaspace(const Json& json, int) {
  const std::string replacement = StageTextOr(json, "replacement", "\xE2\x96\x81");
  const bool never =
      StageTextOr(json, "prepend_scheme", "always") == "never" || !StageFlag(json, "add_prefix_space", true);
  return Decoder([replacement, never](Tokens& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string out;
      for (size_t at = 0; at < tokens[i].size();) {
        if (std::string_view(tokens[i]).substr(at).starts_with(replacement)) {
          if (i > 0 || never) {
            out += ' ';
          }
          at += replacement.size();
        } else {
          out += tokens[i][at++];
        }
      }
      tokens[i] = std::move(out);
    }
  });
}

Result<Decoder> MakeBpeDecoder(const Json& json, int) {
  const std::string suffix = StageTextOr(json, "suffix", "</w>");
  ASSIGN_OR_RETURN(Regex literal, Regex::Literal(suffix));
  auto shared = std::make_shared<Regex>(std::move(literal));
  return Decoder([shared](Tokens& tokens) {
    std::vector<Match> matches;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (!shared->FindAll(tokens[i], matches).ok()) {
        continue;
      }
      for (auto match = matches.rbegin(); match != matches.rend(); ++match) {
        const bool last = i + 1 == tokens.size();
        tokens[i].erase(match->begin, match->end - match->begin);
        tokens[i].insert(match->begin, last ? 0 : 1, ' ');
      }
    }
  });
}

Result<Decoder> Make(const Json& json, int depth);

Result<Decoder> MakeSequence(const Json& json, int depth) {
  const auto it = json.find("decoders");
  if (it == json.end() || !it->is_array() || depth >= kMaxStageDepth) {
    return MakeError(ErrorCode::kInvalidArgument, "decoder Sequence: no list, or nested too deep");
  }
  std::vector<Decoder> parts;
  for (const Json& part : *it) {
    ASSIGN_OR_RETURN(Decoder decoder, Make(part, depth + 1));
    parts.push_back(std::move(decoder));
  }
  return Decoder([parts = std::move(parts)](Tokens& tokens) {
    for (const Decoder& part : parts) {
      part(tokens);
    }
  });
}

struct Row {
  const char* type;
  Result<Decoder> (*make)(const Json&, int depth);
};
constexpr Row kRows[] = {
    {"Sequence", MakeSequence},   {"ByteLevel", MakeByteLevel},       {"Replace", MakeReplace},
    {"Fuse", MakeFuse},           {"ByteFallback", MakeByteFallback}, {"Strip", MakeStrip},
    {"Metaspace", MakeMetaspace}, {"BPEDecoder", MakeBpeDecoder},
};

Result<Decoder> Make(const Json& json, int depth) {
  const std::string type = StageType(json);
  std::string known;
  for (const Row& row : kRows) {
    if (type == row.type) {
      return row.make(json, depth);
    }
    known += (known.empty() ? "" : ", ") + std::string(row.type);
  }
  return MakeError(ErrorCode::kUnsupported, "decoder '" + type + "' is not served; known: " + known);
}

}  // namespace

Result<Decoder> MakeDecoder(const Json& json) {
  if (json.is_null()) {
    return Decoder();
  }
  return Make(json, 0);
}

}  // namespace causeway::model::tokenizer
