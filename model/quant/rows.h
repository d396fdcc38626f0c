// From the tensors of a quantized checkpoint to rows of registered formats: what the readers of all dialects share.
//
// A reader takes its tensors, says where the codes and scales of a matrix lie (CodedMatrix), and puts it. Everything is
// checked before it is read; what a tensor's size says is bounded by the bytes it has. Used by the loading thread; the
// rows of a matrix are written by several.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/quant/group_blocks.h"
#include "model/checkpoint.h"
#include "model/config.h"

namespace causeway::model::quant {

// Reads some columns of rows [row, row + count), row a multiple of 16 and count at most 16: columns[i] for each i, as
// panels want them (kernels/pack.h), [ceil(columns / 4)][16] quads, zeros where no row or column is.
using QuadReader = std::function<void(int64_t row, int64_t count, std::span<const int32_t> columns, uint32_t* quads)>;

// [rows, columns] of codes, one byte each, and a scale for each row_run x run of them; runs at the edges may be cut.
struct CodedMatrix {
  int64_t rows = 0;
  int64_t columns = 0;
  kernels::GroupCode code = kernels::GroupCode::kUniform;
  int bits = 8;  // of a code of kUniform
  int64_t row_run = 1;
  int64_t run = 0;
  std::vector<float> scales;      // [ceil(rows / row_run), ceil(columns / run)]
  std::vector<uint8_t> zeros;     // like scales; empty: `zero` everywhere
  uint8_t zero = 0;               // of kUniform
  bool about_middle = false;      // of kUniform: all zeros are 2^(bits - 1)
  std::span<const uint8_t> fine;  // kMXFP4, kNVFP4: [rows, columns / 32 or 16]
  // Act-order: the run that each column belongs to, [columns], where that is not column / run.
  std::vector<int32_t> run_of;
  // Fills scales, and zeros, when the rows are written; null: they are there. Owns what it reads, but for the files.
  std::function<void(CodedMatrix& matrix)> complete;
  std::span<const std::byte> source;  // of the codes
  // Of these one, by any thread. It owns what it reads, but for `source`.
  // Row by row in the source: rows [begin, end) as [end - begin, columns] codes. begin is a multiple of 64.
  std::function<void(int64_t begin, int64_t end, uint8_t* codes)> read;
  // Column by column.
  QuadReader read_quads;
  // The same of a source of 32-bit words, [row_words][rows], each with codes of one row: from a copy of the words of
  // `count` rows, [row_words][16]. Where columns are in act-order, rows are packed from such copies.
  int64_t row_words = 0;
  std::function<void(const std::byte* words, int64_t count, std::span<const int32_t> columns, uint32_t* quads)>
      read_copied;

  int64_t RunsInRow() const { return (columns + run - 1) / run; }
  int64_t RowRuns() const { return (rows + row_run - 1) / row_run; }
  size_t Runs() const { return static_cast<size_t>(RowRuns() * RunsInRow()); }
};

// Fraction of all tensors' bytes read so far.
using Progress = std::function<void(double fraction)>;

class TensorSource {
 public:
  TensorSource(Checkpoint& checkpoint, Progress progress, RowsWritten when);

  // What stands before `ending` in the names of tensors that end so.
  std::vector<std::string> Modules(std::string_view ending) const;
  bool Has(const std::string& name) const { return checkpoint_.tensors.contains(name); }
  bool HasValues(const std::string& name) const;
  void Remove(const std::string& name) { checkpoint_.tensors.erase(name); }
  // Takes a tensor out of the checkpoint, of one of these types (none: any) and of at least one value.
  Result<Tensor> Take(const std::string& name, const std::vector<std::string_view>& dtypes);
  // As Take, with exactly this shape; a size of -1 fits any.
  Result<Tensor> Take(const std::string& name, const std::vector<std::string_view>& dtypes,
                      const std::vector<int64_t>& shape);
  // Removes what no one reads: all tensors whose names end so.
  void Drop(std::initializer_list<std::string_view> endings);

  // Writes rows of the registered format that holds this exactly, as `module`.weight. Columns in act-order are stored
  // run by run and their order kept. Rows that no format holds, of lengths or runs that are no multiple of 32, become
  // float32.
  Result<void> Put(const std::string& module, CodedMatrix matrix);
  // `bytes` as a tensor of the checkpoint, kept by it.
  Result<void> PutBytes(const std::string& name, std::string_view dtype, std::vector<int64_t> shape,
                        std::vector<std::byte> bytes);

  // Of `module`.weight: stored column i is column order[i]; outliers to be added to its rows, columns as stored.
  void PutOrder(const std::string& module, std::vector<int32_t> order) {
    checkpoint_.column_orders.emplace(module + ".weight", std::move(order));
  }
  void PutTerm(const std::string& module, SparseMatrix outliers) {
    checkpoint_.terms.emplace(module + ".weight", std::move(outliers));
  }

  // The inputs of `module` are to be rounded so.
  void RoundInputs(const std::string& module, const kernels::InputRounding& rounding) {
    checkpoint_.input_roundings.emplace(module + ".weight", rounding);
  }

  WeightConventions& conventions() { return checkpoint_.conventions; }
  const Json& config() const { return checkpoint_.config; }
  ThreadPool& pool() { return pool_; }

 private:
  Result<void> PutTensor(const std::string& name, Tensor tensor);

  Checkpoint& checkpoint_;
  Progress progress_;
  const RowsWritten when_;
  int64_t total_bytes_ = 0;
  int64_t taken_bytes_ = 0;
  ThreadPool pool_;
  // Of the embedding and the head, as far as they are coded: builders compare one with the other, so both are written.
  std::vector<size_t> compared_;
};

// Values of F32, F16, BF16, F8_E4M3 or powers of two (F8_E8M0, U8) as float32.
std::vector<float> FloatsOf(const Tensor& tensor);
inline const std::vector<std::string_view> kFloats = {"F32", "F16", "BF16"};

// All columns, from the first one on.
std::vector<int32_t> ColumnsInOrder(int64_t columns);
// Rows [begin, end) as [end - begin, columns] codes; begin is a multiple of 16.
void UnpackRows(const QuadReader& read, int64_t begin, int64_t end, std::span<const int32_t> columns, uint8_t* codes);

// Values of I32; unaligned.
std::vector<int32_t> IntsOf(const Tensor& tensor);

// The scales of `matrix`, whose sizes are set, from a tensor of one value, of one for each row, or of one for each run
// ([rows, runs]) of `run` columns, or for each `row_run` x `run` block. Sets row_run, run and what completes the
// scales.
Result<void> SetScales(const std::string& name, const Tensor& tensor, int64_t row_run, int64_t run,
                       CodedMatrix& matrix);
// Checks that `run_of` names runs of the matrix, and drops it if it says nothing.
Result<void> SetOrder(const std::string& name, std::vector<int32_t> run_of, CodedMatrix& matrix);

Error Wrong(const std::string& name, std::string_view what);
std::string ShapeText(const std::vector<int64_t>& shape);

}  // namespace causeway::model::quant
