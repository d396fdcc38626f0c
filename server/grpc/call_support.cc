#include "server/grpc/call_support.h"

#include <atomic>
#include <chrono>
#include <optional>
#include <string_view>

#include "fmt/format.h"
#include "server/api/status.h"

namespace causeway::server {

grpc::Status Refuse(grpc::CallbackServerContext& context, const Error& error) {
  if (!error.param.empty()) {
    context.AddTrailingMetadata("causeway-param", error.param);
  }
  return {static_cast<grpc::StatusCode>(StatusOf(error.code).grpc),
          error.code == ErrorCode::kInternal ? "internal error; the server's log has the details" : error.message};
}

Result<memory::TenantId> Authorize(const App& app, const grpc::CallbackServerContext& context) {
  if (app.api_keys.empty()) {
    return memory::kDefaultTenant;
  }
  constexpr std::string_view kScheme = "Bearer ";
  std::optional<memory::TenantId> tenant;
  const auto [begin, end] = context.client_metadata().equal_range("authorization");
  for (auto it = begin; it != end; ++it) {
    const std::string_view given(it->second.data(), it->second.size());
    if (given.starts_with(kScheme) && !tenant) {
      tenant = TenantOf(app.api_keys, given.substr(kScheme.size()));
    }
  }
  if (!tenant) {
    return MakeError(ErrorCode::kUnauthenticated, "a valid API key is needed");
  }
  return *tenant;
}

Instant DeadlineOf(const grpc::CallbackServerContext& context) {
  const auto left = context.deadline() - std::chrono::system_clock::now();
  return left > std::chrono::hours(24 * 365) ? kNever : Clock::now() + std::chrono::duration_cast<Duration>(left);
}

std::string NewCallId() {
  static std::atomic<uint64_t> next{1};
  return fmt::format("grpc-{}", next++);
}

WakeThread::WakeThread()
    : thread_([this] {
        while (auto job = queue_.Pop()) {
          (*job)();
        }
      }) {}

WakeThread::~WakeThread() {
  queue_.Close();
  thread_.join();
}

}  // namespace causeway::server
