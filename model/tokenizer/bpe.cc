#include "model/tokenizer/bpe.h"

#include <algorithm>
#include <queue>

#include "fmt/format.h"
#include "model/tokenizer/utf8.h"

namespace causeway::model::tokenizer {
namespace {

constexpr int64_t kMaxId = 1 << 24;  // bounds the memory that one absurd id can claim

Error Bad(const std::string& what) { return MakeError(ErrorCode::kInvalidArgument, what); }

uint64_t PairKey(Token left, Token right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

std::string TextField(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}

bool FlagField(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_boolean() && it->get<bool>();
}

// "a b" or ["a", "b"].
bool ReadPair(const Json& merge, std::string& left, std::string& right) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    left = merge[0].get<std::string>();
    right = merge[1].get<std::string>();
    return true;
  }
  if (!merge.is_string()) {
    return false;
  }
  const std::string text = merge.get<std::string>();
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
    return false;
  }
  left = text.substr(0, space);
  right = text.substr(space + 1);
  return true;
}

}  // namespace

// A node of the word's linked list; length 0 means merged away.
struct Bpe::Symbol {
  Token id;
  int32_t previous;
  int32_t next;
  bool alive;
};

// A merge that may be possible; stale ones are recognised when they come up.
struct Bpe::Candidate {
  uint32_t rank;
  int32_t position;
  Token id;

  // The queue's top is the lowest rank, leftmost first.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

Result<Bpe> Bpe::FromJson(const Json& model) {
  const std::string type = TextField(model, "type");
  if (!type.empty() && type != "BPE") {
    return MakeError(ErrorCode::kUnsupported, "tokenizer models of type " + type + " are not served; known: BPE");
  }
  Bpe bpe;
  const auto vocab = model.find("vocab");
  const auto merges = model.find("merges");
  if (vocab == model.end() || !vocab->is_object() || merges == model.end() || !merges->is_array()) {
    return Bad("model: no vocab object or no merges list");
  }
  TRY(bpe.ReadVocab(*vocab));
  TRY(bpe.ReadOptions(model));
  TRY(bpe.ReadMerges(*merges));
  return bpe;
}

Bpe Bpe::FromLists(std::span<const std::string_view> texts, std::span<const std::string_view> merges,
                   const Options& options) {
  Bpe bpe;
  bpe.ignore_merges_ = options.ignore_merges;
  bpe.byte_fallback_ = options.byte_fallback;
  bpe.texts_.assign(texts.begin(), texts.end());
  bpe.present_.assign(texts.size(), true);
  bpe.ids_.reserve(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    bpe.ids_.insert_or_assign(bpe.texts_[i], static_cast<Token>(i));
  }
  bpe.FindBytes();
  bpe.merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const size_t space = merges[rank].find(' ', 1);
    if (space == std::string_view::npos) {
      continue;
    }
    const std::string_view left = merges[rank].substr(0, space);
    const std::string_view right = merges[rank].substr(space + 1);
    const auto left_id = bpe.Id(left);
    const auto right_id = bpe.Id(right);
    const auto merged = bpe.Id(std::string(left) + std::string(right));
    if (left_id && right_id && merged) {
      bpe.merges_.emplace(PairKey(*left_id, *right_id), Merge{static_cast<uint32_t>(rank), *merged});
    }
  }
  return bpe;
}

Result<void> Bpe::ReadVocab(const Json& vocab) {
  ids_.reserve(vocab.size());
  for (const auto& [text, id] : vocab.items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > kMaxId) {
      return Bad(fmt::format("vocab: the id of '{}' is no number from 0 to {}", text, kMaxId));
    }
    const auto token = id.get<size_t>();
    if (token >= texts_.size()) {
      texts_.resize(token + 1);
      present_.resize(token + 1, false);
    }
    if (present_[token]) {
      return Bad(fmt::format("vocab: '{}' and '{}' share id {}", text, texts_[token], token));
    }
    texts_[token] = text;
    present_[token] = true;
    ids_.emplace(text, static_cast<Token>(token));
  }
  return {};
}

Result<void> Bpe::ReadOptions(const Json& model) {
  prefix_ = TextField(model, "continuing_subword_prefix");
  suffix_ = TextField(model, "end_of_word_suffix");
  fuse_unknown_ = FlagField(model, "fuse_unk");
  byte_fallback_ = FlagField(model, "byte_fallback");
  ignore_merges_ = FlagField(model, "ignore_merges");
  const std::string unknown = TextField(model, "unk_token");
  if (!unknown.empty()) {
    unknown_ = Id(unknown);
    if (!unknown_) {
      return Bad("model: unk_token '" + unknown + "' is not in the vocabulary");
    }
  }
  FindBytes();
  return {};
}

void Bpe::FindBytes() {
  for (int byte = 0; byte < 256; ++byte) {
    bytes_[byte] = Id(fmt::format("<0x{:02X}>", byte));
  }
}

Result<void> Bpe::ReadMerges(const Json& merges) {
  merges_.reserve(merges.size());
  uint32_t rank = 0;
  std::string left;
  std::string right;
  for (const Json& merge : merges) {
    if (!ReadPair(merge, left, right)) {
      return Bad(fmt::format("merges: entry {} is no pair", rank));
    }
    const auto left_id = Id(left);
    const auto right_id = Id(right);
    const std::string tail = right.starts_with(prefix_) ? right.substr(prefix_.size()) : right;
    const auto merged = Id(left + tail);
    if (!left_id || !right_id || !merged) {
      return Bad(
          fmt::format("merges: entry {} ('{}' + '{}') uses a token that the vocabulary lacks", rank, left, right));
    }
    merges_[PairKey(*left_id, *right_id)] = {rank, *merged};  // the last of duplicates, as a map built in order
    ++rank;
  }
  return {};
}

std::optional<Token> Bpe::Id(std::string_view text) const {
  const auto it = ids_.find(text);
  return it == ids_.end() ? std::nullopt : std::optional<Token>(it->second);
}

const std::string* Bpe::Text(Token id) const {
  const auto index = static_cast<size_t>(id);
  return id >= 0 && index < texts_.size() && present_[index] ? &texts_[index] : nullptr;
}

const Bpe::Merge* Bpe::Find(Token left, Token right) const {
  const auto it = merges_.find(PairKey(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

bool Bpe::SplitBytes(std::string_view character, std::vector<Token>& symbols) const {
  for (const char c : character) {
    if (!bytes_[static_cast<uint8_t>(c)]) {
      return false;
    }
  }
  for (const char c : character) {
    symbols.push_back(*bytes_[static_cast<uint8_t>(c)]);
  }
  return true;
}

// Characters to symbols. An unknown run is written when the next known character comes, or at the end; byte
// fallback does not end such a run. That is the reference library's order, kept to the letter.
void Bpe::Split(std::string_view word, std::vector<Token>& symbols) const {
  bool unknown_pending = false;
  std::string piece;
  for (size_t at = 0; at < word.size();) {
    const size_t length = CharacterAt(word, at).length;
    piece.assign(at > 0 ? prefix_ : std::string());
    piece.append(word.substr(at, length));
    if (at + length == word.size()) {
      piece += suffix_;
    }
    at += length;
    if (const auto id = Id(piece)) {
      if (unknown_pending) {
        symbols.push_back(*unknown_);
        unknown_pending = false;
      }
      symbols.push_back(*id);
    } else if (!(byte_fallback_ && SplitBytes(piece, symbols)) && unknown_) {
      if (unknown_pending && !fuse_unknown_) {
        symbols.push_back(*unknown_);
      }
      unknown_pending = true;
    }
  }
  if (unknown_pending) {
    symbols.push_back(*unknown_);
  }
}

void Bpe::MergeAll(std::vector<Token>& symbols) const {
  const auto count = static_cast<int32_t>(symbols.size());
  std::vector<Symbol> list(symbols.size());
  for (int32_t i = 0; i < count; ++i) {
    list[static_cast<size_t>(i)] = {symbols[static_cast<size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1, true};
  }
  std::vector<Candidate> storage;
  storage.reserve(symbols.size());
  const auto offer = [&](std::vector<Candidate>& to, int32_t position) {
    const Symbol& left = list[static_cast<size_t>(position)];
    if (left.next < 0) {
      return false;
    }
    const Merge* const merge = Find(left.id, list[static_cast<size_t>(left.next)].id);
    if (merge == nullptr) {
      return false;
    }
    to.push_back({merge->rank, position, merge->id});
    return true;
  };
  for (int32_t i = 0; i + 1 < count; ++i) {
    offer(storage, i);
  }
  std::make_heap(storage.begin(), storage.end());
  while (!storage.empty()) {
    std::pop_heap(storage.begin(), storage.end());
    const Candidate best = storage.back();
    storage.pop_back();
    Symbol& left = list[static_cast<size_t>(best.position)];
    if (!left.alive || left.next < 0) {
      continue;
    }
    Symbol& right = list[static_cast<size_t>(left.next)];
    const Merge* const merge = Find(left.id, right.id);
    if (merge == nullptr || merge->id != best.id) {
      continue;  // one of the two has changed since
    }
    left.id = best.id;
    right.alive = false;
    left.next = right.next;
    if (left.next >= 0) {
      list[static_cast<size_t>(left.next)].previous = best.position;
    }
    if (left.previous >= 0 && offer(storage, left.previous)) {
      std::push_heap(storage.begin(), storage.end());
    }
    if (offer(storage, best.position)) {
      std::push_heap(storage.begin(), storage.end());
    }
  }
  symbols.clear();
  for (const Symbol& symbol : list) {
    if (symbol.alive) {
      symbols.push_back(symbol.id);
    }
  }
}

void Bpe::Encode(std::string_view word, std::vector<Token>& ids) const {
  if (ignore_merges_) {
    if (const auto id = Id(word)) {
      ids.push_back(*id);
      return;
    }
  }
  std::vector<Token> symbols;
  symbols.reserve(word.size());
  Split(word, symbols);
  MergeAll(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

}  // namespace causeway::model::tokenizer
