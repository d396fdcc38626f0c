#include "server/api/state_format.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>

#include "base/json.h"
#include "fmt/format.h"

namespace causeway::server {
namespace {

static_assert(std::endian::native == std::endian::little, "the file's numbers are little-endian");

constexpr std::string_view kMagic = "CWSTATE1";
constexpr int64_t kMaxHeadBytes = int64_t{64} << 20;
constexpr int64_t kMaxCount = int64_t{1} << 40;

Error Broken(const std::string& what) {
  return MakeError(ErrorCode::kFailedPrecondition, "the file is no whole state: " + what, "file");
}

Error Other(std::string_view what, const std::string& there, const std::string& here) {
  return MakeError(ErrorCode::kFailedPrecondition,
                   fmt::format("the state is of another {}: {}; this server has {}", what, there, here), "file");
}

std::span<const std::byte> BytesOf(std::string_view text) { return std::as_bytes(std::span(text)); }

template <typename T>
void Append(std::vector<std::byte>& to, const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

int64_t NumberAt(std::span<const std::byte> bytes, size_t offset) {
  int64_t value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

// The salt under the file's own key: equal salts of two files look different.
std::string SaltDigest(const Digest& key, const std::string& salt) {
  return HexOf(KeyedHash(key, "state-salt").Hash({BytesOf(salt)}));
}

OrderedJson ChatJson(const std::optional<ChatPrompt>& chat) {
  if (!chat) {
    return nullptr;
  }
  return {{"messages", chat->messages}, {"tools", chat->tools}, {"template_kwargs", chat->template_kwargs}};
}

Result<Digest> DigestOf(std::string_view hex) {
  Digest digest{};
  const auto value = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  for (size_t i = 0; i < digest.size(); ++i) {
    const int high = hex.size() == 64 ? value(hex[2 * i]) : -1;
    const int low = hex.size() == 64 ? value(hex[2 * i + 1]) : -1;
    if (high < 0 || low < 0) {
      return Broken("a digest in its header is malformed");
    }
    digest[i] = static_cast<std::byte>(high * 16 + low);
  }
  return digest;
}

// Fields of the header, of which none may be missing.
class HeaderFields {
 public:
  explicit HeaderFields(const OrderedJson& json) : json_(json) {}

  std::string Text(const char* name) {
    const auto it = json_.find(name);
    if (it == json_.end() || !it->is_string()) {
      missing_ = name;
      return {};
    }
    return it->get<std::string>();
  }
  int64_t Count(const char* name) {
    const auto it = json_.find(name);
    const bool good = it != json_.end() && it->is_number_integer() && *it >= 0 && *it <= kMaxCount;
    if (!good) {
      missing_ = name;
    }
    return good ? it->get<int64_t>() : 0;
  }
  bool Flag(const char* name) {
    const auto it = json_.find(name);
    if (it == json_.end() || !it->is_boolean()) {
      missing_ = name;
      return false;
    }
    return it->get<bool>();
  }
  Result<void> Finish() const {
    return missing_.empty() ? Result<void>() : Broken("its header has no good " + missing_);
  }

 private:
  const OrderedJson& json_;
  std::string missing_;
};

OrderedJson AdapterJson(const StateAdapter& adapter) {
  return adapter.name.empty() ? OrderedJson(nullptr)
                              : OrderedJson{{"name", adapter.name}, {"digest", HexOf(adapter.digest)}};
}

// Files from before there were adapters have none.
Result<StateAdapter> ReadAdapter(const OrderedJson& json) {
  StateAdapter adapter;
  const auto it = json.find("adapter");
  if (it == json.end() || it->is_null()) {
    return adapter;
  }
  HeaderFields fields(*it);
  adapter.name = fields.Text("name");
  const std::string digest = fields.Text("digest");
  TRY(fields.Finish());
  ASSIGN_OR_RETURN(adapter.digest, DigestOf(digest));
  return adapter;
}

Result<std::optional<ChatPrompt>> ReadChat(const OrderedJson& json) {
  const auto chat = json.find("chat");
  if (chat == json.end() || chat->is_null()) {
    return std::optional<ChatPrompt>();
  }
  const auto field = [&](const char* name) {
    const auto it = chat->find(name);
    return it == chat->end() ? OrderedJson(nullptr) : *it;
  };
  ChatPrompt out;
  out.messages = chat->is_object() ? field("messages") : OrderedJson(nullptr);
  const bool good = out.messages.is_array() && !out.messages.empty() &&
                    std::all_of(out.messages.begin(), out.messages.end(), [](const OrderedJson& message) {
                      return message.is_object() && message.contains("role") && message["role"].is_string();
                    });
  if (!good) {
    return Broken("its messages are malformed");
  }
  out.tools = field("tools");
  out.template_kwargs = field("template_kwargs");
  if ((!out.tools.is_null() && !out.tools.is_array()) ||
      (!out.template_kwargs.is_null() && !out.template_kwargs.is_object())) {
    return Broken("its tools are malformed");
  }
  return std::optional(std::move(out));
}

}  // namespace

StateHasher::StateHasher() : page_(Digest{}, "state-page"), rest_(Digest{}, "state-rest") {}

Digest StateHasher::OfPage(int64_t index, std::span<const std::byte> bytes) {
  return page_.Hash({std::as_bytes(std::span(&index, 1)), bytes});
}

Digest StateHasher::OfRest(std::span<const std::byte> head, std::span<const Token> tokens,
                           std::span<const Digest> digests) {
  return rest_.Hash({head, std::as_bytes(tokens), std::as_bytes(digests)});  // head says how long each is
}

std::string HexOf(std::span<const std::byte> bytes) {
  std::string hex;
  for (const std::byte byte : bytes) {
    hex += fmt::format("{:02x}", static_cast<unsigned>(byte));
  }
  return hex;
}

StateImage MakeStateImage(const StateContent& content, const KvIdentity& identity) {
  const Digest salt_key = RandomKey();
  StateImage image;
  image.layout.tokens = static_cast<int64_t>(content.tokens.size());
  image.layout.pages = content.pinned != nullptr ? content.pinned->pages() : 0;
  image.layout.page_bytes = identity.page_bytes;
  const std::string header = DumpJson(OrderedJson{{"model", identity.model},
                                                  {"layout", identity.layout},
                                                  {"build", identity.build},
                                                  {"fingerprint", HexOf(identity.fingerprint)},
                                                  {"salt_key", HexOf(salt_key)},
                                                  {"salt", SaltDigest(salt_key, content.cache_salt)},
                                                  {"switched", content.switched},
                                                  {"tokens", image.layout.tokens},
                                                  {"pages", image.layout.pages},
                                                  {"page_bytes", image.layout.page_bytes},
                                                  {"adapter", AdapterJson(content.adapter)},
                                                  {"chat", ChatJson(content.chat)}});
  image.layout.head_bytes = static_cast<int64_t>(kStatePrologueBytes + header.size());
  image.layout.file_bytes = image.layout.EndOffset();
  const auto magic = BytesOf(kMagic);
  image.head.assign(magic.begin(), magic.end());
  Append(image.head, image.layout.head_bytes);
  Append(image.head, image.layout.file_bytes);
  const auto text = BytesOf(header);
  image.head.insert(image.head.end(), text.begin(), text.end());
  return image;
}

Result<int64_t> CheckPrologue(std::span<const std::byte> prologue, int64_t file_bytes) {
  if (prologue.size() < kStatePrologueBytes || std::memcmp(prologue.data(), kMagic.data(), kMagic.size()) != 0) {
    return Broken("it does not begin as one");
  }
  const int64_t head = NumberAt(prologue, 8);
  const int64_t whole = NumberAt(prologue, 16);
  if (whole != file_bytes) {
    return Broken(fmt::format("it should have {} bytes and has {}", whole, file_bytes));
  }
  if (head < static_cast<int64_t>(kStatePrologueBytes) || head > std::min(kMaxHeadBytes, file_bytes)) {
    return Broken("its header's length is out of range");
  }
  return head;
}

Result<StateHeader> ParseStateHeader(std::span<const std::byte> head, int64_t file_bytes) {
  const auto text = head.subspan(kStatePrologueBytes);
  const auto parsed = ParseOrderedJson({reinterpret_cast<const char*>(text.data()), text.size()});
  if (!parsed.ok() || !parsed->is_object()) {
    return Broken("its header is malformed");
  }
  const OrderedJson& json = *parsed;
  HeaderFields fields(json);
  StateHeader header;
  header.model = fields.Text("model");
  header.page_layout = fields.Text("layout");
  header.build = fields.Text("build");
  header.fingerprint = fields.Text("fingerprint");
  header.salt_key = fields.Text("salt_key");
  header.salt = fields.Text("salt");
  header.switched = fields.Flag("switched");
  header.layout.head_bytes = static_cast<int64_t>(head.size());
  header.layout.tokens = fields.Count("tokens");
  header.layout.pages = fields.Count("pages");
  header.layout.page_bytes = fields.Count("page_bytes");
  header.layout.file_bytes = file_bytes;
  TRY(fields.Finish());
  // Before any product: no count is above the file's own size.
  const bool sane = header.layout.tokens > 0 && header.layout.tokens <= file_bytes && header.layout.page_bytes > 0 &&
                    header.layout.pages <= file_bytes / header.layout.page_bytes;
  if (!sane || header.layout.EndOffset() != file_bytes) {
    return Broken("its header does not fit its size");
  }
  ASSIGN_OR_RETURN(header.chat, ReadChat(json));
  ASSIGN_OR_RETURN(header.adapter, ReadAdapter(json));
  return header;
}

Result<void> CheckIdentity(const StateHeader& header, const KvIdentity& identity, const std::string& cache_salt) {
  if (header.model != identity.model) {
    return Other("model", header.model, identity.model);
  }
  if (header.page_layout != identity.layout || header.layout.page_bytes != identity.page_bytes) {
    return Other("layout", header.page_layout, identity.layout);
  }
  if (header.build != identity.build) {
    return Other("build", header.build, identity.build);
  }
  if (header.fingerprint != HexOf(identity.fingerprint)) {
    return Other("model", header.model + " with other weights", identity.model);
  }
  if (header.layout.pages > header.layout.tokens / identity.page_tokens) {
    return Broken("it has more pages than its tokens fill");
  }
  ASSIGN_OR_RETURN(const Digest salt_key, DigestOf(header.salt_key));
  if (SaltDigest(salt_key, cache_salt) != header.salt) {
    return MakeError(ErrorCode::kFailedPrecondition, "the state was saved under another cache_salt", "cache_salt");
  }
  return {};
}

}  // namespace causeway::server
