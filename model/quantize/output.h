// Files that appear whole or not at all: written under another name in the same folder, and renamed when they are done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace causeway::model::quantize {

// A file or a folder that is being made beside its final place. Removed by the destructor if it was not finished.
class Output {
 public:
  // kFailedPrecondition: `destination` is there already and may not be replaced, its parent is not, or it cannot be
  // written; kInvalidArgument: replacing would remove what is no model (a folder without config.json).
  static Result<Output> Create(const std::string& destination, bool is_folder, bool replace);
  ~Output();
  Output(Output&& other) noexcept;
  Output& operator=(Output&&) = delete;

  // Where to write until then.
  const std::string& path() const { return path_; }
  // Moves it to its place, over what was there.
  Result<void> Finish();

 private:
  Output(std::string destination, std::string path, bool is_folder);

  std::string destination_;
  std::string path_;
  bool is_folder_ = false;
  bool finished_ = false;
};

// Writes a file from its beginning to its end. Errors name the path and say when the disk is full.
class FileWriter {
 public:
  static Result<FileWriter> Open(const std::string& path);
  ~FileWriter();
  FileWriter(FileWriter&& other) noexcept;
  FileWriter& operator=(FileWriter&&) = delete;

  Result<void> Write(std::span<const std::byte> bytes);
  Result<void> Write(std::string_view text) { return Write(std::as_bytes(std::span(text.data(), text.size()))); }
  // Flushes to the disk and closes.
  Result<void> Close();
  int64_t written() const { return written_; }

 private:
  FileWriter(std::string path, int file) : path_(std::move(path)), file_(file) {}
  Error Failed() const;

  std::string path_;
  int file_ = -1;
  int64_t written_ = 0;
};

}  // namespace causeway::model::quantize
