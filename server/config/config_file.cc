#include "server/config/config_file.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace causeway::server {
namespace {

constexpr size_t kMaxLines = 10000;
constexpr std::string_view kBlank = " \t\r";

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

Error Malformed(std::string message) { return MakeError(ErrorCode::kInvalidArgument, std::move(message)); }

// Reads one quoted or bare value off the front of `rest`.
Result<std::string> TakeValue(std::string_view& rest) {
  const char quote = rest.empty() ? '\0' : rest.front();
  if (quote == '"' || quote == '\'') {
    const size_t end = rest.find(quote, 1);
    if (end == std::string_view::npos) {
      return Malformed("a quote is not closed");
    }
    std::string value(rest.substr(1, end - 1));
    if (quote == '"' && value.find('\\') != std::string::npos) {
      return Malformed("escapes are not read; write text with a backslash in single quotes");
    }
    rest.remove_prefix(end + 1);
    return value;
  }
  const size_t end = std::min(rest.find_first_of(" \t\r,#]\"'"), rest.size());
  if (end == 0) {
    return Malformed("a value is missing");
  }
  std::string value(rest.substr(0, end));
  rest.remove_prefix(end);
  return value;
}

Result<std::vector<std::string>> TakeList(std::string_view& rest) {
  std::vector<std::string> values;
  rest = Trim(rest.substr(1));
  while (!rest.empty() && rest.front() != ']') {
    ASSIGN_OR_RETURN(std::string value, TakeValue(rest));
    values.push_back(std::move(value));
    rest = Trim(rest);
    if (!rest.empty() && rest.front() == ',') {
      rest = Trim(rest.substr(1));
    } else if (!rest.empty() && rest.front() != ']') {
      return Malformed("a comma is missing in the list");
    }
  }
  if (rest.empty()) {
    return Malformed("a list must be closed by ] on its line");
  }
  rest.remove_prefix(1);
  return values;
}

// `line` is trimmed and neither empty nor a comment.
Result<FileSetting> ParseLine(std::string_view line) {
  if (line.front() == '[') {
    return Malformed("sections are not used; all settings stand at the top level");
  }
  const size_t equals = line.find('=');
  if (equals == std::string_view::npos) {
    return Malformed("must read `name = value`");
  }
  FileSetting setting;
  setting.name = std::string(Trim(line.substr(0, equals)));
  std::replace(setting.name.begin(), setting.name.end(), '_', '-');
  std::string_view rest = Trim(line.substr(equals + 1));
  if (!rest.empty() && rest.front() == '[') {
    ASSIGN_OR_RETURN(setting.texts, TakeList(rest));
  } else {
    ASSIGN_OR_RETURN(std::string value, TakeValue(rest));
    setting.texts.push_back(std::move(value));
  }
  rest = Trim(rest);
  if (!rest.empty() && rest.front() != '#') {
    return Malformed(fmt::format("`{}` after the value; text with spaces needs quotes", rest));
  }
  return setting;
}

bool IsBare(std::string_view text) {
  return !text.empty() && text.front() != '[' &&
         text.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.+-") ==
             std::string_view::npos;
}

}  // namespace

ConfigFile ParseConfigFile(std::string_view text) {
  ConfigFile file;
  size_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = Trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (++number > kMaxLines) {
      file.errors.push_back(fmt::format("has more than {} lines", kMaxLines));
      break;
    }
    if (line.empty() || line.front() == '#' || line.front() == ';') {
      continue;
    }
    Result<FileSetting> setting = ParseLine(line);
    if (!setting.ok()) {
      file.errors.push_back(fmt::format("line {}: {}", number, setting.error().message));
      continue;
    }
    setting->line = static_cast<int>(number);
    file.settings.push_back(std::move(setting).value());
  }
  return file;
}

Result<std::string> ReadTextFile(const std::string& path, int64_t max_bytes) {
  std::error_code status;
  if (!std::filesystem::is_regular_file(path, status)) {
    return MakeError(ErrorCode::kNotFound, fmt::format("{}: no such file", path));
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text(static_cast<size_t>(max_bytes) + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(stream.gcount()));
  if (stream.bad() || !stream.eof()) {
    return MakeError(ErrorCode::kFailedPrecondition, static_cast<int64_t>(text.size()) > max_bytes
                                                         ? fmt::format("{}: larger than {} bytes", path, max_bytes)
                                                         : fmt::format("{}: cannot be read", path));
  }
  return text;
}

Result<std::string> FormatSetting(std::string_view name, const std::vector<std::string>& texts, bool list) {
  std::vector<std::string> written;
  for (const std::string& text : texts) {
    const bool plain = text.find_first_of("\"\\") == std::string::npos;
    if (!plain && text.find('\'') != std::string::npos) {
      return Malformed(
          fmt::format("{}: a value with both kinds of quotes, or with a quote and a backslash, "
                      "cannot stand in a file",
                      name));
    }
    const std::string_view quote = !list && IsBare(text) ? "" : plain ? "\"" : "'";
    written.push_back(fmt::format("{}{}{}", quote, text, quote));
  }
  const std::string joined = fmt::format("{}", fmt::join(written, ", "));
  return list ? fmt::format("{} = [{}]", name, joined) : fmt::format("{} = {}", name, joined);
}

}  // namespace causeway::server
