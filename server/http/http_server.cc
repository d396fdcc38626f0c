#include "server/http/http_server.h"

#include <atomic>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/strand.hpp>

#include "base/log.h"
#include "fmt/format.h"
#include "server/http/session.h"

namespace causeway::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

}  // namespace

struct HttpServer::Impl {
  Impl(App& app_ref, int threads) : app(app_ref), io(threads), acceptor(io) {}

  Result<void> Listen(const HttpOptions& options) {
    boost::system::error_code error;
    const auto address = asio::ip::make_address(options.host == "localhost" ? "127.0.0.1" : options.host, error);
    if (error) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("--host {} is no IP address: {}", options.host, error.message()), "host");
    }
    const tcp::endpoint endpoint(address, options.port);
    acceptor.open(endpoint.protocol(), error);
    if (!error) {
      acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    }
    if (!error) {
      acceptor.bind(endpoint, error);
    }
    if (!error) {
      acceptor.listen(1024, error);
    }
    if (error) {
      return MakeError(ErrorCode::kFailedPrecondition,
                       fmt::format("cannot listen on {} port {}: {}", options.host, options.port, error.message()),
                       "port");
    }
    port = acceptor.local_endpoint().port();
    return {};
  }

  void Accept() {
    acceptor.async_accept(asio::make_strand(io), [this](boost::system::error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted || !acceptor.is_open()) {
        return;
      }
      if (error) {  // out of descriptors, say: not a reason to stop listening
        LOG_WARNING("accept: {}", error.message());
      } else if (connections >= app.server_limits.max_connections) {
        LOG_WARNING("refused a connection: {} are open", connections.load());
      } else {
        auto session = std::make_shared<Session>(app, std::move(socket), connections);
        Remember(session);
        session->Run();
      }
      Accept();
    });
  }

  void Remember(const std::shared_ptr<Session>& session) {
    const std::lock_guard lock(mutex);
    std::erase_if(sessions, [](const std::weak_ptr<Session>& s) { return s.expired(); });
    sessions.push_back(session);
  }

  template <typename F>
  void ForEachSession(F f) {
    const std::lock_guard lock(mutex);
    for (const auto& weak : sessions) {
      if (const auto session = weak.lock()) {
        f(*session);
      }
    }
  }

  App& app;
  asio::io_context io;
  tcp::acceptor acceptor;
  uint16_t port = 0;
  std::atomic<int64_t> connections{0};
  std::mutex mutex;
  std::list<std::weak_ptr<Session>> sessions;  // guarded by mutex
  std::vector<std::thread> threads;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { Stop(); }

Result<std::unique_ptr<HttpServer>> HttpServer::Start(App& app, const HttpOptions& options) {
  auto impl = std::make_unique<Impl>(app, options.io_threads);
  TRY(impl->Listen(options));
  impl->Accept();
  for (int i = 0; i < options.io_threads; ++i) {
    impl->threads.emplace_back([io = &impl->io] { io->run(); });
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));  // NOLINT: private constructor
}

uint16_t HttpServer::port() const { return impl_->port; }

void HttpServer::StopAccepting() {
  asio::post(impl_->io, [this] {
    boost::system::error_code ignored;
    impl_->acceptor.close(ignored);
  });
  impl_->ForEachSession([](Session& session) { session.CloseWhenIdle(); });
}

void HttpServer::Stop() {
  if (impl_->threads.empty()) {
    return;
  }
  StopAccepting();
  impl_->ForEachSession([](Session& session) { session.Abort(); });
  // Aborted sessions end by themselves; what is left after a moment is cut off.
  const Instant deadline = Clock::now() + std::chrono::seconds(2);
  while (impl_->connections > 0 && Clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  impl_->io.stop();
  for (std::thread& thread : impl_->threads) {
    thread.join();
  }
  impl_->threads.clear();
}

}  // namespace causeway::server
