// Text to typed setting and back, as the row's type says.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "server/config/options.h"

namespace causeway::server {

// "16MiB", "4G", "1.5GB", "1048576": K, M, G, T and KiB... are powers of 1024, KB... powers of
// 1000.
Result<int64_t> ParseBytes(std::string_view text);
// The largest binary unit that divides the value: "16MiB", "1000B" as "1000".
std::string FormatBytes(int64_t bytes);

// "500ms", "30s", "2m", "1h", "1d"; a plain number is seconds.
Result<Duration> ParseDuration(std::string_view text);
std::string FormatDuration(Duration duration);

// Sets one member of `options`. `texts` holds one text, or several for a list. The error
// (kInvalidArgument) says what the row accepts, without naming the source.
Result<void> SetOption(const OptionRow& row, std::span<const std::string> texts, Options& options);

// The value as SetOption reads it, one text for each element of a list; nothing for an unset one.
std::vector<std::string> OptionTexts(const OptionRow& row, const Options& options);

// What stands after the flag in help: "N", "SIZE", "auto|none"; empty for on/off flags.
std::string ValuePlaceholder(const OptionRow& row);

}  // namespace causeway::server
