// config.json of every family on arbitrary JSON: the builders read it, find no tensors, and must say so
// with an error, whatever the numbers are.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "model/arch/registry.h"
#include "model/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace causeway::model;  // NOLINT: one function
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto json = causeway::ParseJson(text);
  if (!json.ok() || !json->is_object()) {
    return 0;
  }
  const auto type = Config(*json).Text("model_type");
  for (const Architecture& architecture : Architectures()) {
    if (type.ok() && FindArchitecture(*type).ok() && *type != architecture.model_type) {
      continue;  // a file of a known family is read as that one
    }
    const Config config(WithDefaults(*json, architecture.defaults));
    const causeway::model::Checkpoint none;
    WeightSource weights(none);
    Network network;
    const auto built = architecture.build(config, weights, network);
    CHECK_MSG(!built.ok() || !weights.Finish().ok(), "{} was built of nothing", architecture.model_type);
  }
  (void)ReadTokenIds(*json, "eos_token_id");
  return 0;
}
