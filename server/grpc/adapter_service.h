// causeway.v1.Adapters. Internal to server/grpc.
#pragma once

#include <memory>

#include <grpcpp/grpcpp.h>

#include "server/api/app.h"
#include "server/grpc/call_support.h"

namespace causeway::server {

// `app` and `wakes` must outlive it.
std::unique_ptr<grpc::Service> MakeAdapterService(App& app, WakeThread& wakes);

}  // namespace causeway::server
