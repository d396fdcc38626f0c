// Packed weights kept in a file between starts: the next one maps them instead of packing.
//
// One file for each path of a model, <name>-<hash of the path>.packed: a header, a row for each weight, the packed
// bytes as they lie in memory, at whole pages. What is in it is used only if all of this holds, else it is packed and
// written anew:
// - the model's files are those it was made from, by size, inode, and times of the last change of content and of state:
//   a copy, a download or an edit in place is another one, whatever it holds (it costs one packing; reading all of the
//   source to be sure of less would cost as much as there is to save);
// - samples of the rows that would be packed, three for each weight, and the layout's version (kernels/packed.h) agree;
// - header and every weight have the checksum that they were written with.
// Writing is atomic (a temporary file, synced and renamed; one process at a time, the others go without) and takes the
// packed bytes and no more, reserved at the start. Nothing that goes wrong here is more than a warning.
//
// Used by the loading thread; any number of processes may share a folder.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/weight_view.h"
#include "memory/tier/file_ops.h"
#include "model/packed_memory.h"

namespace causeway::model {

// One packed weight: what it is made of, and as how many bytes.
struct RepackPart {
  kernels::FormatId format;  // of the source
  int64_t rows;
  int64_t columns;
  int64_t source_bytes;
  int64_t bytes;    // packed
  uint64_t sample;  // of the source: its beginning, middle and end
};

class RepackCache {
 public:
  // `model` is where the model lies, `identity` what its files are (ModelFiles::Identity). The folder is made when
  // something is written.
  RepackCache(memory::FileOps& ops, std::string folder, const std::string& model, std::string_view identity);

  std::string file() const { return file_; }
  // Reads some pages of the weight, which is in rows of a format that is packed.
  // `made_of`: what its rows will be made of, which are not written yet; empty: the rows themselves are read.
  static RepackPart Describe(const kernels::WeightView& weight, std::span<const std::byte> made_of = {});
  // Where part i lies in the mapped file, at whole pages; then where the file ends.
  static std::vector<int64_t> OffsetsOf(std::span<const RepackPart> parts);

  // The file, mapped, if it holds just these parts. kNotFound: there is none; kFailedPrecondition: it is of other
  // weights or damaged, or cannot be read.
  Result<PackedMemory> Map(std::span<const RepackPart> parts, ThreadPool& pool) const;

  // A file in the making. What is not finished is removed.
  class Writer {
   public:
    Writer(Writer&&) noexcept;
    Writer& operator=(Writer&&) = delete;
    ~Writer();
    // Part `index`, in any order; the caller's bytes are free afterwards.
    Result<void> Write(size_t index, std::span<const std::byte> bytes);
    // After all parts: from here on the file is what Map finds.
    Result<void> Finish();

   private:
    friend class RepackCache;
    struct State;
    explicit Writer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
  };
  // kResourceExhausted: no room on the disk, or another process writes the same file; kFailedPrecondition: anything
  // else.
  Result<Writer> Begin(std::span<const RepackPart> parts) const;

 private:
  memory::FileOps& ops_;
  std::string folder_;
  std::string file_;
  uint64_t identity_;
};

}  // namespace causeway::model
