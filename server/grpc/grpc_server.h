// The gRPC spelling of the serving API: causeway.v1, grpc.health.v1 and reflection, on the callback API.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "server/api/app.h"

namespace causeway::server {

struct GrpcOptions {
  std::string host = "0.0.0.0";
  uint16_t port = 9000;  // 0: any free one
  int64_t max_message_bytes = 16 << 20;
  int64_t max_streams = 1000;  // of one connection
};

class GrpcServer {
 public:
  // Listens at once; health says NOT_SERVING until SetServing(true).
  static Result<std::unique_ptr<GrpcServer>> Start(App& app, const GrpcOptions& options);
  ~GrpcServer();  // Stop()

  uint16_t port() const;
  void SetServing(bool serving);
  // Ends what is running and joins gRPC's threads.
  void Stop();

 private:
  struct Impl;
  explicit GrpcServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace causeway::server
