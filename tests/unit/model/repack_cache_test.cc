// Weights from the repack cache are those that packing gives, and whatever is wrong with it costs a packing only.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include "kernels/pack.h"
#include "kernels/packed.h"
#include "model/builder.h"
#include "model/files.h"
#include "model/gguf/random_weights.h"
#include "model/gguf/reader.h"
#include "model/model.h"
#include "model/network.h"
#include "model/packed_weights.h"
#include "model/quant/reader.h"
#include "model/repack_cache.h"
#include "tests/support/test_file_ops.h"
#include "tests/support/test_folder.h"

namespace causeway::model {
namespace {

namespace fs = std::filesystem;

class RepackCacheTest : public testing::Test {
 protected:
  RepackCacheTest() { WriteModel("q4_0"); }

  void WriteModel(std::string_view name, int64_t inner = 512) {
    for (const kernels::WeightFormat& format : kernels::WeightFormats()) {
      if (format.name == name) {
        ASSERT_TRUE(gguf::WriteRandomLlama(path_, {256, 2, 4, 2, 64, inner, 40, 128}, format, [](double) {}).ok());
      }
    }
  }

  std::unique_ptr<const Model> Load(bool with_cache = true) {
    LoadOptions load;
    load.model = path_;
    load.pack_on = &pool_;
    load.file_ops = &ops_;
    if (with_cache) {
      load.repack_cache = cache_;
    }
    auto model = LoadModel(load);
    EXPECT_TRUE(model.ok()) << model.error().message;
    return std::move(*model);
  }
  // All packed bytes of a model, one weight after the other.
  static std::string BytesOf(const Model& model) {
    std::string bytes;
    const auto add = [&](const Projection& projection) {
      const kernels::WeightView& weight = projection.weight;
      ASSERT_EQ(weight.layout, kernels::WeightLayout::kPanels);
      bytes.append(
          reinterpret_cast<const char*>(weight.data),
          static_cast<size_t>(kernels::PackedBytes(kernels::PackingOf(weight.format), weight.rows, weight.columns)));
    };
    for (const Layer& layer : model.network->layers) {
      for (const Projection* const one : {&layer.attention.q, &layer.attention.k, &layer.attention.v,
                                          &layer.attention.o, &layer.mlp.gate, &layer.mlp.up, &layer.mlp.down}) {
        add(*one);
      }
    }
    add(model.network->head);
    return bytes;
  }
  // Loads with the cache; whether it was mapped, after a check of what was loaded.
  bool LoadsFromCache() {
    const auto model = Load();
    EXPECT_EQ(BytesOf(*model), BytesOf(*Load(false)));
    return model->info.pack.cached;
  }
  std::vector<std::string> Files() const {
    std::vector<std::string> files;
    if (fs::exists(cache_)) {
      for (const auto& entry : fs::directory_iterator(cache_)) {
        files.push_back(entry.path().string());
      }
    }
    return files;
  }
  std::string OnlyFile() const {
    const auto files = Files();
    EXPECT_EQ(files.size(), 1U);
    return files.empty() ? "" : files[0];
  }

  memory::TestOps ops_;
  TestFolder folder_;
  const std::string path_ = folder_.path() + "/model.gguf";
  const std::string cache_ = folder_.path() + "/not/there/yet";
  ThreadPool pool_{{.threads = 2, .pin = false}};
};

TEST_F(RepackCacheTest, TheSecondStartMapsWhatTheFirstPacked) {
  EXPECT_FALSE(LoadsFromCache());
  const std::string file = OnlyFile();
  EXPECT_TRUE(LoadsFromCache());
  EXPECT_EQ(OnlyFile(), file);
  const auto model = Load();
  EXPECT_LE(static_cast<int64_t>(fs::file_size(file)), model->info.packed_bytes + 16 * 4096);
  EXPECT_GT(model->info.pack.source_bytes, 0);
  for (const kernels::WeightFormat& format : kernels::WeightFormats()) {
    if (kernels::PackingOf(format.id).kind != kernels::PackedKind::kNone && gguf::NumberOfType(format.dtype)) {
      WriteModel(format.name);
      EXPECT_FALSE(LoadsFromCache()) << format.name;
      EXPECT_TRUE(LoadsFromCache()) << format.name;
    }
  }
}

TEST_F(RepackCacheTest, ChangedModelsArePackedAnew) {
  EXPECT_FALSE(LoadsFromCache());
  WriteModel("q8_0");
  EXPECT_FALSE(LoadsFromCache());
  EXPECT_TRUE(LoadsFromCache());
  // In place, one byte in the middle; same size, same time of content.
  const auto time = fs::last_write_time(path_);
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(fs::file_size(path_) / 2));
    file.put('x');
  }
  fs::last_write_time(path_, time);
  EXPECT_FALSE(LoadsFromCache());
  EXPECT_TRUE(LoadsFromCache());
  EXPECT_EQ(Files().size(), 1U);  // the old one was replaced
  WriteModel("q8_0", 1024);
  EXPECT_FALSE(LoadsFromCache());
}

TEST_F(RepackCacheTest, DamagedFilesArePackedAnew) {
  EXPECT_FALSE(LoadsFromCache());
  const std::string file = OnlyFile();
  const std::string good = ReadWholeFile(file);
  std::vector<std::string> wrong = {
      "", "x", good.substr(0, 40), good.substr(0, good.size() - 1), good + "x", std::string(good.size(), '\0')};
  for (const size_t at : {size_t{0}, size_t{17}, size_t{21}, size_t{25}, size_t{33}, size_t{60}, size_t{5000},
                          good.size() / 2, good.size() - 4097}) {
    wrong.push_back(good);
    wrong.back()[at] = static_cast<char>(wrong.back()[at] ^ 1);
  }
  for (const std::string& bytes : wrong) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
    EXPECT_FALSE(LoadsFromCache());
    EXPECT_EQ(ReadWholeFile(file), good);
  }
  fs::remove(file);
  fs::create_directory(file);
  EXPECT_FALSE(LoadsFromCache());
  EXPECT_TRUE(fs::is_directory(file));
  EXPECT_EQ(Files().size(), 1U);  // nothing was left beside it
}

// Each call that touches the cache, failing once and for good.
TEST_F(RepackCacheTest, FailuresCostOnlyThePacking) {
  const std::string expected = BytesOf(*Load(false));
  for (const bool dies : {false, true}) {
    for (const bool there : {false, true}) {
      for (int64_t call = 1; call < 100; ++call) {
        fs::remove_all(cache_);
        ops_.Mend();
        if (there) {
          Load();
        }
        dies ? ops_.DieAt(call) : ops_.FailAt(call);
        EXPECT_EQ(BytesOf(*Load()), expected) << call;
        const bool failed = ops_.failed();
        ops_.Mend();
        EXPECT_EQ(BytesOf(*Load()), expected) << "after call " << call;
        EXPECT_TRUE(Load()->info.pack.cached) << "after call " << call;
        if (!failed) {
          EXPECT_GT(call, 3);
          break;
        }
      }
    }
  }
}

TEST_F(RepackCacheTest, FullDisksLeaveNothingBehind) {
  ops_.room = 1000;
  EXPECT_FALSE(LoadsFromCache());
  EXPECT_TRUE(Files().empty());
  ops_.room = int64_t{1} << 40;
  EXPECT_FALSE(LoadsFromCache());
  EXPECT_TRUE(LoadsFromCache());
}

TEST_F(RepackCacheTest, OneProcessWritesAtATime) {
  EXPECT_FALSE(LoadsFromCache());
  const std::string temporary = OnlyFile() + ".tmp";
  fs::remove(OnlyFile());
  const int file = ::open(temporary.c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_EQ(::flock(file, LOCK_EX), 0);
  EXPECT_FALSE(LoadsFromCache());
  EXPECT_EQ(OnlyFile(), temporary);  // the other's
  ::close(file);
  EXPECT_FALSE(LoadsFromCache());  // takes over what was left
  EXPECT_TRUE(LoadsFromCache());
  EXPECT_EQ(Files().size(), 1U);
}

// Rows that a container's translation makes are made where they are packed, once each, and not at all where the cache
// has them: no whole weight of them ever lies beside the packed weights.
TEST_F(RepackCacheTest, RowsThatAreMadeForPackingAreMadeThereAndOnce) {
  std::atomic<int64_t> made = 0;
  std::atomic<int64_t> held = 0;
  const auto pack = [&](Network& network, const RepackCache& cache) {
    network.files = std::move(*OpenFolder(folder_.path()));
    const auto source = std::vector<std::byte>(size_t{1} << 16, std::byte{7});
    const kernels::WeightFormat& q4 = *kernels::FindFormat("Q4_0");
    network.layers.resize(6);
    for (size_t i = 0; i < network.layers.size(); ++i) {
      kernels::WeightView& weight = network.layers[i].attention.q.weight;
      weight = {.format = q4.id, .rows = 64, .columns = 256, .row_bytes = kernels::BytesOf(q4.id, 256)};
      const auto write = [&, i](int64_t begin, int64_t end, std::byte* rows) {
        std::memset(rows, static_cast<int>(i), static_cast<size_t>((end - begin) * kernels::BytesOf(q4.id, 256)));
        made += end - begin;
        held += std::count_if(network.late.begin(), network.late.end(), [](const auto& one) { return one.written(); });
      };
      const LateRows::Shape shape{.rows = weight.rows, .row_bytes = weight.row_bytes, .together = 32};
      weight.data =
          network.late.emplace_back(shape, source, [write] { return LateRows::Maker{.rows = write}; }).rows().data();
    }
    const auto report = PackWeights(network, pool_, &cache, [](double) {});
    ASSERT_TRUE(report.ok()) << report.error().message;
    for (const LateRows& late : network.late) {
      EXPECT_FALSE(late.written());
    }
  };
  const RepackCache cache(ops_, cache_, "late", "identity");
  Network first;
  pack(first, cache);
  EXPECT_EQ(made, 6 * 64);
  EXPECT_EQ(held, 0);
  Network second;
  pack(second, cache);
  EXPECT_EQ(made, 6 * 64);  // none more
  for (size_t i = 0; i < first.layers.size(); ++i) {
    const auto bytes = static_cast<size_t>(
        kernels::PackedBytes(kernels::PackingOf(first.layers[i].attention.q.weight.format), 64, 256));
    EXPECT_EQ(0, std::memcmp(first.layers[i].attention.q.weight.data, second.layers[i].attention.q.weight.data, bytes));
  }
}

// A checkpoint of one matrix of 88 outputs and 512 inputs in groups of 64, whose source has the outputs side by side.
class SideBySide {
 public:
  static constexpr int64_t kRows = 88, kColumns = 512, kGroups = 8;

  SideBySide(const Json& settings, bool reordered, RowsWritten when, const std::vector<std::string>& modules = {"a"}) {
    for (const std::string& module : modules) {
      AddModule(settings, reordered, module);
    }
    const auto read = quant::Translate(settings, checkpoint, {}, when);
    EXPECT_TRUE(read.ok()) << read.error().message;
  }
  kernels::WeightView View() const {
    const Tensor& tensor = checkpoint.tensors.at("a.weight");
    const kernels::FormatId format = kernels::FindFormat(tensor.dtype)->id;
    return {.data = tensor.data.data(),
            .format = format,
            .rows = kRows,
            .columns = kColumns,
            .row_bytes = kernels::BytesOf(format, kColumns)};
  }

  Checkpoint checkpoint;

 private:
  void AddModule(const Json& settings, bool reordered, const std::string& module) {
    const bool awq = settings.at("quant_method") == "awq";
    const int64_t bits = settings.at("bits");
    const int64_t words = (kRows * bits + 31) / 32;  // of a line of zero points, and of AWQ's codes
    if (awq) {
      Add(module + ".qweight", "I32", {kColumns, words});
    } else {
      Add(module + ".qweight", "I32", {kColumns * bits / 32, kRows});
    }
    Add(module + ".qzeros", "I32", {kGroups, words});
    Add(module + ".scales", "F16", {kGroups, kRows});
    if (reordered) {
      auto& order = Add(module + ".g_idx", "I32", {kColumns});
      for (int32_t i = 0; i < kColumns; ++i) {
        const int32_t group = i * 5 % kGroups;
        std::memcpy(order.data() + i * 4, &group, sizeof(group));
      }
    }
  }
  std::vector<std::byte>& Add(const std::string& name, const std::string& dtype, std::vector<int64_t> shape) {
    int64_t values = 1;
    for (const int64_t size : shape) {
      values *= size;
    }
    std::vector<std::byte>& bytes =
        checkpoint.owned.emplace_back(static_cast<size_t>(values * (dtype == "F16" ? 2 : 4)));
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = std::byte{static_cast<uint8_t>(((i + 1) * 0x9e3779b97f4a7c15U) >> 57)};  // below 128: no infinities
    }
    checkpoint.tensors[name] = {dtype, std::move(shape), bytes};
    return bytes;
  }
};

// A coded head is made where it is packed, as any other matrix; the embedding too, unless both are there: they are
// compared then.
TEST(PackWeightsTest, ACodedHeadIsMadeLate) {
  const Json settings = {{"quant_method", "awq"}, {"bits", 4}, {"group_size", 64}};
  const std::pair<std::vector<std::string>, bool> cases[] = {
      {{"a", "lm_head"}, false}, {{"model.embed_tokens", "a"}, false}, {{"model.embed_tokens", "lm_head"}, true}};
  for (const auto& [modules, written] : cases) {
    const SideBySide later(settings, false, RowsWritten::kLater, modules);
    ASSERT_EQ(later.checkpoint.late.size(), 2);
    for (const LateRows& late : later.checkpoint.late) {
      EXPECT_EQ(late.written(), written) << modules[0] << " " << modules[1];
    }
  }
}

// Columns at a time, or rows where a part of a fused matrix is cut somewhere: the panels that the rows give, whoever
// packs.
TEST(PackWeightsTest, MatricesThatLieByColumnsArePackedAsTheirRows) {
  std::vector<std::pair<Json, bool>> cases = {{{{"quant_method", "awq"}, {"bits", 4}, {"group_size", 64}}, false}};
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool reordered : {false, true}) {
      cases.emplace_back(Json{{"quant_method", "gptq"}, {"bits", bits}, {"group_size", 64}}, reordered);
    }
  }
  const TestFolder folder;
  for (const auto& [settings, reordered] : cases) {
    const SideBySide now(settings, reordered, RowsWritten::kNow);
    const kernels::WeightView rows = now.View();
    const kernels::Packing packing = kernels::PackingOf(rows.format);
    for (const int threads : {1, 3, 7}) {
      for (const int64_t cut : {int64_t{88}, int64_t{64}, int64_t{40}}) {
        SideBySide later(settings, reordered, RowsWritten::kLater);
        Network network;
        network.files = std::move(*OpenFolder(folder.path()));
        network.layers.resize(1);
        AttentionBlock& attention = network.layers[0].attention;
        attention.q.weight = Rows(later.View(), 0, cut);
        if (cut < SideBySide::kRows) {
          attention.k.weight = Rows(later.View(), cut, SideBySide::kRows);
        }
        network.late = std::move(later.checkpoint.late);
        ThreadPool pool({.threads = threads, .pin = false});
        ASSERT_TRUE(PackWeights(network, pool, nullptr, [](double) {}).ok());
        for (const auto& [view, first] : {std::pair(attention.q.weight, int64_t{0}), {attention.k.weight, cut}}) {
          const int64_t bytes = kernels::PackedBytes(packing, view.rows, rows.columns);
          std::vector<std::byte> expected(static_cast<size_t>(bytes));
          if (view.rows > 0) {
            kernels::PackPanels(Rows(rows, first, first + view.rows), expected.data());
            EXPECT_EQ(0, std::memcmp(view.data, expected.data(), expected.size()))
                << DumpJson(settings) << " reordered " << reordered << " threads " << threads << " cut " << cut;
          }
        }
      }
    }
  }
}

TEST_F(RepackCacheTest, NeedsInt8Activations) {
  LoadOptions load;
  load.model = path_;
  load.repack_cache = cache_;
  const auto model = LoadModel(load);
  ASSERT_FALSE(model.ok());
  EXPECT_THAT(model.error().message, testing::HasSubstr("--repack-cache needs --activations int8"));
}

}  // namespace
}  // namespace causeway::model
