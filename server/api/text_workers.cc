#include "server/api/text_workers.h"

namespace causeway::server {

TextWorkers::TextWorkers(int threads, size_t max_queued) : queue_(max_queued) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] {
      while (auto job = queue_.Pop()) {
        (*job)();
      }
    });
  }
}

TextWorkers::~TextWorkers() {
  queue_.Close();
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

}  // namespace causeway::server
