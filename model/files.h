// The files of a model as named byte views: a folder (mapped, never copied) or the built-in model.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace causeway::model {

// Views stay valid for the life of the object. Const after construction but for the mappings it opens;
// used by the loading thread.
class ModelFiles {
 public:
  virtual ~ModelFiles() = default;
  // The whole file. kNotFound if there is none; names with a path separator are refused.
  virtual Result<std::span<const std::byte>> Open(std::string_view name) = 0;
  virtual bool Has(std::string_view name) const = 0;
  // Of all files that are there, in order; none where they have no names of their own (the built-in model).
  virtual std::vector<std::string> Names() const { return {}; }
  // What was opened so far, by name.
  struct NamedBytes {
    std::string name;
    std::span<const std::byte> bytes;
  };
  virtual std::vector<NamedBytes> Opened() const { return {}; }
  // What was opened so far, as text that is another one when a file is replaced or changed: sizes, inodes, times of the
  // last change as they were when it was opened. Empty: files that cannot change.
  virtual std::string Identity() const { return {}; }
  // Lets the system take the memory that the opened files fill; reading them brings it back. Any thread.
  virtual void Evict() const {}
  // The same of the pages that hold some bytes, if they are those of an opened file.
  virtual void Evict(std::span<const std::byte> /*part*/) const {}
  // For messages and /v1/models: the folder, or empty for the built-in model.
  virtual std::string path() const = 0;
};

Result<std::unique_ptr<ModelFiles>> OpenFolder(const std::string& path);
std::unique_ptr<ModelFiles> BuiltinFiles();  // model/builtin: fable

// Where a model's files lie.
struct ModelPlace {
  std::string folder;
  std::string gguf;  // the (first) GGUF file in it; empty: a Hugging Face folder
};

// A folder or a GGUF file as given, or the snapshot of `org/name` in one of the Hugging Face caches; the error lists
// where it looked. A folder without model.safetensors, or its index, that holds one model as GGUF is that model; one
// that holds several is an error that names them.
Result<ModelPlace> FindModel(const std::string& model, const std::vector<std::string>& hub_caches);

// The JSON object that a file holds; errors name the file.
Result<Json> ReadJsonObject(ModelFiles& files, std::string_view name);

inline std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace causeway::model
