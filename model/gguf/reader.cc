#include "model/gguf/reader.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "fmt/format.h"
#include "kernels/quant/format.h"

namespace causeway::model::gguf {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint64_t kMaxKeys = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 18;
constexpr uint64_t kMaxKeyBytes = (1 << 16) - 1;  // the format's own limit
constexpr uint64_t kMaxNameBytes = 512;
constexpr uint32_t kMaxDimensions = 4;
constexpr int kMaxDepth = 4;            // of lists in lists
constexpr uint64_t kMaxShards = 99999;  // five digits
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 1 << 20;

// ggml's numbers of tensor types. Those that the registry of formats lacks are known by name, for the message.
struct TypeName {
  uint32_t number;
  std::string_view name;
};
constexpr TypeName kTensorTypes[] = {
    {0, "F32"},         {1, "F16"},         {2, "Q4_0"},        {3, "Q4_1"},      {4, "Q4_2"},     {5, "Q4_3"},
    {6, "Q5_0"},        {7, "Q5_1"},        {8, "Q8_0"},        {9, "Q8_1"},      {10, "Q2_K"},    {11, "Q3_K"},
    {12, "Q4_K"},       {13, "Q5_K"},       {14, "Q6_K"},       {15, "Q8_K"},     {16, "IQ2_XXS"}, {17, "IQ2_XS"},
    {18, "IQ3_XXS"},    {19, "IQ1_S"},      {20, "IQ4_NL"},     {21, "IQ3_S"},    {22, "IQ2_S"},   {23, "IQ4_XS"},
    {24, "I8"},         {25, "I16"},        {26, "I32"},        {27, "I64"},      {28, "F64"},     {29, "IQ1_M"},
    {30, "BF16"},       {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},   {33, "Q4_0_8_8"}, {34, "TQ1_0"},   {35, "TQ2_0"},
    {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"}, {39, "MXFP4"},    {40, "NVFP4"},   {41, "Q1_0"},
    {42, "Q2_0"}};

std::string ServedTypes() {
  std::string names;
  for (const TypeName& type : kTensorTypes) {
    names += kernels::FindFormat(type.name) == nullptr ? "" : (names.empty() ? "" : ", ") + std::string(type.name);
  }
  return names;
}

Error Bad(std::string what) { return MakeError(ErrorCode::kInvalidArgument, std::move(what)); }
Error Cut(std::string_view where) {
  return Bad(fmt::format("the file ends inside {}: it was cut, or is no GGUF file", where));
}

// Reads onwards through the header; every read is checked against the end.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t rest() const { return bytes_.size() - at_; }
  size_t at() const { return at_; }

  template <typename T>
  bool Read(T& value) {
    if (rest() < sizeof(T)) {
      return false;
    }
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return true;
  }
  bool ReadBytes(uint64_t count, std::span<const std::byte>& view) {
    if (rest() < count) {
      return false;
    }
    view = bytes_.subspan(at_, count);
    at_ += count;
    return true;
  }
  bool ReadString(std::string_view& text) {
    uint64_t length = 0;
    std::span<const std::byte> view;
    if (!Read(length) || !ReadBytes(length, view)) {
      return false;
    }
    text = AsText(view);
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  size_t at_ = 0;
};

struct Header {
  uint32_t version = 0;
  uint64_t tensors = 0;
  uint64_t keys = 0;
};

Result<Header> ReadHeader(Cursor& cursor) {
  char magic[4] = {};
  Header header;
  if (!cursor.Read(magic)) {
    return Cut("its first four bytes");
  }
  const std::string_view name(magic, sizeof(magic));
  if (name == "lmgg" || name == "fmgg" || name == "tjgg" || name == "algg") {
    return MakeError(ErrorCode::kUnsupported, "this is a file of ggml's formats before GGUF; convert the model anew");
  }
  if (name != "GGUF") {
    return Bad("no GGUF file: it does not begin with 'GGUF'");
  }
  if (!cursor.Read(header.version)) {
    return Cut("its header");
  }
  if (header.version != 0 && (header.version & 0xffff) == 0) {
    return MakeError(
        ErrorCode::kUnsupported,
        "this is a big-endian GGUF file; only little-endian ones are served (the byte order of x86 and ARM)");
  }
  if (header.version < 2 || header.version > 3) {
    return MakeError(ErrorCode::kUnsupported,
                     fmt::format("GGUF version {} is not served; known: 2, 3{}", header.version,
                                 header.version == 1 ? " (version 1 is of August 2023; convert the model anew)" : ""));
  }
  if (!cursor.Read(header.tensors) || !cursor.Read(header.keys)) {
    return Cut("its header");
  }
  if (header.keys > kMaxKeys || header.tensors > kMaxTensors) {
    return Bad(fmt::format("{} tensors and {} metadata keys; at most {} and {}", header.tensors, header.keys,
                           kMaxTensors, kMaxKeys));
  }
  return header;
}

// The elements of a list, or one value. Lists in lists are walked over, not kept: no key of ours has them.
Result<void> ReadElements(Cursor& cursor, std::string_view key, int depth, Value& value) {
  const auto cut = [&] { return Cut(fmt::format("metadata {}", key)); };
  if (value.type == ValueType::kString) {
    if (value.count > cursor.rest() / sizeof(uint64_t)) {
      return cut();
    }
    value.strings.resize(value.count);
    for (std::string_view& text : value.strings) {
      if (!cursor.ReadString(text)) {
        return cut();
      }
    }
    return {};
  }
  if (value.type == ValueType::kArray) {
    for (uint64_t i = 0; i < value.count; ++i) {
      Value inner;
      if (depth + 1 > kMaxDepth) {
        return Bad(fmt::format("metadata {}: lists nested deeper than {}", key, kMaxDepth));
      }
      if (!cursor.Read(inner.type) || !cursor.Read(inner.count)) {
        return cut();
      }
      TRY(ReadElements(cursor, key, depth + 1, inner));
    }
    return {};
  }
  const auto bytes = static_cast<uint64_t>(BytesOf(value.type));
  if (bytes == 0) {
    return Bad(fmt::format("metadata {}: unknown type {}", key, static_cast<uint32_t>(value.type)));
  }
  if (value.count > cursor.rest() / bytes || !cursor.ReadBytes(value.count * bytes, value.numbers)) {
    return cut();
  }
  return {};
}

Result<void> ReadMetadata(Cursor& cursor, uint64_t keys, Metadata& metadata) {
  for (uint64_t i = 0; i < keys; ++i) {
    std::string_view key;
    Value value;
    if (!cursor.ReadString(key) || !cursor.Read(value.type)) {
      return Cut(fmt::format("metadata key {} of {}", i + 1, keys));
    }
    if (key.empty() || key.size() > kMaxKeyBytes) {
      return Bad(fmt::format("metadata key {} has a name of {} bytes; 1 to {}", i + 1, key.size(), kMaxKeyBytes));
    }
    if (value.type == ValueType::kArray) {
      value.is_array = true;
      if (!cursor.Read(value.type) || !cursor.Read(value.count)) {
        return Cut(fmt::format("metadata {}", key));
      }
    }
    TRY(ReadElements(cursor, key, 1, value));
    if (!metadata.Add(key, std::move(value))) {
      return Bad(fmt::format("metadata {} is there twice", key));
    }
  }
  return {};
}

// A tensor's place in the data, to be checked when the header's end is known.
struct Placed {
  std::string name;
  uint64_t offset;
  uint64_t bytes;
};

Result<Placed> ReadTensorInfo(Cursor& cursor, uint64_t index, Tensor& tensor) {
  const auto cut = [&] { return Cut(fmt::format("the description of tensor {}", index + 1)); };
  Placed placed;
  std::string_view name;
  uint32_t dimensions = 0;
  if (!cursor.ReadString(name) || !cursor.Read(dimensions)) {
    return cut();
  }
  if (name.empty() || name.size() > kMaxNameBytes) {
    return Bad(fmt::format("tensor {} has a name of {} bytes; 1 to {}", index + 1, name.size(), kMaxNameBytes));
  }
  placed.name = std::string(name);
  if (dimensions > kMaxDimensions) {
    return Bad(fmt::format("tensor {} has {} dimensions; at most {}", placed.name, dimensions, kMaxDimensions));
  }
  int64_t elements = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    int64_t size = 0;
    if (!cursor.Read(size)) {
      return cut();
    }
    if (size < 0 || __builtin_mul_overflow(elements, size, &elements)) {
      return Bad(fmt::format("tensor {}: its sizes overflow", placed.name));
    }
    tensor.shape.insert(tensor.shape.begin(), size);
  }
  uint32_t number = 0;
  if (!cursor.Read(number) || !cursor.Read(placed.offset)) {
    return cut();
  }
  const auto type = std::find_if(std::begin(kTensorTypes), std::end(kTensorTypes),
                                 [&](const TypeName& row) { return row.number == number; });
  const kernels::WeightFormat* const format =
      type == std::end(kTensorTypes) ? nullptr : kernels::FindFormat(type->name);
  if (format == nullptr) {
    return MakeError(
        ErrorCode::kUnsupported,
        fmt::format("tensor {}: type {} is not served; known: {}", placed.name,
                    type == std::end(kTensorTypes) ? fmt::format("number {}", number) : std::string(type->name),
                    ServedTypes()));
  }
  tensor.dtype = std::string(format->dtype);
  const int64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (row % format->block_elements != 0) {
    return Bad(fmt::format("tensor {}: rows of {} values are no whole blocks of {} ({} values each)", placed.name, row,
                           format->dtype, format->block_elements));
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(elements / format->block_elements, int64_t{format->block_bytes}, &bytes)) {
    return Bad(fmt::format("tensor {}: its sizes overflow", placed.name));
  }
  placed.bytes = static_cast<uint64_t>(bytes);
  return placed;
}

Result<void> CheckNoOverlap(std::vector<Placed>& places) {
  std::sort(places.begin(), places.end(), [](const Placed& a, const Placed& b) { return a.offset < b.offset; });
  const Placed* previous = nullptr;
  for (const Placed& placed : places) {
    if (placed.bytes == 0) {
      continue;
    }
    if (previous != nullptr && previous->offset + previous->bytes > placed.offset) {
      return Bad(fmt::format("tensors {} and {} overlap", previous->name, placed.name));
    }
    previous = &placed;
  }
  return {};
}

// ---- Several files -----------------------------------------------------------------------------------

constexpr std::string_view kEnding = ".gguf";
constexpr size_t kSetBytes = std::string_view("-00001-of-00003.gguf").size();

std::string NameInSet(std::string_view first, uint64_t index, uint64_t count) {
  return fmt::format("{}-{:05}-of-{:05}{}", first.substr(0, first.size() - kSetBytes), index + 1, count, kEnding);
}

bool IsOfSet(std::string_view name) {
  if (name.size() <= kSetBytes || !name.ends_with(kEnding)) {
    return false;
  }
  const std::string_view tail = name.substr(name.size() - kSetBytes);
  const auto digits = [&](size_t at) {
    return std::all_of(tail.begin() + static_cast<ptrdiff_t>(at), tail.begin() + static_cast<ptrdiff_t>(at + 5),
                       [](char c) { return c >= '0' && c <= '9'; });
  };
  return tail[0] == '-' && digits(1) && tail.substr(6, 4) == "-of-" && digits(10);
}

Result<File> ParseNamed(ModelFiles& files, const std::string& name) {
  ASSIGN_OR_RETURN(const auto bytes, files.Open(name));
  auto file = Parse(bytes);
  if (!file.ok()) {
    return file.error().WithContext(name);
  }
  return file;
}

}  // namespace

Result<File> Parse(std::span<const std::byte> bytes) {
  Cursor cursor(bytes);
  ASSIGN_OR_RETURN(const Header header, ReadHeader(cursor));
  File file;
  file.version = header.version;
  TRY(ReadMetadata(cursor, header.keys, file.metadata));
  ASSIGN_OR_RETURN(const int64_t alignment,
                   file.metadata.Int("general.alignment", 1, kMaxAlignment, kDefaultAlignment));
  if (!std::has_single_bit(static_cast<uint64_t>(alignment))) {
    return Bad(fmt::format("general.alignment {} is no power of two", alignment));
  }
  std::vector<Placed> places;
  for (uint64_t i = 0; i < header.tensors; ++i) {
    Tensor tensor;
    ASSIGN_OR_RETURN(Placed placed, ReadTensorInfo(cursor, i, tensor));
    if (placed.offset % static_cast<uint64_t>(alignment) != 0) {
      return Bad(fmt::format("tensor {}: offset {} is no multiple of the alignment {}", placed.name, placed.offset,
                             alignment));
    }
    if (!file.tensors.emplace(placed.name, std::move(tensor)).second) {
      return Bad(fmt::format("tensor {} is there twice", placed.name));
    }
    places.push_back(std::move(placed));
  }
  const auto step = static_cast<uint64_t>(alignment);
  const uint64_t start = std::min<uint64_t>((cursor.at() + step - 1) / step * step, bytes.size());
  const auto data = bytes.subspan(start);
  for (const Placed& placed : places) {
    if (placed.offset > data.size() || placed.bytes > data.size() - placed.offset) {
      return Cut(
          fmt::format("tensor {} ({} bytes at {} of {})", placed.name, placed.bytes, placed.offset, data.size()));
    }
    file.tensors.find(placed.name)->second.data = data.subspan(placed.offset, placed.bytes);
  }
  TRY(CheckNoOverlap(places));
  return file;
}

bool IsGgufName(std::string_view name) { return name.size() > kEnding.size() && name.ends_with(kEnding); }

std::string FirstOfSet(std::string_view name) {
  if (!IsOfSet(name)) {
    return std::string(name);
  }
  return std::string(name.substr(0, name.size() - kSetBytes)) + "-00001" +
         std::string(name.substr(name.size() - kSetBytes + 6));
}

Result<File> Load(ModelFiles& files, std::string_view name) {
  const std::string first = FirstOfSet(name);
  ASSIGN_OR_RETURN(const auto first_bytes, files.Open(first));
  ASSIGN_OR_RETURN(File file, Parse(first_bytes));
  ASSIGN_OR_RETURN(const int64_t count, file.metadata.Int("split.count", 0, kMaxShards, 1));
  if (count <= 1) {
    return file;
  }
  if (!IsOfSet(first)) {
    return Bad(fmt::format("{} is one of {} files, but is not named NAME-00001-of-{:05}.gguf", first, count, count));
  }
  for (int64_t i = 0; i < count; ++i) {
    const std::string shard = NameInSet(first, static_cast<uint64_t>(i), static_cast<uint64_t>(count));
    File more;
    if (i > 0) {
      ASSIGN_OR_RETURN(more, ParseNamed(files, shard));
    }
    const Metadata& metadata = i > 0 ? more.metadata : file.metadata;
    ASSIGN_OR_RETURN(const int64_t number, metadata.Int("split.no", 0, kMaxShards));
    ASSIGN_OR_RETURN(const int64_t own_count, metadata.Int("split.count", 0, kMaxShards));
    if (number != i || own_count != count) {
      return Bad(
          fmt::format("{}: it says to be file {} of {}, not {} of {}", shard, number + 1, own_count, i + 1, count));
    }
    for (auto& [tensor, value] : more.tensors) {
      if (!file.tensors.emplace(tensor, std::move(value)).second) {
        return Bad(fmt::format("{}: tensor {} is in two files", shard, tensor));
      }
    }
  }
  const auto found = static_cast<int64_t>(file.tensors.size());
  ASSIGN_OR_RETURN(const int64_t wanted, file.metadata.Int("split.tensors.count", 0, kMaxTensors, found));
  if (found != wanted) {
    return Bad(fmt::format("the {} files of {} hold {} tensors, not {}", count, first, found, wanted));
  }
  return file;
}

std::optional<uint32_t> NumberOfType(std::string_view name) {
  for (const TypeName& type : kTensorTypes) {
    if (type.name == name) {
      return type.number;
    }
  }
  return std::nullopt;
}

}  // namespace causeway::model::gguf
