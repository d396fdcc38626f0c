#include "model/builtin/builtin.h"

#include "model/files.h"

#define CAUSEWAY_BUILTIN(name)                        \
  extern "C" const std::byte causeway_builtin_##name; \
  extern "C" const std::byte causeway_builtin_##name##_end;

CAUSEWAY_BUILTIN(weights)
CAUSEWAY_BUILTIN(config)
CAUSEWAY_BUILTIN(generation_config)
CAUSEWAY_BUILTIN(tokenizer)
CAUSEWAY_BUILTIN(tokenizer_config)
CAUSEWAY_BUILTIN(valid)
CAUSEWAY_BUILTIN(retrieval)

#undef CAUSEWAY_BUILTIN

namespace causeway::model {
namespace {

struct Row {
  std::string_view name;
  const std::byte* begin;
  const std::byte* end;
};

#define CAUSEWAY_ROW(file, name) \
  { file, &causeway_builtin_##name, &causeway_builtin_##name##_end }
const Row kFiles[] = {
    CAUSEWAY_ROW("model.safetensors", weights),
    CAUSEWAY_ROW("config.json", config),
    CAUSEWAY_ROW("generation_config.json", generation_config),
    CAUSEWAY_ROW("tokenizer.json", tokenizer),
    CAUSEWAY_ROW("tokenizer_config.json", tokenizer_config),
    CAUSEWAY_ROW("eval/valid.txt", valid),
    CAUSEWAY_ROW("eval/retrieval.jsonl", retrieval),
};
#undef CAUSEWAY_ROW

class BuiltinModelFiles final : public ModelFiles {
 public:
  Result<std::span<const std::byte>> Open(std::string_view name) override {
    const auto bytes = BuiltinFile(name);
    if (bytes.empty()) {
      return MakeError(ErrorCode::kNotFound, "the built-in model has no file " + std::string(name));
    }
    return bytes;
  }
  bool Has(std::string_view name) const override { return !BuiltinFile(name).empty(); }
  std::vector<NamedBytes> Opened() const override {
    std::vector<NamedBytes> all;
    for (const Row& row : kFiles) {
      all.push_back({std::string(row.name), BuiltinFile(row.name)});
    }
    return all;
  }
  std::string path() const override { return {}; }
};

}  // namespace

std::span<const std::byte> BuiltinFile(std::string_view name) {
  for (const Row& row : kFiles) {
    if (row.name == name) {
      return {row.begin, static_cast<size_t>(row.end - row.begin)};
    }
  }
  return {};
}

std::unique_ptr<ModelFiles> BuiltinFiles() { return std::make_unique<BuiltinModelFiles>(); }

}  // namespace causeway::model
