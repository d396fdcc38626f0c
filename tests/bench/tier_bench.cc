// What a page costs in the tiers: tier_bench FOLDER [PAGE_KIB...] (default 384 2048). FOLDER is made, and should lie on
// the disk that is to be measured; the files that it leaves there may be removed. memory/tier/README.md has figures.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/rng.h"
#include "memory/tier/page_store.h"

namespace causeway::memory {
namespace {

constexpr int64_t kBytes = int64_t{512} << 20;  // of pages in each tier
constexpr int64_t kTokens = 16;

struct Chain {
  std::vector<Digest> keys;
  std::vector<Token> tokens;

  Chain(uint64_t name, int64_t pages) : keys(static_cast<size_t>(pages)), tokens(static_cast<size_t>(pages * kTokens)) {
    for (size_t i = 0; i < keys.size(); ++i) {
      const uint64_t bits = RandomBits(name, 0, i);
      std::memcpy(keys[i].data(), &bits, sizeof bits);
      tokens[i * kTokens] = static_cast<Token>(i);
    }
  }
  PageIdentity Page(size_t i) const {
    return {keys[i], i == 0 ? Digest{} : keys[i - 1], static_cast<int64_t>(i), 0,
            std::span(tokens).subspan(i * kTokens, kTokens)};
  }
};

void Print(std::string_view what, int64_t pages, int64_t page_bytes, Duration time) {
  const double seconds = ToSeconds(time);
  fmt::print("  {:<44} {:>9.1f} us a page {:>8.2f} GB/s\n", what, seconds * 1e6 / static_cast<double>(pages),
             static_cast<double>(pages * page_bytes) / seconds * 1e-9);
}

template <typename Work>
Duration Time(Work work) {
  const Instant start = Clock::now();
  work();
  return Clock::now() - start;
}

// How many pages were kept at once, without waiting for the disk.
int64_t PutAll(PageStore& store, const Chain& chain, std::span<const std::byte> source, bool wait) {
  int64_t kept = 0;
  for (size_t i = chain.keys.size(); i-- > 0;) {
    const auto put = [&] {
      return store.Put(chain.Page(i), [&](std::span<std::byte> to) -> Result<void> {
        std::memcpy(to.data(), source.data(), to.size());
        return {};
      });
    };
    bool done = put();
    if (!done && wait) {
      store.Flush();
      done = put();
    }
    kept += done ? 1 : 0;
  }
  return kept;
}

void ReadAll(PageStore& store, const Chain& chain, std::span<std::byte> target, int64_t at_once) {
  const auto pages = static_cast<int64_t>(chain.keys.size());
  for (int64_t first = 0; first < pages; first += at_once) {
    const int64_t count = std::min(at_once, pages - first);
    const int64_t read =
        store.BeginRead(chain.keys, first, count)->Read([&](int64_t, std::span<const std::byte> bytes) {
          std::memcpy(target.data(), bytes.data(), bytes.size());
          return true;
        });
    CHECK_MSG(read == count, "{} of {} pages from {} on were read", read, count, first);
  }
}

void Measure(const std::string& folder, int64_t page_kib) {
  PageStoreOptions options;
  options.page_bytes = page_kib << 10;
  options.tokens_per_page = kTokens;
  const int64_t pages = kBytes / options.page_bytes;
  const Chain chain(1, pages);
  const Chain other(2, pages);
  std::vector<std::byte> page(static_cast<size_t>(options.page_bytes), std::byte{1});
  fmt::print("pages of {} KiB, {} of them\n", page_kib, pages);

  options.host_bytes = kBytes;
  auto store = PageStore::Open(options).value();
  Print("host: put, first use of the memory", pages, options.page_bytes,
        Time([&] { CHECK(PutAll(*store, chain, page, false) == pages); }));
  Print("host: put in the place of another page", pages, options.page_bytes,
        Time([&] {
          CHECK(PutAll(*store, other, page, false) == pages && PutAll(*store, chain, page, false) == pages);
        }) / 2);
  Print("host: read", pages, options.page_bytes, Time([&] { ReadAll(*store, chain, page, pages); }));
  int64_t known = 0;
  const Duration lookup = Time([&] { known = store->Known(chain.keys, 0, chain.tokens, pages); });
  CHECK(known == pages);
  fmt::print("  {:<44} {:>9.3f} us a page\n", "Known", ToSeconds(lookup) * 1e6 / static_cast<double>(pages));
  store = nullptr;

  options.host_bytes = 0;
  options.folder = folder;
  options.disk_bytes = kBytes;
  const Instant now = Clock::now();  // another fingerprint each time: the folder begins empty
  std::memcpy(options.fingerprint.data(), &now, sizeof now);
  store = PageStore::Open(options).value();
  Print("disk: put and flush", pages, options.page_bytes, Time([&] {
          CHECK(PutAll(*store, chain, page, true) == pages);
          store->Flush();
        }));
  store = nullptr;
  const Duration opening = Time([&] { store = PageStore::Open(options).value(); });
  fmt::print("  {:<44} {:>9.3f} us a page\n", "disk: open again",
             ToSeconds(opening) * 1e6 / static_cast<double>(pages));
  Print("disk: read, all at once", pages, options.page_bytes, Time([&] { ReadAll(*store, chain, page, pages); }));
  Print("disk: read, page by page", pages, options.page_bytes, Time([&] { ReadAll(*store, chain, page, 1); }));
  const PageIdentity identity = chain.Page(0);
  uint64_t sum = 0;
  Print("checksum", pages, options.page_bytes, Time([&] {
          for (int64_t i = 0; i < pages; ++i) {
            sum += PageChecksum(options.fingerprint, identity, page).low;
          }
        }));
  CHECK(sum != 0);
}

}  // namespace
}  // namespace causeway::memory

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: tier_bench FOLDER [PAGE_KIB...]\n");
    return 2;
  }
  std::vector<int64_t> sizes;
  for (int i = 2; i < argc; ++i) {
    int64_t page_kib = 0;
    const std::string_view text = argv[i];
    std::from_chars(text.data(), text.data() + text.size(), page_kib);
    if (page_kib < 4 || page_kib > 32768) {
      fmt::print(stderr, "a page has 4 to 32768 KiB, not {}\n", text);
      return 2;
    }
    sizes.push_back(page_kib);
  }
  for (const int64_t page_kib : sizes.empty() ? std::vector<int64_t>{384, 2048} : sizes) {
    causeway::memory::Measure(argv[1], page_kib);
  }
  return 0;
}
