#include "server/config/value.h"

#include <array>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

namespace causeway::server {
namespace {

struct Unit {
  std::string_view suffix;
  double scale;
};

constexpr double kKi = 1024;
// Sorted so that formatting finds the largest binary unit first.
constexpr Unit kByteUnits[] = {
    {"TiB", kKi* kKi* kKi* kKi},
    {"GiB", kKi* kKi* kKi},
    {"MiB", kKi* kKi},
    {"KiB", kKi},
    {"T", kKi* kKi* kKi* kKi},
    {"G", kKi* kKi* kKi},
    {"M", kKi* kKi},
    {"K", kKi},
    {"TB", 1e12},
    {"GB", 1e9},
    {"MB", 1e6},
    {"KB", 1e3},
    {"B", 1},
    {"", 1},
};
constexpr Unit kTimeUnits[] = {{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}, {"ms", 1e-3}, {"", 1}};

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool SameWord(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) {
    return false;
  }
  for (size_t i = 0; i < a.size(); ++i) {
    if (Lower(a[i]) != Lower(b[i])) {
      return false;
    }
  }
  return true;
}

// A finite number that is the whole text.
bool ParseNumber(std::string_view text, double& value) {
  const char* end = text.data() + text.size();
  const auto [rest, status] = std::from_chars(text.data(), end, value);
  return status == std::errc() && rest == end && std::isfinite(value);
}

// "1.5GiB" to 1.5 * 2^30.
bool ParseWithUnit(std::string_view text, std::span<const Unit> units, double& value) {
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  std::string_view suffix = text.substr(digits);
  while (!suffix.empty() && suffix.front() == ' ') {
    suffix.remove_prefix(1);
  }
  if (!ParseNumber(text.substr(0, digits), value)) {
    return false;
  }
  for (const Unit& unit : units) {
    if (SameWord(unit.suffix, suffix)) {
      value *= unit.scale;
      return true;
    }
  }
  return false;
}

Error Invalid(std::string message) { return MakeError(ErrorCode::kInvalidArgument, std::move(message)); }

std::string Shown(double bound, const OptionRow& row) {
  if (row.bytes) {
    return FormatBytes(static_cast<int64_t>(bound));
  }
  if (std::holds_alternative<Duration Options::*>(row.member)) {
    return FormatDuration(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(bound)));
  }
  return fmt::format("{}", bound);
}

Result<void> CheckBounds(const OptionRow& row, double value) {
  if (value < row.min || value > row.max || (row.above_min && value == row.min)) {
    return Invalid(fmt::format("must be {} {} and at most {}", row.above_min ? "above" : "at least",
                               Shown(row.min, row), Shown(row.max, row)));
  }
  return {};
}

Result<bool> ParseBool(std::string_view text) {
  for (std::string_view yes : {"true", "on", "yes", "1"}) {
    if (SameWord(text, yes)) {
      return true;
    }
  }
  for (std::string_view no : {"false", "off", "no", "0"}) {
    if (SameWord(text, no)) {
      return false;
    }
  }
  return Invalid("must be true or false");
}

Result<int64_t> ParseInteger(const OptionRow& row, std::string_view text) {
  int64_t value = 0;
  if (row.bytes) {
    ASSIGN_OR_RETURN(value, ParseBytes(text));
  } else {
    const char* end = text.data() + text.size();
    const auto [rest, status] = std::from_chars(text.data(), end, value);
    if (status != std::errc() || rest != end) {
      return Invalid("must be a whole number");
    }
  }
  TRY(CheckBounds(row, static_cast<double>(value)));
  return value;
}

Result<std::string> CheckText(const OptionRow& row, std::string_view text) {
  if (text.size() > 4096) {
    return Invalid("must have at most 4096 bytes");
  }
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      return Invalid("must not hold control characters");
    }
  }
  if (row.choices.empty()) {
    return std::string(text);
  }
  for (std::string_view rest = row.choices; !rest.empty();) {
    const size_t bar = std::min(rest.find('|'), rest.size());
    if (rest.substr(0, bar) == text) {
      return std::string(text);
    }
    rest.remove_prefix(std::min(bar + 1, rest.size()));
  }
  return Invalid(fmt::format("must be one of {}", row.choices));
}

// One overload per alternative of OptionMember.
struct Setter {
  const OptionRow& row;
  std::string_view text;
  Options& options;

  Result<void> operator()(bool Options::*member) const {
    ASSIGN_OR_RETURN(options.*member, ParseBool(text));
    return {};
  }
  Result<void> operator()(int64_t Options::*member) const {
    ASSIGN_OR_RETURN(options.*member, ParseInteger(row, text));
    return {};
  }
  Result<void> operator()(std::optional<int64_t> Options::*member) const {
    ASSIGN_OR_RETURN(options.*member, ParseInteger(row, text));
    return {};
  }
  Result<void> operator()(std::optional<double> Options::*member) const {
    double value = 0;
    if (!ParseNumber(text, value)) {
      return Invalid("must be a number");
    }
    TRY(CheckBounds(row, value));
    options.*member = value;
    return {};
  }
  Result<void> operator()(std::string Options::*member) const {
    ASSIGN_OR_RETURN(options.*member, CheckText(row, text));
    return {};
  }
  Result<void> operator()(std::vector<std::string> Options::*member) const {
    ASSIGN_OR_RETURN(std::string value, CheckText(row, text));
    if (value.empty()) {
      return Invalid("must not be empty");
    }
    if ((options.*member).size() >= 256) {
      return Invalid("may be given at most 256 times");
    }
    (options.*member).push_back(std::move(value));
    return {};
  }
  Result<void> operator()(Duration Options::*member) const {
    ASSIGN_OR_RETURN(const Duration value, ParseDuration(text));
    TRY(CheckBounds(row, ToSeconds(value)));
    options.*member = value;
    return {};
  }
};

struct Printer {
  const OptionRow& row;
  const Options& options;
  using Texts = std::vector<std::string>;

  std::string Integer(int64_t value) const { return row.bytes ? FormatBytes(value) : fmt::format("{}", value); }
  Texts operator()(bool Options::*member) const { return {options.*member ? "true" : "false"}; }
  Texts operator()(int64_t Options::*member) const { return {Integer(options.*member)}; }
  Texts operator()(std::optional<int64_t> Options::*member) const {
    return options.*member ? Texts{Integer(*(options.*member))} : Texts{};
  }
  Texts operator()(std::optional<double> Options::*member) const {
    return options.*member ? Texts{fmt::format("{}", *(options.*member))} : Texts{};
  }
  Texts operator()(std::string Options::*member) const {
    return (options.*member).empty() ? Texts{} : Texts{options.*member};
  }
  Texts operator()(std::vector<std::string> Options::*member) const { return options.*member; }
  Texts operator()(Duration Options::*member) const { return {FormatDuration(options.*member)}; }
};

}  // namespace

Result<int64_t> ParseBytes(std::string_view text) {
  double value = 0;
  if (!ParseWithUnit(text, kByteUnits, value) || value > 9e15 || value != std::floor(value)) {
    return Invalid("must be a size such as 512MiB or 4GiB");
  }
  return static_cast<int64_t>(value);
}

std::string FormatBytes(int64_t bytes) {
  for (const Unit& unit : std::span(kByteUnits).first(4)) {
    const auto scale = static_cast<int64_t>(unit.scale);
    if (bytes >= scale && bytes % scale == 0) {
      return fmt::format("{}{}", bytes / scale, unit.suffix);
    }
  }
  return fmt::format("{}", bytes);
}

Result<Duration> ParseDuration(std::string_view text) {
  double seconds = 0;
  if (!ParseWithUnit(text, kTimeUnits, seconds) || seconds > 1e9) {
    return Invalid("must be a time such as 500ms, 30s, 2m or 1h");
  }
  return Duration(std::chrono::milliseconds(std::llround(seconds * 1000)));
}

std::string FormatDuration(Duration duration) {
  const int64_t ms = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  if (ms % 1000 != 0) {
    return fmt::format("{}ms", ms);
  }
  const int64_t seconds = ms / 1000;
  for (const Unit& unit : std::span(kTimeUnits).first(3)) {
    const auto scale = static_cast<int64_t>(unit.scale);
    if (seconds >= scale && seconds % scale == 0) {
      return fmt::format("{}{}", seconds / scale, unit.suffix);
    }
  }
  return fmt::format("{}s", seconds);
}

Result<void> SetOption(const OptionRow& row, std::span<const std::string> texts, Options& options) {
  if (auto* list = std::get_if<std::vector<std::string> Options::*>(&row.member)) {
    (options.**list).clear();
  } else if (texts.size() != 1) {
    return Invalid("takes one value");
  }
  for (const std::string& text : texts) {
    TRY(std::visit(Setter{row, text, options}, row.member));
  }
  return {};
}

std::vector<std::string> OptionTexts(const OptionRow& row, const Options& options) {
  return std::visit(Printer{row, options}, row.member);
}

std::string ValuePlaceholder(const OptionRow& row) {
  if (!row.choices.empty()) {
    return std::string(row.choices);
  }
  if (row.bytes) {
    return "SIZE";
  }
  // In the order of OptionMember's alternatives.
  constexpr std::array<std::string_view, std::variant_size_v<OptionMember>> kByType = {"",     "N",    "N",   "X",
                                                                                       "TEXT", "TEXT", "TIME"};
  return std::string(kByType[row.member.index()]);
}

}  // namespace causeway::server
