// Where models are looked for, and that no name leads out of there.
#include "model/files.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/model_folders.h"

namespace causeway::model {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

TEST(FolderFilesTest, OnlyPlainNamesOfRegularFilesOpen) {
  const TestFolder folder;
  folder.Write("inside/a.txt", "text");
  folder.Write("secret.txt", "secret");
  folder.Write("inside/empty", "");
  const auto files = *OpenFolder(folder.path() + "/inside");
  EXPECT_EQ(AsText(*files->Open("a.txt")), "text");
  EXPECT_EQ(files->Open("a.txt")->data(), files->Open("a.txt")->data()) << "mapped once";
  EXPECT_TRUE(files->Open("empty")->empty());
  using namespace std::literals;
  for (const std::string_view name :
       {"../secret.txt"sv, "/etc/passwd"sv, ".."sv, "."sv, ""sv, "./a.txt"sv, "a.txt\0x"sv}) {
    EXPECT_FALSE(files->Open(name).ok()) << name;
    EXPECT_FALSE(files->Has(name)) << name;
  }
  fs::create_directory(folder.path() + "/inside/folder");
  EXPECT_THAT(files->Open("folder").error().message, HasSubstr("not a regular file"));
  EXPECT_EQ(files->Names(), (std::vector<std::string>{"a.txt", "empty"}));
  EXPECT_EQ(files->Open("absent").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(OpenFolder(folder.path() + "/absent").error().code, ErrorCode::kNotFound);
}

// A cache as the hub's library lays it out: blobs, and snapshots of links to them.
void MakeRepository(const TestFolder& cache, const std::string& name, const std::string& revision) {
  cache.Write(name + "/blobs/0123", R"({"model_type":"x"})");
  const fs::path snapshot = fs::path(cache.path()) / name / "snapshots" / revision;
  fs::create_directories(snapshot);
  fs::create_symlink("../../blobs/0123", snapshot / "config.json");
}

std::string Find(const std::string& model, const std::vector<std::string>& caches) {
  const auto found = FindModel(model, caches);
  return found.ok() ? found->folder : "error: " + found.error().message;
}

TEST(HubCacheTest, RefsMainNamesTheSnapshot) {
  const TestFolder cache;
  MakeRepository(cache, "models--org--name", "aaa");
  MakeRepository(cache, "models--org--name", "bbb");
  cache.Write("models--org--name/refs/main", "bbb");
  const std::string found = Find("org/name", {"/nowhere", cache.path()});
  EXPECT_EQ(found, cache.path() + "/models--org--name/snapshots/bbb");
  const auto files = *OpenFolder(found);
  EXPECT_TRUE(files->Has("config.json")) << "a link to a blob";
  EXPECT_EQ(AsText(*files->Open("config.json")), R"({"model_type":"x"})");
}

TEST(HubCacheTest, ANewlineAfterTheRevisionDoesNotMatter) {
  const TestFolder cache;
  MakeRepository(cache, "models--org--name", "aaa");
  MakeRepository(cache, "models--org--name", "bbb");
  cache.Write("models--org--name/refs/main", "aaa\n");
  EXPECT_EQ(Find("org/name", {cache.path()}), cache.path() + "/models--org--name/snapshots/aaa");
}

TEST(HubCacheTest, ARepositoryWithoutAnOrganisationIsFound) {
  const TestFolder cache;
  MakeRepository(cache, "models--gpt2", "aaa");
  cache.Write("models--gpt2/refs/main", "aaa");
  EXPECT_EQ(Find("gpt2", {cache.path()}), cache.path() + "/models--gpt2/snapshots/aaa");
}

TEST(HubCacheTest, OneSnapshotNeedsNoRef) {
  const TestFolder cache;
  MakeRepository(cache, "models--org--name", "only");
  EXPECT_EQ(Find("org/name", {cache.path()}), cache.path() + "/models--org--name/snapshots/only");
  cache.Write("models--org--name/refs/main", "../../../secret");
  EXPECT_EQ(Find("org/name", {cache.path()}), cache.path() + "/models--org--name/snapshots/only");
  MakeRepository(cache, "models--org--name", "another");
  EXPECT_THAT(Find("org/name", {cache.path()}), HasSubstr("error: no model")) << "either could be meant";
}

TEST(HubCacheTest, NamesDoNotLeadOutOfTheCache) {
  const TestFolder cache;
  cache.Write("secret/snapshots/x/config.json", "{}");
  cache.Write("hub/models--org--name/snapshots/x/config.json", "{}");
  const std::string hub = cache.path() + "/hub";
  for (const std::string name :
       {"../secret", "org/..", "org/../secret", "org/name/..", "/name", "org/", "", "a/b/c", "org/name/snapshots/x"}) {
    EXPECT_THAT(Find(name, {hub}), HasSubstr("error: no model '" + name + "'")) << name;
  }
}

TEST(HubCacheTest, TheErrorSaysWhereItLooked) {
  const std::string error = Find("org/name", {"/one", "/two"});
  EXPECT_THAT(error, HasSubstr("/one/models--org--name"));
  EXPECT_THAT(error, HasSubstr("/two/models--org--name"));
  EXPECT_THAT(error, HasSubstr("nothing is downloaded"));
}

TEST(HubCacheTest, AnAdapterAloneIsNoModel) {
  const TestFolder folder;
  folder.Write("adapter_config.json", "{}");
  EXPECT_THAT(Find(folder.path(), {}), HasSubstr("holds a LoRA adapter and no model"));
  folder.Write("config.json", "{}");  // saved beside its base
  EXPECT_EQ(Find(folder.path(), {}), folder.path());
}

TEST(HubCacheTest, AFolderGoesBeforeTheCache) {
  const TestFolder folder;
  EXPECT_EQ(Find(folder.path(), {folder.path()}), folder.path());
}

}  // namespace
}  // namespace causeway::model
