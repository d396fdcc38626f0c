#include "model/quant/reader.h"

#include <utility>

#include "fmt/format.h"
#include "kernels/quant/format.h"

namespace causeway::model::quant {
namespace {

struct Dialect {
  std::string_view method;  // quant_method
  Result<void> (*read)(const Config& settings, TensorSource& source);
};

constexpr Dialect kDialects[] = {
    {"gptq", ReadGptq},
    {"awq", ReadAwq},
    {"compressed-tensors", ReadCompressedTensors},
    {"bitsandbytes", ReadBitsAndBytes},
    {"spqr", ReadSpqr},
    {"fp8", ReadFp8},
    {"fbgemm_fp8", ReadFp8},
    {"modelopt", ReadModelOpt},
};

// Where packers, or their first versions, wrote their settings, which do not name the method.
constexpr std::pair<const char*, const char*> kOlderFiles[] = {
    {"quantize_config.json", "gptq"}, {"quant_config.json", "awq"}, {"hf_quant_config.json", "modelopt"}};

// AutoRound writes the layouts of others. Its packing_format tells whose, and of GPTQ's two which.
struct AutoRoundPacking {
  std::string_view name;
  const char* method;
  const char* checkpoint_format;
};
constexpr AutoRoundPacking kAutoRoundPackings[] = {
    {"auto_round:auto_gptq", "gptq", "gptq"},    {"auto_round:gptq", "gptq", "gptq"},
    {"auto_round:gptqmodel", "gptq", "gptq_v2"}, {"auto_round", "gptq", "gptq_v2"},
    {"auto_round:auto_awq", "awq", "gemm"},      {"auto_round:awq", "awq", "gemm"},
};

Result<Json> TranslateAutoRound(Json settings) {
  ASSIGN_OR_RETURN(const std::string name, Config(settings).Text("packing_format"));
  std::string known;
  for (const AutoRoundPacking& packing : kAutoRoundPackings) {
    if (packing.name == name) {
      settings["quant_method"] = packing.method;
      settings["checkpoint_format"] = packing.checkpoint_format;
      settings["dynamic"] = settings.value("extra_config", Json());  // bits and groups by module
      return settings;
    }
    known += (known.empty() ? "" : ", ") + std::string(packing.name);
  }
  return MakeError(ErrorCode::kUnsupported, fmt::format("packing_format '{}' is not served; known: {}", name, known));
}

// Settings with their quant_method as the registry has it. bitsandbytes is told by its flags, as transformers does:
// its first files did not name a method. GPTQModel says `method` too.
Result<Json> NameMethod(Json settings) {
  const auto is_set = [&](const char* flag) {
    const auto it = settings.find(flag);
    return it != settings.end() && it->is_boolean() && it->get<bool>();
  };
  if (is_set("load_in_4bit") || is_set("load_in_8bit")) {
    settings["quant_method"] = "bitsandbytes";
  } else if (!settings.contains("quant_method") && settings.contains("method")) {
    settings["quant_method"] = settings["method"];
  }
  const auto method = settings.find("quant_method");
  const bool auto_round = method != settings.end() && (*method == "auto-round" || *method == "intel/auto-round");
  return auto_round ? TranslateAutoRound(std::move(settings)) : Result<Json>(std::move(settings));
}

Result<const Dialect*> FindDialect(const Config& settings) {
  ASSIGN_OR_RETURN(const std::string method, settings.Text("quant_method"));
  for (const Dialect& dialect : kDialects) {
    if (dialect.method == method) {
      return &dialect;
    }
  }
  return MakeError(ErrorCode::kUnsupported,
                   fmt::format("quant_method '{}' is not served; known: {}", method, KnownMethods()));
}

// A weight that its reader passed over for want of a scale must not be reported as one of an unknown type.
Result<void> CheckLeftovers(const TensorMap& tensors) {
  for (const auto& [name, tensor] : tensors) {
    if (name.ends_with(".weight") && kernels::FindFormat(tensor.dtype) == nullptr) {
      return Wrong(name, fmt::format("{} codes without the scales that belong to them", tensor.dtype));
    }
  }
  return {};
}

}  // namespace

Result<void> CheckNotQuantized(const TensorMap& tensors) {
  constexpr std::string_view kEndings[] = {".qweight",          ".weight_packed", ".compressed",    ".dense_weights",
                                           ".weight_scale_inv", ".SCB",           ".weight.absmax", ".weight_scale"};
  for (const auto& [name, tensor] : tensors) {
    for (const std::string_view ending : kEndings) {
      if (name.ends_with(ending)) {
        return Wrong(name, "it belongs to a quantized weight, and config.json has no quantization_config");
      }
    }
  }
  return {};
}

std::string KnownMethods() {
  std::string known;
  for (const Dialect& dialect : kDialects) {
    known += (known.empty() ? "" : ", ") + std::string(dialect.method);
  }
  return known;
}

Result<Json> ReadModelConfig(ModelFiles& files) {
  ASSIGN_OR_RETURN(Json config, ReadJsonObject(files, "config.json"));
  if (FindQuantization(config) != nullptr) {
    return config;
  }
  for (const auto& [file, method] : kOlderFiles) {
    if (files.Has(file)) {
      ASSIGN_OR_RETURN(Json settings, ReadJsonObject(files, file));
      settings.emplace("quant_method", method);
      config["quantization_config"] = std::move(settings);
      break;
    }
  }
  return config;
}

const Json* FindQuantization(const Json& config) {
  if (!config.is_object()) {
    return nullptr;
  }
  for (const char* name : {"quantization_config", "compression_config"}) {
    if (const auto it = config.find(name); it != config.end() && !it->is_null()) {
      return &*it;
    }
  }
  const auto text = config.find("text_config");
  return text == config.end() ? nullptr : FindQuantization(*text);
}

Result<void> Translate(const Json& quantization, Checkpoint& checkpoint, const Progress& progress, RowsWritten when) {
  const auto read = [&]() -> Result<void> {
    if (!quantization.is_object()) {
      return MakeError(ErrorCode::kInvalidArgument, "it is no object");
    }
    ASSIGN_OR_RETURN(Json named, NameMethod(quantization));
    const Config settings(std::move(named));
    ASSIGN_OR_RETURN(const Dialect* const dialect, FindDialect(settings));
    TensorSource source(checkpoint, progress, when);
    TRY(dialect->read(settings, source));
    return CheckLeftovers(checkpoint.tensors);
  };
  auto done = read();
  return done.ok() ? std::move(done) : Result<void>(done.error().WithContext("quantization_config"));
}

}  // namespace causeway::model::quant
