// HTTP/1.1 and server-sent events on Boost.Beast: a few threads, one connection on one of them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "server/api/app.h"

namespace causeway::server {

struct HttpOptions {
  std::string host = "0.0.0.0";
  uint16_t port = 8000;  // 0: any free one
  int io_threads = 2;
};

class HttpServer {
 public:
  // Listens at once; serving starts too. kFailedPrecondition if the address cannot be bound.
  static Result<std::unique_ptr<HttpServer>> Start(App& app, const HttpOptions& options);
  ~HttpServer();  // Stop(0)

  uint16_t port() const;
  // Stops accepting. Connections that answer go on; idle ones close.
  void StopAccepting();
  // StopAccepting; gives what is being answered `grace` to reach its client; then closes everything and joins the
  // threads.
  void Stop(Duration grace);

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace causeway::server
