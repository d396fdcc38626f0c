// Hostile safetensors files and indices: every one is a named error.
#include "model/safetensors.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/memory_files.h"
#include "tests/support/model_folders.h"

namespace causeway::model {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(std::string_view file) {
  const auto tensors = ParseSafetensors(std::as_bytes(std::span(file)));
  return tensors.ok() ? "accepted" : tensors.error().message;
}

// One or several header members over `data_bytes` of zeros.
std::string ErrorOfHeader(const std::string& members, size_t data_bytes) {
  return ErrorOf(SafetensorsFile("{" + members + "}", std::string(data_bytes, '\0')));
}

std::string Entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":[)" + shape + R"(],"data_offsets":[)" + offsets + "]}";
}

TEST(SafetensorsTest, ReadsTensorsInPlace) {
  const std::string file = SafetensorsFile(R"({"__metadata__":{"format":"pt"},)" + Entry("a", "F32", "2,1", "0,8") +
                                               "," + Entry("b", "BF16", "", "8,10") + "}",
                                           std::string("12345678xy"));
  const auto tensors = ParseSafetensors(std::as_bytes(std::span(file)));
  ASSERT_TRUE(tensors.ok()) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 2U);
  EXPECT_EQ(tensors->at("a").shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(tensors->at("b").elements(), 1);
  EXPECT_EQ(AsText(tensors->at("b").data), "xy");
}

TEST(SafetensorsTest, AFileCutAnywhereIsAnError) {
  const std::string file = SafetensorsFile(
      "{" + Entry("a", "F32", "2", "0,8") + "," + Entry("b", "U8", "3", "8,11") + "}", std::string(11, '\0'));
  EXPECT_EQ(ErrorOf(file), "accepted");
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_NE(ErrorOf(file.substr(0, size)), "accepted") << size;
  }
  EXPECT_THAT(ErrorOf(file + "x"), HasSubstr("belong to no tensor"));
}

TEST(SafetensorsTest, HeaderLengthsBeyondTheFileOrTheLimit) {
  for (const uint64_t length : {uint64_t{3}, uint64_t{1} << 32, uint64_t{1} << 63, std::numeric_limits<uint64_t>::max(),
                                std::numeric_limits<uint64_t>::max() - 7}) {
    std::string file(8, '\0');
    std::memcpy(file.data(), &length, 8);
    EXPECT_THAT(ErrorOf(file + "{}"), HasSubstr("a header of " + std::to_string(length))) << length;
  }
}

struct BadHeader {
  std::string members;
  size_t data_bytes;
  const char* message;
};

TEST(SafetensorsTest, BadEntriesAreNamedErrors) {
  const std::string huge = "281474976710656,281474976710656";
  const BadHeader headers[] = {
      {Entry("a", "F32", "2", "0,8") + "," + Entry("b", "F32", "2", "4,12"), 12, "tensor b: overlaps"},
      {Entry("a", "F32", "2", "0,8") + "," + Entry("b", "F32", "2", "12,20"), 20, "tensor b: leaves a hole"},
      {Entry("a", "F32", "2", "0,8"), 4, "tensor a: offsets 0 to 8 lie outside"},
      {Entry("a", "F32", "2", "8,0"), 8, "tensor a: offsets 8 to 0"},
      {Entry("a", "F32", "2", "-8,0"), 8, "tensor a: no data_offsets"},
      {Entry("a", "F32", "2", "0,8,9"), 8, "tensor a: no data_offsets"},
      {Entry("a", "F32", "2", "0,18446744073709551615"), 8, "tensor a: offsets"},
      {Entry("a", "F32", "3", "0,8"), 8, "tensor a: its shape takes 12 bytes, its offsets span 8"},
      {Entry("a", "F32", huge, "0,0"), 0, "tensor a: its shape takes"},
      {Entry("a", "F64", huge + "," + huge, "0,0"), 0, "tensor a: its shape takes"},
      {Entry("a", "F32", "-2", "0,8"), 8, "tensor a: a size of its shape"},
      {Entry("a", "F32", "2.0", "0,8"), 8, "tensor a: a size of its shape"},
      {Entry("a", "F32", "1,1,1,1,1,1,1,1,2", "0,8"), 8, "more than 8 dimensions"},
      {Entry("a", "Q4", "2", "0,8"), 8, "tensor a: unknown dtype Q4"},
      {R"("a":{"dtype":4,"shape":[2],"data_offsets":[0,8]})", 8, "tensor a: no dtype"},
      {R"("a":{"dtype":"F32","data_offsets":[0,8]})", 8, "tensor a: no shape"},
      {R"("a":[])", 0, "tensor a: its header entry is no object"},
      {Entry("a", "F32", "2", "0,8") + "," + Entry("a", "I32", "2", "0,8"), 8, "'a' stands twice"},
      {R"("a":NaN)", 0, "invalid JSON"},
      {R"("a":)" + std::string(100, '['), 0, "nested deeper"},
  };
  for (const BadHeader& header : headers) {
    EXPECT_THAT(ErrorOfHeader(header.members, header.data_bytes), HasSubstr(header.message)) << header.members;
  }
  EXPECT_THAT(ErrorOf(SafetensorsFile("[]", "")), HasSubstr("no JSON object"));
}

std::string ErrorOfIndex(std::map<std::string, std::string> files, const std::string& weight_map) {
  files["model.safetensors.index.json"] = R"({"weight_map":)" + weight_map + "}";
  MemoryFiles memory(std::move(files));
  const auto tensors = LoadTensors(memory);
  return tensors.ok() ? "accepted" : tensors.error().message;
}

TEST(SafetensorsTest, IndicesAreCheckedAgainstTheirFiles) {
  const std::string one = SafetensorsFile("{" + Entry("a", "U8", "1", "0,1") + "}", "x");
  EXPECT_EQ(ErrorOfIndex({{"1.safetensors", one}}, R"({"a":"1.safetensors"})"), "accepted");
  EXPECT_THAT(ErrorOfIndex({{"1.safetensors", one}}, R"({"a":"1.safetensors","b":"1.safetensors"})"),
              HasSubstr("tensor b is in the index but not in 1.safetensors"));
  EXPECT_THAT(
      ErrorOfIndex({{"1.safetensors", one}, {"2.safetensors", one}}, R"({"a":"1.safetensors","b":"2.safetensors"})"),
      HasSubstr("tensor a is in two files"));
  EXPECT_THAT(ErrorOfIndex({}, R"({"a":"1.safetensors"})"), HasSubstr("1.safetensors"));
  EXPECT_THAT(ErrorOfIndex({{"1.safetensors", one.substr(0, one.size() - 1)}}, R"({"a":"1.safetensors"})"),
              HasSubstr("1.safetensors"));
  EXPECT_THAT(ErrorOfIndex({}, R"({"a":1})"), HasSubstr("the file of a is no string"));
  EXPECT_THAT(ErrorOfIndex({}, "[]"), HasSubstr("no weight_map"));
}

std::string ErrorOfFiles(std::map<std::string, std::string> files) {
  MemoryFiles memory(std::move(files));
  const auto tensors = LoadTensors(memory);
  return tensors.ok() ? "accepted" : tensors.error().message;
}

const char* const kNoWeights = "no model.safetensors and no model.safetensors.index.json in memory";

TEST(SafetensorsTest, NamesThatAutoGptqGives) {
  const std::string one = SafetensorsFile("{" + Entry("a", "U8", "1", "0,1") + "}", "x");
  const auto load = ErrorOfFiles;
  const std::string settings = R"({"bits": 4, "group_size": -1})";
  const std::string index = R"({"weight_map": {"a": "1.safetensors"}})";
  EXPECT_EQ(load({{"quantize_config.json", settings}, {"gptq_model-4bit--1g.safetensors", one}}), "accepted");
  EXPECT_EQ(load({{"quantize_config.json", settings},
                  {"gptq_model-4bit--1g.safetensors.index.json", index},
                  {"1.safetensors", one}}),
            "accepted");
  const std::map<std::string, std::string> two = {{"x.safetensors", one}, {"y.safetensors", "no weights"}};
  const auto with = [&](const char* text) {
    std::map<std::string, std::string> files = two;
    files["quantize_config.json"] = text;
    return load(std::move(files));
  };
  EXPECT_EQ(with(R"({"model_file_base_name": "x"})"), "accepted");
  for (const char* const says_nothing : {R"({"bits": 4, "group_size": -1})", R"({"bits": "4"})", "["}) {
    EXPECT_THAT(with(says_nothing), HasSubstr("several files of weights")) << says_nothing;
  }
  EXPECT_EQ(
      load({{"pytorch_model.bin", one}}),
      std::string(kNoWeights) + "; pytorch_model.bin can run code when it is read: save the model as safetensors");
}

TEST(SafetensorsTest, TheOnlyFileHasAnyName) {
  const std::string one = SafetensorsFile("{" + Entry("a", "U8", "1", "0,1") + "}", "x");
  const std::string index = R"({"weight_map": {"a": "1.safetensors"}})";
  const auto load = ErrorOfFiles;
  EXPECT_EQ(load({{"awq_model_w4_g128.safetensors", one}, {"config.json", "{}"}}), "accepted");
  EXPECT_EQ(load({{"x.safetensors.index.json", index}, {"1.safetensors", one}, {"2.safetensors", one}}), "accepted");
  EXPECT_EQ(load({{"x.safetensors", one}, {"adapter_model.safetensors", "of a LoRA adapter"}}), "accepted");
  EXPECT_EQ(load({{"model.safetensors", one}, {"x.safetensors", one}}), "accepted");
  EXPECT_EQ(load({{"x.safetensors", one}, {"y.safetensors", one}}),
            "memory holds several files of weights, none of them model.safetensors or model.safetensors.index.json: "
            "x.safetensors, y.safetensors");
  EXPECT_THAT(load({{"x.safetensors.index.json", index}, {"y.safetensors.index.json", index}}),
              HasSubstr(": x.safetensors.index.json, y.safetensors.index.json"));
  EXPECT_EQ(load({{"adapter_model.safetensors", one}}), kNoWeights);
  EXPECT_EQ(load({{".safetensors", one}}), kNoWeights);
}

}  // namespace
}  // namespace causeway::model
