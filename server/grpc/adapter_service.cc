#include "server/grpc/adapter_service.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "causeway/v1/causeway.grpc.pb.h"
#include "fmt/format.h"
#include "server/api/adapters.h"
#include "server/api/control_worker.h"
#include "server/api/offload.h"

namespace causeway::server {
namespace {

void Fill(const LoadedAdapter& loaded, v1::Adapter& adapter) {
  adapter.set_lora_name(loaded.name());
  adapter.set_lora_path(loaded.adapter->path());
  adapter.set_rank(loaded.adapter->rank());
  adapter.set_modules(loaded.adapter->modules());
  adapter.set_parameters(loaded.adapter->parameters());
  adapter.set_bytes(loaded.adapter->bytes());
  adapter.set_created(loaded.created_unix);
  adapter.set_waiting(loaded.waiting);
  adapter.set_running(loaded.running);
}

// One call that changes the table, on the control worker: no step waits for the disk. Its result is the adapter that a
// call has loaded.
using TableWork = Offloaded<AdapterRef>;
class TableReactor final : public LateReactor<TableWork> {
 public:
  // `response` is null for calls that answer nothing.
  static TableReactor* Start(App& app, WakeThread& wakes, grpc::CallbackServerContext& context,
                             std::function<Result<AdapterRef>()> work, v1::Adapter* response) {
    auto reactor = std::make_unique<TableReactor>(wakes, context, response);
    reactor->Begin(app, std::move(work));
    return reactor.release();
  }

  TableReactor(WakeThread& wakes, grpc::CallbackServerContext& context, v1::Adapter* response)
      : LateReactor(wakes), context_(context), response_(response) {}

 private:
  void Begin(App& app, std::function<Result<AdapterRef>()> work) {
    const auto start = [&]() -> Result<std::unique_ptr<TableWork>> {
      TRY(Authorize(app, context_));
      if (!app.admin_endpoints) {
        return MakeError(ErrorCode::kUnsupported,
                         "adapters are loaded and unloaded with --enable-admin-endpoints only");
      }
      return std::make_unique<TableWork>(app.control_worker, *this, std::move(work));
    };
    Await(start, context_);
  }

  std::optional<grpc::Status> Take(TableWork& work) override {
    const auto loaded = work.Take();
    if (!loaded) {
      return std::nullopt;
    }
    if (loaded->ok() && response_ != nullptr) {
      Fill(***loaded, *response_);
    }
    return loaded->ok() ? grpc::Status::OK : Refuse(context_, loaded->error());
  }

  grpc::CallbackServerContext& context_;
  v1::Adapter* const response_;
};

Result<void> CheckGiven(const std::string& text, const char* name) {
  return text.empty() ? Result<void>(MakeError(ErrorCode::kInvalidArgument, fmt::format("{} is missing", name), name))
                      : Result<void>();
}

// Of the control worker, which alone changes the table.
Result<AdapterRef> Load(App& app, const v1::LoadAdapterRequest& request) {
  TRY(CheckGiven(request.lora_name(), "lora_name"));
  TRY(CheckGiven(request.lora_path(), "lora_path"));
  ASSIGN_OR_RETURN(const std::string place, PlaceInFolder(app.lora_dir, request.lora_path()));
  TRY(app.adapters.Load(request.lora_name(), place, request.load_inplace()));
  return app.adapters.Find(request.lora_name());
}

Result<AdapterRef> Unload(App& app, const v1::UnloadAdapterRequest& request) {
  TRY(CheckGiven(request.lora_name(), "lora_name"));
  TRY(app.adapters.Unload(request.lora_name()));
  return AdapterRef();
}

class AdapterService final : public v1::Adapters::CallbackService {
 public:
  AdapterService(App& app, WakeThread& wakes) : app_(app), wakes_(wakes) {}

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;

  Reactor* LoadAdapter(Context* context, const v1::LoadAdapterRequest* request, v1::Adapter* response) override {
    return TableReactor::Start(
        app_, wakes_, *context, [&app = app_, request = *request] { return Load(app, request); }, response);
  }
  Reactor* UnloadAdapter(Context* context, const v1::UnloadAdapterRequest* request,
                         v1::UnloadAdapterResponse*) override {
    return TableReactor::Start(
        app_, wakes_, *context, [&app = app_, request = *request] { return Unload(app, request); }, nullptr);
  }
  Reactor* ListAdapters(Context* context, const v1::ListAdaptersRequest*, v1::ListAdaptersResponse* response) override {
    const auto tenant = Authorize(app_, *context);
    for (const AdapterRef& adapter : tenant.ok() ? app_.adapters.List() : std::vector<AdapterRef>()) {
      Fill(*adapter, *response->add_adapters());
    }
    Reactor* const reactor = context->DefaultReactor();
    reactor->Finish(tenant.ok() ? grpc::Status::OK : Refuse(*context, tenant.error()));
    return reactor;
  }

 private:
  App& app_;
  WakeThread& wakes_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAdapterService(App& app, WakeThread& wakes) {
  return std::make_unique<AdapterService>(app, wakes);
}

}  // namespace causeway::server
