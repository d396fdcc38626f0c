// Every call below a backend made to fail in turn: what failed has changed nothing, and works when asked again.
#include <cerrno>
#include <fstream>
#include <functional>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "memory/vm/linux_calls.h"
#include "tests/support/kv_fixtures.h"

namespace causeway::memory {
namespace {

constexpr int64_t kPages = 6;
constexpr int64_t kPlaces = 8;
constexpr int64_t kPageBytes = 4096;

// What a caller believes: pages and the byte that fills each, places and what is mapped there.
struct Model {
  struct Mapping {
    PageId page = 0;
    bool writable = false;
  };
  std::map<PageId, int> pages;
  std::map<int64_t, Mapping> places;

  int64_t MappedBytes(bool writable) const {
    int64_t bytes = 0;
    for (const auto& [place, mapping] : places) {
      bytes += mapping.writable == writable ? kPageBytes : 0;
    }
    return bytes;
  }
};

// A backend and the calls below it.
struct Faulty {
  std::unique_ptr<VmBackend> backend;
  size_t kinds = 0;
  std::function<void(size_t kind, int nth)> fail;  // 0: none
  std::function<void(const Model&)> check;         // what the system says of the model
};

class Script {
 public:
  explicit Script(Faulty faulty)
      : faulty_(std::move(faulty)),
        backend_(*faulty_.backend),
        arena_(backend_.ReserveArena(kPlaces * kPageBytes).value()) {}

  // All calls of a backend, one of which fails or none. Returns how many failed.
  int Run(size_t kind, int nth) {
    faulty_.fail(kind, nth);
    for (PageId page = 0; page < 4; ++page) {
      Do([&] { return backend_.Create(page); });
      model_.pages[page] = 0;
    }
    Do([&] { return backend_.Map(At(0), std::vector<PageId>{2, 3, 0}, true); });
    model_.places = {{0, {2, true}}, {1, {3, true}}, {2, {0, true}}};
    for (const PageId page : {0U, 1U, 2U, 3U}) {
      Write(page, static_cast<int>(page) + 10);
    }
    Do([&] { return backend_.Protect(At(0), 2, false); });
    model_.places[0].writable = model_.places[1].writable = false;
    Do([&] { return backend_.Map(At(4), std::vector<PageId>{3, 2}, false); });
    model_.places[4] = {3, false};
    model_.places[5] = {2, false};
    Do([&] { return backend_.Replace(At(2), 1, true); }, [&] { EXPECT_TRUE(backend_.Replace(At(2), 0, true).ok()); });
    model_.places[2] = {1, true};
    Do([&] { return backend_.Copy(At(2), At(0)); });
    model_.pages[1] = model_.pages[2];
    Do([&] { return backend_.Unmap(At(0), 3); });
    model_.places.erase(0);
    model_.places.erase(1);
    model_.places.erase(2);
    Do([&] { return backend_.Release(0); });
    model_.pages.erase(0);
    std::vector<std::byte> bytes(kPageBytes);
    Do([&] { return backend_.ReadPage(1, bytes); });
    EXPECT_EQ(std::to_integer<int>(bytes[kPageBytes - 1]), 12);
    Do([&] { return backend_.Unmap(At(4), 2); });
    model_.places.clear();
    faulty_.fail(kind, 0);
    Check();
    return failures_;
  }

 private:
  std::byte* At(int64_t place) const { return arena_ + place * kPageBytes; }

  void Do(
      const std::function<Result<void>()>& call, const std::function<void()>& mend = [] {}) {
    if (!call().ok()) {
      ++failures_;
      mend();
      Check();
      ASSERT_TRUE(call().ok());
    }
  }
  void Write(PageId page, int value) {
    const std::vector<std::byte> bytes(kPageBytes, static_cast<std::byte>(value));
    const auto write = [&] { return backend_.WritePage(page, bytes); };
    if (!write().ok()) {  // the page is anything now
      ++failures_;
      ASSERT_TRUE(write().ok());
    }
    model_.pages[page] = value;
  }
  void Check() {
    EXPECT_EQ(backend_.PhysicalBytes(), std::ssize(model_.pages) * kPageBytes);
    for (const auto& [place, mapping] : model_.places) {
      EXPECT_EQ(std::to_integer<int>(*At(place)), model_.pages.at(mapping.page)) << "place " << place;
    }
    std::vector<std::byte> bytes(kPageBytes);
    for (const auto& [page, value] : model_.pages) {
      ASSERT_TRUE(backend_.ReadPage(page, bytes).ok());
      EXPECT_EQ(std::to_integer<int>(bytes[0]), value) << "page " << page;
    }
    faulty_.check(model_);
  }

  Faulty faulty_;
  VmBackend& backend_;
  std::byte* const arena_;
  Model model_;
  int failures_ = 0;
};

Faulty FaultyMock() {
  auto mock = std::make_unique<MockBackend>(VmOptions{kPageBytes, kPages}, MockBackend::Storage::kHeap);
  MockBackend* const raw = mock.get();
  return {std::move(mock), kVmCalls, [raw](size_t kind, int nth) { raw->FailNth(static_cast<VmCall>(kind), nth); },
          [raw](const Model& model) {
            ASSERT_EQ(raw->mappings().size(), model.places.size());
            auto place = model.places.begin();
            for (const auto& [address, mapping] : raw->mappings()) {
              EXPECT_EQ(mapping.page, place->second.page);
              EXPECT_EQ(mapping.writable, (place++)->second.writable);
            }
          }};
}

Faulty FaultyCuda() {
  auto fake = std::make_unique<FakeCudaDriver>();
  FakeCudaDriver* const raw = fake.get();
  return {MakeCudaBackend({kPageBytes, kPages}, std::move(fake), {.protect_sealed = true}).value(), kCudaCalls,
          [raw](size_t kind, int nth) { raw->FailNth(static_cast<CudaCall>(kind), nth); },
          [raw](const Model& model) {  // each page is mapped in the backend's window too, for writing
            EXPECT_EQ(raw->memory().handles(), std::ssize(model.pages));
            const int64_t window = std::ssize(model.pages);
            EXPECT_EQ(raw->memory().mappings(true) - window, model.MappedBytes(true) / kPageBytes);
            EXPECT_EQ(raw->memory().mappings(false), model.MappedBytes(false) / kPageBytes);
          }};
}

// The system calls have no context to carry a count.
size_t armed_kind = 0;
int armed_in = 0;
bool Fails(size_t kind) { return kind == armed_kind && armed_in > 0 && --armed_in == 0; }
int Refused(int /*done*/ = 0) {
  errno = ENOMEM;
  return -1;
}

// Those that can do a part of their work before they fail do it here.
LinuxCalls FailingCalls() {
  LinuxCalls calls;
  calls.fallocate = [](int file, int mode, off_t offset, off_t bytes) {
    if (Fails(0)) {
      return (mode & FALLOC_FL_PUNCH_HOLE) != 0 ? Refused() : Refused(::fallocate(file, mode, offset, bytes));
    }
    return ::fallocate(file, mode, offset, bytes);
  };
  calls.mmap = [](void* at, size_t bytes, int protection, int flags, int file, off_t offset) {
    if (Fails(1)) {  // of a page: a hole is left
      (void)Refused(file >= 0 ? ::munmap(at, bytes) : 0);
      return MAP_FAILED;
    }
    return ::mmap(at, bytes, protection, flags, file, offset);
  };
  calls.mprotect = [](void* at, size_t bytes, int protection) {
    return Fails(2) ? Refused(::mprotect(at, kPageBytes, protection)) : ::mprotect(at, bytes, protection);
  };
  calls.pread = [](int file, void* to, size_t bytes, off_t offset) {
    return Fails(3) ? Refused() : ::pread(file, to, bytes, offset);
  };
  calls.pwrite = [](int file, const void* from, size_t bytes, off_t offset) {
    return Fails(4) ? Refused() : ::pwrite(file, from, bytes, offset);
  };
  return calls;
}

// Bytes of the memory file that the kernel has mapped with this access.
int64_t MappedBytes(const std::string& access) {
  std::ifstream maps("/proc/self/maps");
  int64_t bytes = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("causeway-kv") != std::string::npos && line.find(' ' + access) != std::string::npos) {
      size_t used = 0;
      const uint64_t begin = std::stoull(line, &used, 16);
      bytes += static_cast<int64_t>(std::stoull(line.substr(used + 1), nullptr, 16) - begin);
    }
  }
  return bytes;
}

Faulty FaultyLinux() {
  return {MakeLinuxBackend({kPageBytes, kPages}, FailingCalls()).value(), 5,
          [](size_t kind, int nth) {
            armed_kind = kind;
            armed_in = nth;
          },
          [](const Model& model) {
            EXPECT_EQ(MappedBytes("rw-s"), model.MappedBytes(true));
            EXPECT_EQ(MappedBytes("r--s"), model.MappedBytes(false));
          }};
}

using MakeFaulty = Faulty (*)();
const std::map<std::string, MakeFaulty> kFaulty = {{"mock", FaultyMock}, {"linux", FaultyLinux}, {"cuda", FaultyCuda}};

class BackendFaults : public testing::TestWithParam<std::string> {};

TEST_P(BackendFaults, WhatFailsChangesNothingAndWorksWhenAskedAgain) {
  const MakeFaulty make = kFaulty.at(GetParam());
  int64_t swept = 0;
  for (size_t kind = 0; kind < make().kinds; ++kind) {
    int failures = 1;
    for (int nth = 1; failures > 0; ++nth) {
      SCOPED_TRACE("call " + std::to_string(nth) + " of kind " + std::to_string(kind));
      Script script(make());
      failures = script.Run(kind, nth);
      swept += failures;
      ASSERT_LT(nth, 100);
    }
  }
  EXPECT_GE(swept, 15);  // every kind a few times
}

INSTANTIATE_TEST_SUITE_P(All, BackendFaults, testing::ValuesIn(TestBackends()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace causeway::memory
