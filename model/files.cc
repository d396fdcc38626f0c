#include "model/files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "model/gguf/reader.h"

namespace causeway::model {
namespace {

namespace fs = std::filesystem;

bool IsPlainName(std::string_view name) {
  return !name.empty() && name.find('/') == std::string_view::npos && name != "." && name != ".." &&
         name.find('\0') == std::string_view::npos;
}

class Mapping {
 public:
  Mapping(void* address, size_t bytes, const struct stat& status) : address_(address), bytes_(bytes), status_(status) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (bytes_ > 0) {
      ::munmap(address_, bytes_);
    }
  }
  std::span<const std::byte> view() const { return {static_cast<const std::byte*>(address_), bytes_}; }
  std::string Identity() const {
    return fmt::format("{} {} {}.{:09} {}.{:09}", status_.st_size, status_.st_ino, status_.st_mtim.tv_sec,
                       status_.st_mtim.tv_nsec, status_.st_ctim.tv_sec, status_.st_ctim.tv_nsec);
  }

 private:
  void* const address_;
  const size_t bytes_;
  const struct stat status_;  // when it was opened
};

Error FileError(const std::string& path) {
  return MakeError(ErrorCode::kNotFound, fmt::format("cannot read {}: {}", path, std::strerror(errno)));
}

Result<std::unique_ptr<Mapping>> MapFile(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    return FileError(path);
  }
  struct stat status {};
  const bool regular = ::fstat(file, &status) == 0 && S_ISREG(status.st_mode);
  const auto bytes = static_cast<size_t>(regular ? status.st_size : 0);
  void* const address = bytes > 0 ? ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0) : nullptr;
  ::close(file);
  if (!regular) {
    return MakeError(ErrorCode::kInvalidArgument, path + " is not a regular file");
  }
  if (address == MAP_FAILED) {
    return FileError(path);
  }
  // A pass over the weights spends less on address translation where the file system has huge pages. A hint:
  // refusal costs only speed.
  if (bytes > 0) {
    ::madvise(address, bytes, MADV_HUGEPAGE);
  }
  return std::make_unique<Mapping>(address, bytes, status);
}

class FolderFiles final : public ModelFiles {
 public:
  explicit FolderFiles(std::string path) : path_(std::move(path)) {}

  Result<std::span<const std::byte>> Open(std::string_view name) override {
    if (!IsPlainName(name)) {
      return MakeError(ErrorCode::kInvalidArgument, fmt::format("'{}' is not a file name", std::string(name)));
    }
    const auto found = mappings_.find(std::string(name));
    if (found != mappings_.end()) {
      return found->second->view();
    }
    ASSIGN_OR_RETURN(auto mapping, MapFile(path_ + "/" + std::string(name)));
    const auto view = mapping->view();
    mappings_.emplace(std::string(name), std::move(mapping));
    return view;
  }

  bool Has(std::string_view name) const override {
    std::error_code ignored;
    return IsPlainName(name) && fs::is_regular_file(path_ + "/" + std::string(name), ignored);
  }

  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(path_, ignored)) {
      if (entry.is_regular_file(ignored)) {
        names.push_back(entry.path().filename().string());
      }
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  std::vector<NamedBytes> Opened() const override {
    std::vector<NamedBytes> all;
    for (const auto& [name, mapping] : mappings_) {
      all.push_back({name, mapping->view()});
    }
    return all;
  }

  std::string Identity() const override {
    std::string all;
    for (const auto& [name, mapping] : mappings_) {
      all += fmt::format("{} {}\n", name, mapping->Identity());
    }
    return all;
  }

  void Evict() const override {
    for (const auto& [name, mapping] : mappings_) {
      const auto view = mapping->view();
      ::madvise(const_cast<std::byte*>(view.data()), view.size(), MADV_DONTNEED);
    }
  }

  void Evict(std::span<const std::byte> part) const override {
    const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    for (const auto& [name, mapping] : mappings_) {
      const auto view = mapping->view();
      if (!part.empty() && part.data() >= view.data() && part.data() < view.data() + view.size()) {
        const auto before = reinterpret_cast<uintptr_t>(part.data()) % page;
        ::madvise(const_cast<std::byte*>(part.data() - before), part.size() + before, MADV_DONTNEED);
      }
    }
  }

  std::string path() const override { return path_; }

 private:
  const std::string path_;
  std::map<std::string, std::unique_ptr<Mapping>> mappings_;
};

// The cache's folder of `org/name`, or of a model of the hub's early days that has no organisation; empty
// for what can be neither.
std::string HubFolder(const std::string& model) {
  const size_t slash = model.find('/');
  const std::string organisation = slash == std::string::npos ? "" : model.substr(0, slash);
  const std::string name = slash == std::string::npos ? model : model.substr(slash + 1);
  if (!IsPlainName(name) || (slash != std::string::npos && !IsPlainName(organisation))) {
    return {};
  }
  return "models--" + (organisation.empty() ? name : organisation + "--" + name);
}

// `models--org--name/refs/main` names the snapshot; without it the only one is taken.
std::string SnapshotOf(const fs::path& repository) {
  std::error_code ignored;
  std::string revision;
  std::ifstream ref(repository / "refs" / "main");
  std::getline(ref, revision);
  if (IsPlainName(revision) && fs::is_directory(repository / "snapshots" / revision, ignored)) {
    return (repository / "snapshots" / revision).string();
  }
  std::string only;
  for (const auto& entry : fs::directory_iterator(repository / "snapshots", ignored)) {
    if (!only.empty()) {
      return {};
    }
    only = entry.path().string();
  }
  return only;
}

// A folder with model.safetensors, or its index, is a Hugging Face one, whatever lies beside them. Projectors of
// multimodal models are no models of their own.
Result<ModelPlace> PlaceIn(const std::string& folder) {
  std::error_code ignored;
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name == "model.safetensors" || name == "model.safetensors.index.json") {
      return ModelPlace{folder, ""};
    }
    if (gguf::IsGgufName(name) && !name.starts_with("mmproj")) {
      names.insert(gguf::FirstOfSet(name));
    }
  }
  if (names.empty() && fs::exists(fs::path(folder) / "adapter_config.json", ignored) &&
      !fs::exists(fs::path(folder) / "config.json", ignored)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     folder + " holds a LoRA adapter and no model; serve its base, and this with --lora-modules",
                     "model");
  }
  if (names.size() > 1) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("{} holds several models; give the path of one: {}", folder, fmt::join(names, ", ")),
                     "model");
  }
  return ModelPlace{folder, names.empty() ? "" : *names.begin()};
}

}  // namespace

Result<std::unique_ptr<ModelFiles>> OpenFolder(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    return MakeError(ErrorCode::kNotFound, "no such folder: " + path, "model");
  }
  return std::unique_ptr<ModelFiles>(std::make_unique<FolderFiles>(path));
}

Result<ModelPlace> FindModel(const std::string& model, const std::vector<std::string>& hub_caches) {
  std::error_code ignored;
  if (fs::is_directory(model, ignored)) {
    return PlaceIn(model);
  }
  if (fs::exists(model, ignored)) {
    const fs::path path = model;
    if (!gguf::IsGgufName(path.filename().string())) {
      return MakeError(ErrorCode::kInvalidArgument, model + " is neither a folder nor a GGUF file (NAME.gguf)",
                       "model");
    }
    return ModelPlace{path.has_parent_path() ? path.parent_path().string() : ".",
                      gguf::FirstOfSet(path.filename().string())};
  }
  std::string looked = model;
  const std::string folder = HubFolder(model);
  if (!folder.empty()) {
    for (const std::string& cache : hub_caches) {
      const fs::path repository = fs::path(cache) / folder;
      looked += ", " + repository.string();
      const std::string snapshot = SnapshotOf(repository);
      if (!snapshot.empty()) {
        return PlaceIn(snapshot);
      }
    }
  }
  return MakeError(
      ErrorCode::kNotFound,
      fmt::format("no model '{}': looked in {}. Give a folder, a GGUF file, or org/name of a model that is "
                  "in the Hugging Face cache (nothing is downloaded)",
                  model, looked),
      "model");
}

Result<Json> ReadJsonObject(ModelFiles& files, std::string_view name) {
  ASSIGN_OR_RETURN(const auto bytes, files.Open(name));
  auto json = ParseJson(AsText(bytes));
  if (!json.ok()) {
    return json.error().WithContext(name);
  }
  if (!json->is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, std::string(name) + ": is no JSON object");
  }
  return json;
}

}  // namespace causeway::model
