#include "model/quant/rows.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/free_memory.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "kernels/pack.h"
#include "kernels/packed.h"
#include "kernels/quant/group_codes.h"

namespace causeway::model::quant {
namespace {

using kernels::GroupBlock;
using kernels::GroupCode;
using kernels::GroupScale;

constexpr int64_t kStripRows = 64;
constexpr int64_t kStripColumns = 128;              // the longest block
constexpr int64_t kSerialBytes = int64_t{1} << 22;  // below this threads cost more than they save

// The formats have 2, 3, 4 and 8 bits.
int BitsOfFormat(const CodedMatrix& matrix) {
  switch (matrix.code) {
    case GroupCode::kUniform:
    case GroupCode::kSigned: return matrix.bits > 4 ? 8 : matrix.bits;
    case GroupCode::kInt8:
    case GroupCode::kE4M3: return 8;
    default: return 4;
  }
}

LateRows::SourceOrder SourceOrderOf(const CodedMatrix& matrix) {
  using enum LateRows::SourceOrder;
  return !matrix.read_quads ? kRows : matrix.run_of.empty() ? kColumns : kLines;
}

// Where the columns of a row are stored, and how long the stretches are that share a scale.
struct ColumnPlan {
  std::span<const int32_t> order;     // stored column -> column; empty: as they are
  std::vector<int64_t> run_at;        // of each block
  const GroupBlock* block = nullptr;  // null: rows become float32

  kernels::FormatId Format() const { return block == nullptr ? kernels::FormatId::kF32 : block->id; }
};

// How many columns each run has, in act-order.
std::vector<int64_t> ColumnsOfRuns(const CodedMatrix& matrix) {
  std::vector<int64_t> counts(static_cast<size_t>(matrix.RunsInRow()));
  for (const int32_t run : matrix.run_of) {
    ++counts[static_cast<size_t>(run)];
  }
  return counts;
}

int64_t SharedStretch(const CodedMatrix& matrix) {
  if (matrix.run_of.empty()) {
    return std::gcd(matrix.run, matrix.columns);
  }
  const std::vector<int64_t> counts = ColumnsOfRuns(matrix);
  return std::accumulate(counts.begin(), counts.end(), int64_t{0}, std::gcd<int64_t, int64_t>);
}

// Uniform codes about the middle need no zero points, where a block without them is as long.
const GroupBlock* FindBlock(const CodedMatrix& matrix) {
  const int bits = BitsOfFormat(matrix);
  const int64_t stretch = SharedStretch(matrix);
  const GroupBlock* const block = kernels::FindGroupBlock(matrix.code, bits, stretch);
  if (matrix.code == GroupCode::kUniform && matrix.about_middle && block != nullptr && bits == matrix.bits) {
    const GroupBlock* const about_middle = kernels::FindGroupBlock(GroupCode::kSigned, bits, stretch);
    return about_middle != nullptr && about_middle->elements == block->elements ? about_middle : block;
  }
  return block;
}

// The columns run by run.
std::vector<int32_t> OrderOf(const CodedMatrix& matrix) {
  std::vector<int64_t> next = ColumnsOfRuns(matrix);
  std::exclusive_scan(next.begin(), next.end(), next.begin(), int64_t{0});
  std::vector<int32_t> order(matrix.run_of.size());
  for (size_t i = 0; i < order.size(); ++i) {
    order[static_cast<size_t>(next[static_cast<size_t>(matrix.run_of[i])]++)] = static_cast<int32_t>(i);
  }
  return order;
}

// `order` is kept elsewhere as long as the plan is used.
ColumnPlan PlanColumns(const CodedMatrix& matrix, const GroupBlock* block, std::span<const int32_t> order) {
  ColumnPlan plan{.order = order, .run_at = {}, .block = block};
  if (block == nullptr) {
    return plan;
  }
  for (int64_t at = 0; at < matrix.columns; at += plan.block->elements) {
    plan.run_at.push_back(plan.order.empty() ? at / matrix.run
                                             : matrix.run_of[static_cast<size_t>(plan.order[static_cast<size_t>(at)])]);
  }
  return plan;
}

// What blocks [begin, end) of a row hold beside their codes.
void ScaleBlocks(const CodedMatrix& matrix, const ColumnPlan& plan, int64_t row, int64_t begin, int64_t end,
                 GroupScale* blocks) {
  const int64_t first = row / matrix.row_run * matrix.RunsInRow();
  const int64_t fine_run = kernels::FineRun(matrix.code);
  const int64_t fine_step = fine_run == 0 ? 0 : plan.block->elements / fine_run;
  const uint8_t* fine =
      fine_run == 0 ? nullptr : matrix.fine.data() + row * (matrix.columns / fine_run) + begin * fine_step;
  for (int64_t i = begin; i < end; ++i, ++blocks, fine += fine_step) {
    const auto run = static_cast<size_t>(first + plan.run_at[static_cast<size_t>(i)]);
    *blocks = {matrix.scales[run], matrix.zeros.empty() ? matrix.zero : matrix.zeros[run], fine};
  }
}

void WriteBlocks(const ColumnPlan& plan, const GroupScale* blocks, const uint8_t* codes, std::byte* target) {
  const GroupBlock& block = *plan.block;
  for (size_t i = 0; i < plan.run_at.size(); ++i) {
    block.pack(codes, blocks[i], target);
    codes += block.elements;
    target += kernels::FormatOf(block.id).block_bytes;
  }
}

void WriteFloats(const CodedMatrix& matrix, int64_t row, const uint8_t* codes, std::byte* target) {
  const int64_t fine_run = kernels::FineRun(matrix.code);
  for (int64_t column = 0; column < matrix.columns; ++column) {
    const int64_t run = matrix.run_of.empty() ? column / matrix.run : matrix.run_of[static_cast<size_t>(column)];
    const auto index = static_cast<size_t>(row / matrix.row_run * matrix.RunsInRow() + run);
    float scale = matrix.scales[index];
    if (fine_run > 0) {
      const auto fine = static_cast<size_t>(row * (matrix.columns / fine_run) + column / fine_run);
      scale = kernels::FineScale(matrix.code, matrix.fine[fine], scale);
    }
    const uint8_t zero = matrix.zeros.empty() ? matrix.zero : matrix.zeros[index];
    const float value = kernels::DecodeCode(matrix.code, codes[column], scale, zero);
    std::memcpy(target + column * static_cast<int64_t>(sizeof(float)), &value, sizeof(value));
  }
}

// The codes of some rows, columns as they are stored.
void ReadStrip(const CodedMatrix& matrix, const ColumnPlan& plan, int64_t begin, int64_t end, uint8_t* codes) {
  if (matrix.read_quads) {
    return UnpackRows(matrix.read_quads, begin, end, plan.order, codes);
  }
  matrix.read(begin, end, codes);
  if (!plan.order.empty()) {
    std::vector<uint8_t> row(plan.order.size());
    for (; begin < end; ++begin, codes += matrix.columns) {
      std::memcpy(row.data(), codes, row.size());
      for (size_t i = 0; i < row.size(); ++i) {
        codes[i] = row[static_cast<size_t>(plan.order[i])];
      }
    }
  }
}

// Reads [first, last) in strips and hands on each: take(begin, end, codes, blocks), where the rows are blocks one for
// each of them, [end - begin, blocks of a row].
template <typename Take>
void ForStrips(const CodedMatrix& matrix, const ColumnPlan& plan, int64_t first, int64_t last, Take take) {
  const auto blocks_in_row = static_cast<int64_t>(plan.run_at.size());
  const auto codes = std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(kStripRows * matrix.columns));
  std::vector<GroupScale> blocks(static_cast<size_t>(kStripRows * blocks_in_row));
  for (int64_t begin = first; begin < last; begin += kStripRows) {
    const int64_t end = std::min(begin + kStripRows, last);
    ReadStrip(matrix, plan, begin, end, codes.get());
    if (plan.block != nullptr) {
      for (int64_t row = begin; row < end; ++row) {
        ScaleBlocks(matrix, plan, row, 0, blocks_in_row, blocks.data() + (row - begin) * blocks_in_row);
      }
    }
    take(begin, end, codes.get(), blocks.data());
  }
}

void MakeRows(const CodedMatrix& matrix, const ColumnPlan& plan, int64_t first, int64_t last, std::byte* rows) {
  const int64_t row_bytes = kernels::BytesOf(plan.Format(), matrix.columns);
  ForStrips(matrix, plan, first, last, [&](int64_t begin, int64_t end, const uint8_t* codes, const GroupScale* blocks) {
    for (int64_t row = begin; row < end; ++row, codes += matrix.columns, rows += row_bytes) {
      if (plan.block == nullptr) {
        WriteFloats(matrix, row, codes, rows);
      } else {
        WriteBlocks(plan, blocks, codes, rows);
        blocks += plan.run_at.size();
      }
    }
  });
}

// Of a matrix that is read column by column, at most kStripColumns of one panel, in whole blocks. `read` reads its
// codes as read_quads does.
template <typename Read>
void MakeColumns(const CodedMatrix& matrix, const ColumnPlan& plan, const LateRows::Part& part, Read read,
                 std::byte* panel) {
  constexpr int64_t kRows = kernels::kPanelRows;
  uint32_t quads[kStripColumns / 4 * kRows];
  GroupScale blocks[kStripColumns / kernels::kGroup * kRows];
  const int64_t rows = part.end - part.begin;
  const int64_t count = part.last_column - part.first_column;
  const auto columns = plan.order.subspan(static_cast<size_t>(part.first_column), static_cast<size_t>(count));
  read(part.begin, rows, columns, quads);
  const int64_t block = part.first_column / plan.block->elements;
  const int64_t blocks_here = count / plan.block->elements;
  for (int64_t i = 0; i < rows; ++i) {
    ScaleBlocks(matrix, plan, part.begin + i, block, block + blocks_here, blocks + i * blocks_here);
  }
  std::fill(blocks + rows * blocks_here, blocks + kRows * blocks_here, GroupScale{.scale = 0.0F});
  kernels::PackColumns({plan.Format(), matrix.columns, part.first_column, count, quads, blocks}, panel);
}

int64_t PanelBytes(const CodedMatrix& matrix, const ColumnPlan& plan) {
  return kernels::PackedBytes(kernels::PackingOf(plan.Format()), kernels::kPanelRows, matrix.columns);
}

// The same columns of neighbouring panels read the same lines of the source.
void MakePanelsOfColumns(const CodedMatrix& matrix, const ColumnPlan& plan, const LateRows::Part& part,
                         std::byte* panels) {
  constexpr int64_t kRows = kernels::kPanelRows;
  const int64_t panel_bytes = PanelBytes(matrix, plan);
  for (int64_t column = part.first_column; column < part.last_column; column += kStripColumns) {
    const int64_t last_column = std::min(column + kStripColumns, part.last_column);
    for (int64_t row = part.begin; row < part.end; row += kRows) {
      MakeColumns(matrix, plan, {row, std::min(row + kRows, part.end), column, last_column},
                  std::cref(matrix.read_quads), panels + (row - part.begin) / kRows * panel_bytes);
    }
  }
}

constexpr int64_t kWordBytes = sizeof(uint32_t);
constexpr int64_t kCopiedLine = kernels::kPanelRows * kWordBytes;

// What read_copied reads of a panel's rows lies at the panel's beginning.
void GatherLines(const CodedMatrix& matrix, const ColumnPlan& plan, const LateRows::Lines& part, std::byte* panels) {
  constexpr int64_t kRows = kernels::kPanelRows;
  constexpr int64_t kTogether = 8;  // lines, so that a panel's are not written one cache line at a time
  const int64_t panel_bytes = PanelBytes(matrix, plan);
  for (int64_t first = part.first; first < part.last; first += kTogether) {
    const int64_t last = std::min(first + kTogether, part.last);
    for (int64_t row = part.begin; row < part.end; row += kRows) {
      const auto bytes = static_cast<size_t>(std::min(kRows, part.end - row) * kWordBytes);
      std::byte* const panel = panels + (row - part.begin) / kRows * panel_bytes;
      for (int64_t line = first; line < last; ++line) {
        std::memcpy(panel + line * kCopiedLine, matrix.source.data() + (line * matrix.rows + row) * kWordBytes, bytes);
      }
    }
  }
}

// Whether all lines of a panel's rows fit where the panel will be. They do for all that GPTQ has: packed codes take as
// many bits as the source's.
bool HasRoomToGather(const CodedMatrix& matrix, const ColumnPlan& plan) {
  return plan.block != nullptr && kernels::PackingOf(plan.Format()).kind != kernels::PackedKind::kNone &&
         matrix.row_words * kCopiedLine <= PanelBytes(matrix, plan);
}

void MakePanelsOfGathered(const CodedMatrix& matrix, const ColumnPlan& plan, const LateRows::Part& part,
                          std::byte* panels) {
  constexpr int64_t kRows = kernels::kPanelRows;
  const int64_t panel_bytes = PanelBytes(matrix, plan);
  const auto copied_bytes = static_cast<size_t>(matrix.row_words * kCopiedLine);
  const auto copied = std::make_unique_for_overwrite<std::byte[]>(copied_bytes);
  const auto read = [&](int64_t, int64_t count, std::span<const int32_t> columns, uint32_t* quads) {
    matrix.read_copied(copied.get(), count, columns, quads);
  };
  for (int64_t row = part.begin; row < part.end; row += kRows, panels += panel_bytes) {
    std::memcpy(copied.get(), panels, copied_bytes);
    std::memset(panels, 0, copied_bytes);  // as it was before: what no code and no scale fills is zeros
    for (int64_t column = 0; column < matrix.columns; column += kStripColumns) {
      MakeColumns(matrix, plan,
                  {row, std::min(row + kRows, part.end), column, std::min(column + kStripColumns, matrix.columns)},
                  read, panels);
    }
  }
}

void MakePanels(const CodedMatrix& matrix, const ColumnPlan& plan, const LateRows::Part& part, std::byte* panels) {
  if (matrix.read_quads) {
    return MakePanelsOfColumns(matrix, plan, part, panels);
  }
  CHECK(part.first_column == 0 && part.last_column == matrix.columns);
  const kernels::Packing packing = kernels::PackingOf(plan.Format());
  const auto pack = [&](int64_t begin, int64_t end, const uint8_t* codes, const GroupScale* blocks) {
    kernels::PackPanels(kernels::CodedRows{plan.Format(), end - begin, matrix.columns, codes, blocks},
                        panels + kernels::PackedBytes(packing, begin - part.begin, matrix.columns));
  };
  ForStrips(matrix, plan, part.begin, part.end, pack);
}

// What rows are made of.
struct Making {
  CodedMatrix matrix;
  ColumnPlan plan;
  std::vector<int32_t> in_order;  // the plan's, where columns stay as they are
};

LateRows::Maker MakerOf(const CodedMatrix& matrix, const ColumnPlan& plan) {
  const auto making = std::make_shared<Making>(matrix, plan);
  CodedMatrix& whole = making->matrix;
  if (whole.complete) {
    whole.complete(whole);
  }
  CHECK(whole.scales.size() == whole.Runs() && (whole.zeros.empty() || whole.zeros.size() == whole.Runs()));
  LateRows::Maker maker;
  maker.rows = [making](int64_t first, int64_t last, std::byte* rows) {
    MakeRows(making->matrix, making->plan, first, last, rows);
  };
  if (plan.order.empty() || !matrix.read_quads) {
    maker.panels = [making](const LateRows::Part& part, std::byte* panels) {
      MakePanels(making->matrix, making->plan, part, panels);
    };
  } else if (HasRoomToGather(matrix, plan)) {
    maker.gather = [making](const LateRows::Lines& part, std::byte* panels) {
      GatherLines(making->matrix, making->plan, part, panels);
    };
    maker.panels = [making](const LateRows::Part& part, std::byte* panels) {
      MakePanelsOfGathered(making->matrix, making->plan, part, panels);
    };
  }
  if (whole.read_quads && plan.order.empty()) {
    making->in_order = ColumnsInOrder(whole.columns);
    making->plan.order = making->in_order;
  }
  return maker;
}

int64_t BytesIn(const TensorMap& tensors) {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) {
    bytes += static_cast<int64_t>(tensor.data.size());
  }
  return bytes;
}

}  // namespace

std::vector<int32_t> ColumnsInOrder(int64_t columns) {
  std::vector<int32_t> order(static_cast<size_t>(columns));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

void UnpackRows(const QuadReader& read, int64_t begin, int64_t end, std::span<const int32_t> columns, uint8_t* codes) {
  constexpr int64_t kRows = kernels::kPanelRows;
  std::vector<uint32_t> quads((columns.size() + 3) / 4 * kRows);
  for (int64_t row = begin; row < end; row += kRows) {
    const int64_t rows = std::min(kRows, end - row);
    read(row, rows, columns, quads.data());
    for (int64_t i = 0; i < rows; ++i, codes += columns.size()) {
      for (size_t at = 0; at < columns.size(); at += 4) {
        const uint32_t& quad = quads[at / 4 * kRows + static_cast<size_t>(i)];
        std::memcpy(codes + at, &quad, std::min(sizeof(quad), columns.size() - at));
      }
    }
  }
}

Error Wrong(const std::string& name, std::string_view what) {
  return MakeError(ErrorCode::kInvalidArgument, fmt::format("tensor {}: {}", name, what));
}

std::string ShapeText(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

TensorSource::TensorSource(Checkpoint& checkpoint, Progress progress, RowsWritten when)
    : checkpoint_(checkpoint),
      progress_(std::move(progress)),
      when_(when),
      total_bytes_(BytesIn(checkpoint.tensors)),
      pool_({.threads = total_bytes_ < kSerialBytes ? 1 : 0, .pin = false}) {}

std::vector<std::string> TensorSource::Modules(std::string_view ending) const {
  std::vector<std::string> modules;
  for (const auto& [name, tensor] : checkpoint_.tensors) {
    if (name.ends_with(ending)) {
      modules.push_back(name.substr(0, name.size() - ending.size()));
    }
  }
  return modules;
}

bool TensorSource::HasValues(const std::string& name) const {
  const auto it = checkpoint_.tensors.find(name);
  return it != checkpoint_.tensors.end() && !it->second.data.empty();
}

Result<Tensor> TensorSource::Take(const std::string& name, const std::vector<std::string_view>& dtypes) {
  const auto it = checkpoint_.tensors.find(name);
  if (it == checkpoint_.tensors.end()) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("tensor {} is missing", name));
  }
  Tensor tensor = it->second;
  if (!dtypes.empty() && std::find(dtypes.begin(), dtypes.end(), tensor.dtype) == dtypes.end()) {
    return Wrong(name, fmt::format("its type is {}, not {}", tensor.dtype, fmt::join(dtypes, " or ")));
  }
  if (tensor.data.empty()) {
    return Wrong(name, "it has no values");
  }
  checkpoint_.tensors.erase(it);
  taken_bytes_ += static_cast<int64_t>(tensor.data.size());
  return tensor;
}

Result<Tensor> TensorSource::Take(const std::string& name, const std::vector<std::string_view>& dtypes,
                                  const std::vector<int64_t>& shape) {
  ASSIGN_OR_RETURN(Tensor tensor, Take(name, dtypes));
  const bool fits = std::equal(shape.begin(), shape.end(), tensor.shape.begin(), tensor.shape.end(),
                               [](int64_t wanted, int64_t got) { return wanted == -1 || wanted == got; });
  if (!fits) {
    return Wrong(name, fmt::format("its shape is {}, not {} (-1: any)", ShapeText(tensor.shape), ShapeText(shape)));
  }
  return tensor;
}

void TensorSource::Drop(std::initializer_list<std::string_view> endings) {
  std::erase_if(checkpoint_.tensors, [&](const auto& item) {
    return std::any_of(endings.begin(), endings.end(),
                       [&](std::string_view ending) { return item.first.ends_with(ending); });
  });
}

Result<void> TensorSource::PutTensor(const std::string& name, Tensor tensor) {
  checkpoint_.tensors.emplace(name, std::move(tensor));
  if (progress_ && total_bytes_ > 0) {
    progress_(static_cast<double>(taken_bytes_) / static_cast<double>(total_bytes_));
  }
  return {};
}

Result<void> TensorSource::PutBytes(const std::string& name, std::string_view dtype, std::vector<int64_t> shape,
                                    std::vector<std::byte> bytes) {
  if (Has(name)) {
    return Wrong(name, "it is there twice, quantized and as it is");
  }
  const std::vector<std::byte>& owned = checkpoint_.owned.emplace_back(std::move(bytes));
  return PutTensor(name, {std::string(dtype), std::move(shape), owned});
}

Result<void> TensorSource::Put(const std::string& module, CodedMatrix matrix) {
  CHECK(matrix.rows > 0 && matrix.columns > 0 && matrix.run > 0 && matrix.row_run > 0);
  CHECK(matrix.complete != nullptr || matrix.scales.size() == matrix.Runs());
  const std::string name = module + ".weight";
  const GroupBlock* const block = FindBlock(matrix);
  // GPT-2's own float weights are [in, out]; a float32 matrix that is not would be taken for one of them.
  const auto type = config().find("model_type");
  if (block == nullptr && type != config().end() && *type == "gpt2") {
    return MakeError(ErrorCode::kUnsupported,
                     fmt::format("tensor {}: quantized rows of {} values, or runs of {}, are not served in gpt2", name,
                                 matrix.columns, matrix.run));
  }
  if (Has(name)) {
    return Wrong(name, "it is there twice, quantized and as it is");
  }
  const LateRows::SourceOrder source_order = SourceOrderOf(matrix);
  std::span<const int32_t> order;
  if (block != nullptr && !matrix.run_of.empty()) {
    order = checkpoint_.column_orders.emplace(name, OrderOf(matrix)).first->second;
  }
  const ColumnPlan plan = PlanColumns(matrix, block, order);
  if (block != nullptr) {
    FreeMemory(matrix.run_of);  // the plan says it, and models have four bytes of it a column of each matrix
  }
  const kernels::WeightFormat& format = kernels::FormatOf(plan.Format());
  const LateRows::Shape shape{.rows = matrix.rows,
                              .row_bytes = kernels::BytesOf(format.id, matrix.columns),
                              .together = kStripRows,
                              .source_order = source_order,
                              .columns = matrix.columns,
                              .columns_together = block == nullptr ? 1 : block->elements,
                              .lines = matrix.row_words};
  const std::vector<int64_t> sizes = {matrix.rows, matrix.columns};
  const std::span<const std::byte> source = matrix.source;
  auto shared = std::make_shared<const CodedMatrix>(std::move(matrix));  // std::function must be copyable
  LateRows& late =
      checkpoint_.late.emplace_back(shape, source, [shared, plan = plan] { return MakerOf(*shared, plan); });
  if (when_ == RowsWritten::kNow) {
    late.WriteNow(pool_);
  } else if (name.ends_with("lm_head.weight") || name.ends_with("embed_tokens.weight")) {
    compared_.push_back(checkpoint_.late.size() - 1);
    if (compared_.size() > 1) {
      std::for_each(compared_.begin(), compared_.end(), [&](size_t i) { checkpoint_.late[i].WriteNow(pool_); });
    }
  }
  return PutTensor(name, {std::string(format.dtype), sizes, late.rows()});
}

std::vector<float> FloatsOf(const Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  if (const kernels::WeightFormat* format = kernels::FindFormat(tensor.dtype); format != nullptr) {
    format->decode(tensor.data.data(), values.data(), tensor.elements());
    return values;
  }
  CHECK(tensor.data.size() == values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const auto code = static_cast<uint8_t>(tensor.data[i]);
    values[i] = tensor.dtype == "F8_E4M3" ? kernels::E4M3ToFloat(code) : kernels::E8M0ToFloat(code);
  }
  return values;
}

std::vector<int32_t> IntsOf(const Tensor& tensor) {
  std::vector<int32_t> values(tensor.data.size() / sizeof(int32_t));
  std::memcpy(values.data(), tensor.data.data(), values.size() * sizeof(int32_t));
  return values;
}

Result<void> SetScales(const std::string& name, const Tensor& tensor, int64_t row_run, int64_t run,
                       CodedMatrix& matrix) {
  const bool one = tensor.elements() == 1 && row_run >= matrix.rows && run >= matrix.columns;
  matrix.row_run = std::clamp<int64_t>(row_run, 1, matrix.rows);
  matrix.run = std::clamp<int64_t>(run, 1, matrix.columns);
  const std::vector<int64_t> wanted = {matrix.RowRuns(), matrix.RunsInRow()};
  const bool vector = wanted[1] == 1 && tensor.shape == std::vector<int64_t>{wanted[0]};
  if (!one && !vector && tensor.shape != wanted) {
    return Wrong(name, fmt::format("its shape is {}, not {} for {} x {} values with one for each {} x {}",
                                   ShapeText(tensor.shape), ShapeText(wanted), matrix.rows, matrix.columns,
                                   matrix.row_run, matrix.run));
  }
  matrix.complete = [tensor](CodedMatrix& whole) { whole.scales = FloatsOf(tensor); };
  return {};
}

Result<void> SetOrder(const std::string& name, std::vector<int32_t> run_of, CodedMatrix& matrix) {
  if (static_cast<int64_t>(run_of.size()) != matrix.columns) {
    return Wrong(name, fmt::format("{} values for {} columns", run_of.size(), matrix.columns));
  }
  bool plain = true;
  for (size_t i = 0; i < run_of.size(); ++i) {
    if (run_of[i] < 0 || run_of[i] >= matrix.RunsInRow()) {
      return Wrong(name, fmt::format("column {} in group {} of {}", i, run_of[i], matrix.RunsInRow()));
    }
    plain = plain && run_of[i] == static_cast<int64_t>(i) / matrix.run;
  }
  if (!plain) {
    matrix.run_of = std::move(run_of);
  }
  return {};
}

}  // namespace causeway::model::quant
