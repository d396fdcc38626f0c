#include "server/config/resolve.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "server/config/nearest.h"
#include "server/config/tenants.h"
#include "server/config/value.h"

namespace causeway::server {
namespace {

using Texts = std::vector<std::string>;

bool IsList(const OptionRow& row) { return std::holds_alternative<std::vector<std::string> Options::*>(row.member); }

Texts SplitByComma(std::string_view text) {
  Texts parts;
  while (true) {
    const size_t comma = std::min(text.find(','), text.size());
    parts.emplace_back(text.substr(0, comma));
    if (comma == text.size()) {
      return parts;
    }
    text.remove_prefix(comma + 1);
  }
}

// One source's say on one option.
struct Candidate {
  Texts texts;
  std::string source;  // "--port", "CAUSEWAY_PORT", "server.toml line 3"
};

class Resolver {
 public:
  explicit Resolver(const OptionSources& sources) : sources_(sources) {}

  Resolution Run() {
    resolution_.options = DefaultOptions();
    resolution_.origins.assign(OptionTable().size(), OptionOrigin::kDefault);
    CheckFlagNames();
    CheckEnvironmentNames();
    const OptionRow* config = FindOption("config");
    Apply(*config);
    if (!resolution_.options.config.empty()) {
      ReadFile(resolution_.options.config);
    }
    for (const OptionRow& row : OptionTable()) {
      if (&row != config) {
        Apply(row);
      }
    }
    CheckTogether();
    return std::move(resolution_);
  }

 private:
  void AddError(std::string text) { resolution_.errors.push_back(std::move(text)); }

  void CheckFlagNames() {
    for (const auto& flag : sources_.flags) {
      CHECK_MSG(FindOption(flag.first) != nullptr, "flag --{} is not in the table", flag.first);
    }
  }

  // Other programs may have variables of such names (Kubernetes does), so only a near miss is worth a word.
  void CheckEnvironmentNames() {
    Texts known;
    for (const OptionRow& row : OptionTable()) {
      known.push_back(EnvironmentName(row.name));
    }
    const std::vector<std::string_view> views(known.begin(), known.end());
    for (const std::string& name : sources_.environment_names) {
      constexpr size_t kFarthest = 2;  // the common prefix would let names of other kinds pass as near
      const std::string_view near = NearestName(name, views, kFarthest);
      if (!near.empty() && near != name) {
        resolution_.warnings.push_back(fmt::format("{} is no setting; is it {}?", name, near));
      }
    }
  }

  void ReadFile(const std::string& path) {
    const Result<std::string> text = sources_.read_file(path);
    if (!text.ok()) {
      AddError("config: " + text.error().message);
      return;
    }
    const ConfigFile file = ParseConfigFile(*text);
    for (const std::string& error : file.errors) {
      AddError(fmt::format("{} {}", path, error));
    }
    for (const FileSetting& setting : file.settings) {
      AddFileSetting(path, setting);
    }
  }

  void AddFileSetting(const std::string& path, const FileSetting& setting) {
    const std::string where = fmt::format("{} line {}", path, setting.line);
    const OptionRow* row = FindOption(setting.name);
    if (row == nullptr || !row->in_file) {
      const std::string_view near = NearestOption(setting.name);
      AddError(fmt::format("{}: unknown setting {}{}", where, setting.name,
                           near.empty() ? "" : fmt::format("; is it {}?", near)));
    } else if (!file_.emplace(row->name, Candidate{setting.texts, where}).second) {
      AddError(fmt::format("{}: {} stands there twice", where, setting.name));
    }
  }

  // The sources in ascending precedence. Each value is checked, also one that a later source
  // overrides: a mistake that waits for the day the flag is dropped is still a mistake.
  void Apply(const OptionRow& row) {
    if (const auto found = file_.find(row.name); found != file_.end()) {
      Try(row, found->second, OptionOrigin::kFile);
    }
    const std::string variable = EnvironmentName(row.name);
    if (const std::optional<std::string> text = sources_.environment(variable)) {
      if (text->rfind("tcp://", 0) == 0 || text->rfind("udp://", 0) == 0) {
        // Kubernetes sets CAUSEWAY_PORT=tcp://10.0.0.1:80 in pods beside a service named causeway.
        resolution_.warnings.push_back(
            fmt::format("{}={} is a Kubernetes service link and was ignored", variable, *text));
      } else {
        Try(row, {IsList(row) ? SplitByComma(*text) : Texts{*text}, variable}, OptionOrigin::kEnvironment);
      }
    }
    if (const auto found = sources_.flags.find(row.name); found != sources_.flags.end()) {
      Try(row, {found->second, fmt::format("--{}", row.name)}, OptionOrigin::kFlag);
    }
  }

  void Try(const OptionRow& row, const Candidate& candidate, OptionOrigin origin) {
    const Result<void> set = SetOption(row, candidate.texts, resolution_.options);
    if (!set.ok()) {
      const std::string given =
          row.secret ? std::string() : fmt::format(", and is {}", fmt::join(candidate.texts, ","));
      const std::string who =
          origin == OptionOrigin::kFlag ? candidate.source : fmt::format("{}: {}", candidate.source, row.name);
      AddError(fmt::format("{} {}{}", who, set.error().message, given));
      return;
    }
    resolution_.origins[static_cast<size_t>(&row - OptionTable().data())] = origin;
  }

  void CheckTogether() {
    const Options& options = resolution_.options;
    if (options.max_num_batched_tokens < options.max_num_seqs) {
      AddError(
          fmt::format("max-num-batched-tokens ({}) must be at least max-num-seqs ({}): each running "
                      "sequence needs one token of a step",
                      options.max_num_batched_tokens, options.max_num_seqs));
    }
    if (options.grpc && options.port != 0 && options.port == options.grpc_port) {
      AddError(fmt::format("port and grpc-port are both {}", options.port));
    }
    if (const auto tenants = ParseTenants(options.tenant, options.api_key); !tenants.ok()) {
      AddError("tenant: " + tenants.error().message);
    }
  }

  const OptionSources& sources_;
  std::map<std::string_view, Candidate> file_;
  Resolution resolution_;
};

std::string WrapComment(std::string_view text) {
  constexpr size_t kWidth = 96;
  std::string out;
  std::string line;
  while (!text.empty()) {
    const size_t space = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, space);
    if (!line.empty() && line.size() + 1 + word.size() > kWidth) {
      out += fmt::format("# {}\n", line);
      line.clear();
    }
    if (!line.empty()) {
      line += ' ';
    }
    line += word;
    text.remove_prefix(std::min(space + 1, text.size()));
  }
  return out + fmt::format("# {}\n", line);
}

// The value's line: active if it differs from the default, else a comment that shows the default.
std::string DumpLine(const OptionRow& row, const Options& options, const Options& defaults) {
  const Texts texts = OptionTexts(row, options);
  if (row.secret) {
    return fmt::format("#{} = {}\n", row.name, IsList(row) ? "[]" : "\"\"");
  }
  if (texts.empty()) {
    return fmt::format("#{} =\n", row.name);
  }
  const Result<std::string> line = FormatSetting(row.name, texts, IsList(row));
  if (!line.ok()) {
    return WrapComment(line.error().message);
  }
  return fmt::format("{}{}\n", texts == OptionTexts(row, defaults) ? "#" : "", *line);
}

}  // namespace

Resolution ResolveOptions(const OptionSources& sources) { return Resolver(sources).Run(); }

std::string DescribeSettings(const Resolution& resolution) {
  constexpr std::string_view kOrigins[] = {"default", "file", "environment", "flag"};
  Texts parts;
  for (size_t i = 0; i < OptionTable().size(); ++i) {
    const OptionRow& row = OptionTable()[i];
    const auto origin = static_cast<size_t>(resolution.origins[i]);
    if (origin != 0) {
      parts.push_back(
          fmt::format("{}={} ({})", row.name,
                      row.secret ? "***" : fmt::format("{}", fmt::join(OptionTexts(row, resolution.options), ",")),
                      kOrigins[origin]));
    }
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string DumpConfig(const Options& options) {
  const Options defaults = DefaultOptions();
  std::string out =
      "# Every setting of `causeway serve`, with its default. Use it as: causeway serve --config "
      "FILE\n"
      "# A flag (--name) wins over a variable (CAUSEWAY_NAME), which wins over this file.\n";
  const OptionRow* previous = nullptr;
  for (const OptionRow& row : OptionTable()) {
    if (!row.in_file) {
      continue;
    }
    if (previous == nullptr || previous->group != row.group) {
      out += fmt::format("\n# ---- {}\n", OptionGroupTitle(row.group));
    }
    out += '\n';
    out += WrapComment(row.doc);
    if (!row.choices.empty()) {
      out += fmt::format("# One of: {}\n", row.choices);
    }
    out += DumpLine(row, options, defaults);
    previous = &row;
  }
  return out;
}

std::string_view NearestOption(std::string_view name) {
  std::vector<std::string_view> known;
  for (const OptionRow& row : OptionTable()) {
    known.push_back(row.name);
  }
  return NearestName(name, known);
}

}  // namespace causeway::server
