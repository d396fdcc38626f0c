// A backend under test by its name, and the host's ways to its memory: mock, linux, linux_huge (pages of 2 MiB,
// collapsed where the kernel can), linux_hugetlb (skipped where too few such pages are set aside), cuda (over a fake
// driver), device and device_plain (over the real one, skipped without: with sealed pages protected, and as it is
// served).
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/kv_fixtures.h"

namespace causeway::memory {

class BackendTest : public testing::TestWithParam<std::string> {
 protected:
  static constexpr int64_t kPages = 16;

  void SetUp() override {
    if (GetParam().starts_with("device")) {
      auto driver = LoadCudaDriver(0);
      if (!driver.ok()) {
        GTEST_SKIP() << driver.error().message;
      }
      driver_ = driver->get();
      backend =
          MakeCudaBackend({page_bytes, kPages}, std::move(driver).value(), {.protect_sealed = GetParam() == "device"})
              .value();
    } else if (GetParam().starts_with("linux_")) {
      const HugePages kind = GetParam() == "linux_huge" ? HugePages::kCollapse : HugePages::kHugetlb;
      auto made = MakeLinuxBackend({page_bytes, kPages, kind});
      if (!made.ok()) {
        GTEST_SKIP() << made.error().message;
      }
      backend = std::move(made).value();
    } else {
      backend = MakeTestBackend(GetParam(), kPages, page_bytes);
    }
    arena_ = backend->ReserveArena(kPages * page_bytes).value();
  }

  std::byte* At(int64_t page) const { return arena_ + page * page_bytes; }
  void Create(std::initializer_list<PageId> pages) {
    for (const PageId page : pages) {
      ASSERT_TRUE(backend->Create(page).ok());
    }
  }
  // The host cannot touch a real device's memory.
  void CopyBytes(void* to, const void* from, size_t bytes) {
    if (driver_ == nullptr) {
      std::memcpy(to, from, bytes);
    } else {
      ASSERT_EQ(driver_->Copy(reinterpret_cast<CudaAddress>(to), reinterpret_cast<CudaAddress>(from), bytes), 0);
    }
  }
  std::vector<std::byte> PageOf(int value) const {
    return std::vector<std::byte>(static_cast<size_t>(page_bytes), static_cast<std::byte>(value));
  }
  void Fill(std::byte* address, int value) {
    const std::vector<std::byte> bytes = PageOf(value);
    CopyBytes(address, bytes.data(), bytes.size());
  }
  // What all bytes of a page are, or -1.
  static int Uniform(const std::vector<std::byte>& bytes) {
    const bool same = std::all_of(bytes.begin(), bytes.end(), [&](std::byte value) { return value == bytes[0]; });
    return same ? std::to_integer<int>(bytes[0]) : -1;
  }
  int ValueAt(const std::byte* address) {
    std::vector<std::byte> bytes = PageOf(-1);
    CopyBytes(bytes.data(), address, bytes.size());
    return Uniform(bytes);
  }
  int ValueOf(PageId page) {
    std::vector<std::byte> bytes = PageOf(-1);
    EXPECT_TRUE(backend->ReadPage(page, bytes).ok());
    return Uniform(bytes);
  }

  const int64_t page_bytes = GetParam().starts_with("linux_") || GetParam().starts_with("device") ? 2 << 20 : 4096;
  std::unique_ptr<VmBackend> backend;

 private:
  CudaDriver* driver_ = nullptr;
  std::byte* arena_ = nullptr;
};

}  // namespace causeway::memory
