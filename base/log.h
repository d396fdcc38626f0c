// The one log sink. LOG_INFO("mapped {} pages", n) and friends format with fmt and never throw.
// Set up once by main; before that, messages go to stderr at level info. Any thread may log.
#pragma once

#include <string>
#include <string_view>

#include <spdlog/spdlog.h>

#include "base/result.h"

namespace causeway {

enum class LogFormat { kText, kJson };

struct LogOptions {
  std::string level = "info";  // trace, debug, info, warning, error
  LogFormat format = LogFormat::kText;
};

// Replaces the sink; called once, before other threads log. Fails on an unknown level.
Result<void> SetUpLog(const LogOptions& options);

// From now on; any thread. Fails on an unknown level.
Result<void> SetLogLevel(std::string_view level);

}  // namespace causeway

#define LOG_DEBUG(...) ::spdlog::debug(__VA_ARGS__)
#define LOG_INFO(...) ::spdlog::info(__VA_ARGS__)
#define LOG_WARNING(...) ::spdlog::warn(__VA_ARGS__)
#define LOG_ERROR(...) ::spdlog::error(__VA_ARGS__)
