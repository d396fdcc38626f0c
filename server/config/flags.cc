#include "server/config/flags.h"

#include <algorithm>
#include <cctype>
#include <iostream>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "server/config/environment.h"
#include "server/config/value.h"

namespace causeway::server {
namespace {

constexpr int64_t kMaxConfigBytes = 1 << 20;

std::string HelpText(const OptionRow& row) {
  std::string text(row.doc);
  if (!row.fallback.empty()) {
    text += fmt::format(" [{}]", row.fallback);
  }
  return text;
}

std::string Upper(std::string_view name) {
  std::string upper(name);
  std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return std::toupper(c); });
  return upper;
}

CLI::Option* AddFlag(CLI::App& command, const OptionRow& row, bool positional) {
  const std::string name = fmt::format("{}--{}", positional ? Upper(row.name) + "," : "", row.name);
  CLI::Option* option = nullptr;
  if (std::holds_alternative<bool Options::*>(row.member)) {
    option = command.add_flag(fmt::format("{},!--no-{}", name, row.name));
  } else {
    option = command.add_option(name);
    option->type_name(ValuePlaceholder(row))->expected(1)->allow_extra_args(false);
  }
  // Raw texts are collected and checked together with the other sources. A repeated scalar flag
  // reaches SetOption as two texts and is refused there.
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  option->description(HelpText(row));
  option->group(std::string(OptionGroupTitle(row.group)));
  return option;
}

}  // namespace

struct OptionFlags::Impl {
  struct Bound {
    const OptionRow* row;
    CLI::Option* option;
  };
  CLI::App& command;
  std::vector<Bound> bound;
};

OptionFlags::OptionFlags(CLI::App& command, std::initializer_list<OptionGroup> groups, std::string_view positional)
    : impl_(std::make_unique<Impl>(Impl{command, {}})) {
  for (const OptionRow& row : OptionTable()) {
    if (std::find(groups.begin(), groups.end(), row.group) != groups.end()) {
      impl_->bound.push_back({&row, AddFlag(command, row, row.name == positional)});
    }
  }
}

OptionFlags::~OptionFlags() = default;

Resolution OptionFlags::ResolveQuietly() const {
  OptionSources sources;
  sources.environment = ReadEnvironment;
  sources.environment_names = EnvironmentNames("CAUSEWAY_");
  sources.read_file = [](const std::string& path) { return ReadTextFile(path, kMaxConfigBytes); };
  for (const Impl::Bound& bound : impl_->bound) {
    if (bound.option->count() > 0) {
      sources.flags.emplace(bound.row->name, bound.option->results());
    }
  }
  return ResolveOptions(sources);
}

Result<Resolution> OptionFlags::Resolve() const {
  Resolution resolution = ResolveQuietly();
  for (const std::string& warning : resolution.warnings) {
    std::cerr << "causeway: warning: " << warning << "\n";
  }
  if (resolution.errors.empty()) {
    return resolution;
  }
  for (const std::string& error : resolution.errors) {
    std::cerr << "causeway: " << error << "\n";
  }
  return MakeError(ErrorCode::kInvalidArgument, fmt::format("{} wrong settings", resolution.errors.size()));
}

}  // namespace causeway::server
