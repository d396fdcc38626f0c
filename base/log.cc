#include "base/log.h"

#include <algorithm>
#include <array>
#include <memory>

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

namespace causeway {
namespace {

// %J: the message as the inside of a JSON string.
class JsonMessageFlag final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& msg, const std::tm&, spdlog::memory_buf_t& dest) override {
    for (const char c : msg.payload) {
      Append(c, dest);
    }
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JsonMessageFlag>(); }

 private:
  static void Append(char c, spdlog::memory_buf_t& dest) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      dest.push_back('\\');
      dest.push_back(c);
    } else if (byte < 0x20) {
      const std::string escaped = fmt::format("\\u{:04x}", byte);
      dest.append(escaped.data(), escaped.data() + escaped.size());
    } else {
      dest.push_back(c);
    }
  }
};

constexpr std::string_view kTextPattern = "%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v";
constexpr std::string_view kJsonPattern = R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","message":"%J"})";

Result<spdlog::level::level_enum> ParseLevel(std::string_view name) {
  constexpr std::array<std::string_view, 5> kLevels = {"trace", "debug", "info", "warning", "error"};
  if (std::find(kLevels.begin(), kLevels.end(), name) == kLevels.end()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("unknown log level '{}'; known: trace, debug, info, warning, error", name),
                     "log-level");
  }
  return spdlog::level::from_str(std::string(name));
}

}  // namespace

Result<void> SetUpLog(const LogOptions& options) {
  ASSIGN_OR_RETURN(const spdlog::level::level_enum level, ParseLevel(options.level));
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<JsonMessageFlag>('J').set_pattern(
      std::string(options.format == LogFormat::kJson ? kJsonPattern : kTextPattern));
  auto logger = std::make_shared<spdlog::logger>("causeway", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_formatter(std::move(formatter));
  logger->set_level(level);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
  return {};
}

Result<void> SetLogLevel(std::string_view level) {
  ASSIGN_OR_RETURN(const spdlog::level::level_enum parsed, ParseLevel(level));
  spdlog::set_level(parsed);
  return {};
}

}  // namespace causeway
