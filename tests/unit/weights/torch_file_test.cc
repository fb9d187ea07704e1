// SPDX-License-Identifier: Apache-2.0
#include "weights/torch/file.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "assembler.h"
#include "base/text.h"
#include "testing.h"
#include "weights/layout.h"
#include "weights/open/open.h"

using namespace mu;
using namespace mu::testing;

namespace {

std::string ints(const std::vector<long long>& values) {
  std::string out = "MARK\n";
  for (const long long value : values)
    out += value < 0 || value > 2'000'000'000 ? "LONG " + std::to_string(value) + "L\n"
                                              : "BININT " + std::to_string(value) + "\n";
  return out + "TUPLE\n";
}

struct View {
  std::string type = "FloatStorage", key = "0";
  long long elements = 12, offset = 0;
  std::vector<long long> shape{3, 4}, strides{4, 1};
  std::string flags{};  // "conj" or "neg"
};

// The node of a tensor.
std::string tensor(const View& v) {
  return "GLOBAL torch._utils _rebuild_tensor_v2\nMARK\nMARK\nBINUNICODE storage\nGLOBAL torch " + v.type +
         "\nBINUNICODE " + v.key + "\nBINUNICODE cpu\nLONG " + std::to_string(v.elements) +
         "L\nTUPLE\nBINPERSID\nLONG " + std::to_string(v.offset) + "L\n" + ints(v.shape) + ints(v.strides) +
         "NEWFALSE\nNONE\n" +
         (v.flags.empty() ? "" : "EMPTY_DICT\nBINUNICODE " + v.flags + "\nNEWTRUE\nSETITEM\n") +
         "TUPLE\nREDUCE\n";
}

std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string out = "EMPTY_DICT\nMARK\n";
  for (const auto& [key, value] : items) out += "BINUNICODE " + key + "\n" + value;
  return out + "SETITEMS\n";
}

std::string call_and(const std::string& root) {
  return "GLOBAL os system\nMARK\nBINUNICODE id\nTUPLE\nREDUCE\nPOP\n" + root;
}

std::string floats(std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += le(static_cast<float>(i));
  return out;
}

std::string torch_zip(const std::string& root,
                      std::vector<ZipMember> more = {{.name = "x/data/0", .data = floats(12)}}) {
  more.insert(more.begin(), {.name = "x/data.pkl", .data = assemble("PROTO 2\n" + root + "STOP")});
  return zip(more);
}

struct Opened {
  Weights weights;
  std::string error;  // what opening threw, or the first finding that keeps the file from being loaded
};
Opened open_bytes(const std::string& bytes, const std::string& name = "x.bin") {
  const TempFolder folder;
  put(folder / name, bytes);
  try {
    Opened opened{open_weights(folder / name), ""};
    if (const Finding* fatal = opened.weights.findings.first_up_to(Level::kLoads))
      opened.error = fatal->message;
    return opened;
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kMalformed);
    return {{}, error.message()};
  }
}

std::vector<float> values(const Weights& weights, std::size_t index = 0) {
  const Tensor& tensor = weights.tensors.at(index);
  std::vector<float> out(static_cast<std::size_t>(tensor.size / 4));
  weights.read(tensor, 0, std::as_writable_bytes(std::span(out)));
  return out;
}

std::string error_of_view(const View& view) {
  return open_bytes(torch_zip(dict({{"t", tensor(view)}}))).error;
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::string swapped(std::string data) {
  for (std::size_t i = 0; i < data.size(); i += 4)
    std::reverse(data.begin() + static_cast<long>(i), data.begin() + static_cast<long>(i) + 4);
  return data;
}

}  // namespace

TEST_CASE("torch: views are read row-major") {
  const auto read = [](const View& view) {
    return values(open_bytes(torch_zip(dict({{"t", tensor(view)}}))).weights);
  };
  CHECK(read({}) == std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  CHECK(read({.shape = {4, 3}, .strides = {1, 4}}) ==
        std::vector<float>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11});
  CHECK(read({.offset = 1, .shape = {3, 2}, .strides = {4, 2}}) == std::vector<float>{1, 3, 5, 7, 9, 11});
  CHECK(read({.offset = 5, .shape = {2, 3}, .strides = {0, 0}}) == std::vector<float>{5, 5, 5, 5, 5, 5});
  CHECK(read({.offset = 2, .shape = {2, 2, 2}, .strides = {4, 1, 2}}) ==
        std::vector<float>{2, 4, 3, 5, 6, 8, 7, 9});
  CHECK(read({.offset = 7, .shape = {}, .strides = {}}) == std::vector<float>{7});
  CHECK(read({.shape = {0, 5}, .strides = {5, 1}}).empty());
  CHECK(read({.shape = {2}, .strides = {1}, .flags = "neg"}) == std::vector<float>{-0.0F, -1});
  CHECK(read({.type = "ComplexFloatStorage", .elements = 6, .shape = {2}, .strides = {1}, .flags = "conj"}) ==
        std::vector<float>{0, -1, 2, -3});
}

TEST_CASE("torch: a view that leaves its storage is refused") {
  CHECK(has(error_of_view({.key = "7"}), "storage '7' is missing"));
  CHECK(has(error_of_view({.elements = 13}), "should have 13 elements"));
  CHECK(has(error_of_view({.offset = 1}), "reaches beyond"));
  CHECK(has(error_of_view({.offset = -1}), "offset"));
  CHECK(has(error_of_view({.strides = {-4, 1}}), "strides"));
  CHECK(has(error_of_view({.strides = {5, 1}}), "reaches beyond"));
  CHECK(has(error_of_view({.strides = {1}}), "differ in length"));
  CHECK(has(error_of_view({.shape = {1LL << 40, 1LL << 40}, .strides = {0, 0}}), "overflows"));
  CHECK(has(error_of_view({.shape = {3, 2}, .strides = {9'000'000'000'000'000'000, 1}}), "reaches beyond"));
  CHECK(has(error_of_view({.elements = 9'000'000'000'000'000'000}), "should have"));
  CHECK(has(error_of_view({.shape = {1LL << 40}, .strides = {0}}), "repeats"));
  CHECK(has(error_of_view({.type = "MineStorage"}), "unknown class"));
  CHECK(has(
      open_bytes(torch_zip(dict({{"t", "GLOBAL torch._utils _rebuild_tensor_v2\nEMPTY_TUPLE\nREDUCE\n"}})))
          .error,
      "lacks arguments"));
}

TEST_CASE("torch: containers") {
  const std::string root = dict({{"a", tensor({})}});
  const std::vector<float> expected = values(open_bytes(torch_zip(root)).weights);
  CHECK(values(open_bytes(torch_zip(root, {{.name = "x/data/0", .data = floats(12), .deflate = true}}))
                   .weights) == expected);
  CHECK(values(open_bytes(torch_zip(root, {{.name = "x/byteorder", .data = "big"},
                                           {.name = "x/data/0", .data = swapped(floats(12))}}))
                   .weights) == expected);
  CHECK(has(open_bytes(torch_zip(root, {{.name = "x/byteorder", .data = "odd"}})).error, "byte order"));
  CHECK(has(open_bytes(zip({{.name = "x/other", .data = "?"}})).error, "neither a torch pickle"));
  CHECK(has(open_bytes(torch_zip("NONE\nRAW ff\n")).error, "broken"));
  const Opened extra =
      open_bytes(torch_zip(root, {{.name = "x/data/0", .data = floats(12)},
                                  {.name = "x/more.pkl", .data = assemble("GLOBAL os system\nSTOP")}}));
  CHECK(extra.weights.findings.count("PT-EXTRA") == 1);
  CHECK(extra.weights.files[0].object->worst() == Verdict::kDangerous);
  const Opened stacked =
      open_bytes(assemble("PROTO 2\nNONE\nSTOP\nPROTO 2\nGLOBAL os system\nSTOP"), "x.pkl");
  CHECK(stacked.weights.files[0].object->worst() == Verdict::kDangerous);
  CHECK(stacked.weights.findings.count("PT-TRAILING") == 1);
  std::string tar(1024, '\0');
  tar.replace(257, 5, "ustar");
  CHECK(has(open_bytes(tar).error, "tar archive"));
}

TEST_CASE("torch: the legacy stream") {
  const std::string start =
      assemble("RAW 80028a0a6cfc9c46f9206aa850192e\nPROTO 2\nBININT2 1001\nSTOP\nPROTO 2\n" +
               dict({{"little_endian", "NEWTRUE\n"}}) + "STOP");
  const std::string root = assemble("PROTO 2\n" + dict({{"a", tensor({})}}) + "STOP");
  const std::string keys = assemble("PROTO 2\nEMPTY_LIST\nBINUNICODE 0\nAPPEND\nSTOP");
  const std::string whole = start + root + keys + le(std::uint64_t{12}) + floats(12);
  CHECK(values(open_bytes(whole).weights).back() == 11);
  CHECK(open_bytes(whole).weights.files[0].object->container == TorchContainer::kLegacy);
  for (std::size_t size = 15; size < whole.size(); ++size) {
    CAPTURE(size);
    CHECK_FALSE(open_bytes(whole.substr(0, size)).error.empty());
  }
  CHECK(open_bytes(whole + "x").weights.findings.count("PT-TRAILING") == 1);
  CHECK(
      has(open_bytes(start + root + keys + le(std::uint64_t{1} << 62) + floats(12)).error, "reaches beyond"));
  const std::string other = assemble("PROTO 2\nEMPTY_LIST\nBINUNICODE 9\nAPPEND\nSTOP");
  CHECK(
      has(open_bytes(start + root + other + le(std::uint64_t{12}) + floats(12)).error, "used by no tensor"));
}

TEST_CASE("torch: every pickle of a legacy stream is judged") {
  const std::string call = "GLOBAL os system\nMARK\nBINUNICODE id\nTUPLE\nREDUCE\nPOP\n";
  const auto stream = [](const std::string& protocol, const std::string& system, const std::string& keys) {
    return assemble("RAW 80028a0a6cfc9c46f9206aa850192e\nPROTO 2\n" + protocol +
                    "BININT2 1001\nSTOP\nPROTO 2\n" + system + dict({{"little_endian", "NEWTRUE\n"}}) +
                    "STOP\nPROTO 2\n" + dict({{"a", tensor({})}}) + "STOP\nPROTO 2\n" + keys +
                    "EMPTY_LIST\nBINUNICODE 0\nAPPEND\nSTOP") +
           le(std::uint64_t{12}) + floats(12);
  };
  const auto worst = [](const std::string& bytes) {
    return open_bytes(bytes).weights.files.at(0).object->worst();
  };
  CHECK(worst(stream("", "", "")) == Verdict::kHarmless);
  CHECK(worst(stream(call, "", "")) == Verdict::kDangerous);
  CHECK(worst(stream("", call, "")) == Verdict::kDangerous);
  CHECK(worst(stream("", "", call)) == Verdict::kDangerous);
  // It is broken later, but the call would already have run.
  CHECK(worst(stream("", "", call + "RAW ff\n")) == Verdict::kDangerous);
  const std::string cut = stream("", call, "");
  CHECK(worst(cut.substr(0, cut.size() - 1)) == Verdict::kDangerous);
  CHECK_FALSE(open_bytes(cut.substr(0, cut.size() - 1)).error.empty());
  // Another protocol number: nothing more is read.
  const Opened other_protocol =
      open_bytes(assemble("RAW 80028a0a6cfc9c46f9206aa850192e\nPROTO 2\nBININT2 1002\nSTOP") +
                 stream("", "", "").substr(15));
  CHECK(has(other_protocol.error, "is not 1001"));
  // The magic number in other protocols; made by a call it is not a magic number.
  for (const char* magic : {"RAW 80048a0a6cfc9c46f9206aa850192e", "LONG 119547037146038801333356L\nSTOP",
                            "RAW 80058a0a6cfc9c46f9206aa850192e"}) {
    CAPTURE(magic);
    const std::string other = assemble(magic) + stream("", "", "").substr(15);
    CHECK(values(open_bytes(other).weights).back() == 11);
  }
  const Opened made =
      open_bytes(assemble("GLOBAL os system\nEMPTY_TUPLE\nREDUCE\nSTOP") + stream("", "", "").substr(15));
  CHECK(made.weights.files.at(0).object->container == TorchContainer::kPickle);
  CHECK(made.weights.files.at(0).object->worst() == Verdict::kDangerous);
  CHECK(has(
      open_bytes(
          assemble("RAW 80028a0a6cfc9c46f9206aa850192e\nPROTO 2\nBININT2 1001\nSTOP\nPROTO 2\nEMPTY_DICT\n"
                   "STOP\nPROTO 2\n" +
                   dict({{"a", tensor({})}}) +
                   "STOP\nPROTO 2\nEMPTY_LIST\nBINUNICODE 0\nAPPEND\nBINUNICODE 0\nAPPEND\nSTOP") +
          le(std::uint64_t{12}) + floats(12) + le(std::uint64_t{0}))
          .error,
      "appears twice"));
}

TEST_CASE("torch: no pickle hides behind others") {
  const std::string bad = assemble("GLOBAL os system\nEMPTY_TUPLE\nREDUCE\nSTOP"),
                    good = assemble("PROTO 2\nNONE\nSTOP");
  const auto times = [](const std::string& part, int count) {
    std::string out;
    for (int i = 0; i < count; ++i) out += part;
    return out;
  };
  const auto worst = [](const Opened& opened) { return opened.weights.files.at(0).object->worst(); };
  CHECK(worst(open_bytes(times(good, 20) + bad, "x.pkl")) == Verdict::kDangerous);
  CHECK(worst(open_bytes(good + assemble("NONE\nSTOP") + bad, "x.pkl")) == Verdict::kDangerous);
  // If there are more than are looked at, the file is refused, not accepted.
  CHECK(has(open_bytes(times(good, 200) + bad, "x.pkl").error, "follow one another"));
  CHECK(open_bytes(good + std::string(100, '\0'), "x.pkl").error.empty());
  std::vector<ZipMember> many = {{.name = "x/data/0", .data = floats(12)}};
  for (int i = 0; i < 30; ++i) many.push_back({.name = "x/e" + std::to_string(i) + ".pkl", .data = good});
  many.push_back({.name = "x/notes.txt", .data = "\x80\x02" + bad});
  CHECK(worst(open_bytes(torch_zip(dict({{"a", tensor({})}}), many))) == Verdict::kDangerous);
  for (int i = 0; i < 100; ++i)
    many.insert(many.begin(), {.name = "x/f" + std::to_string(i) + ".pkl", .data = good});
  CHECK(has(open_bytes(torch_zip(dict({{"a", tensor({})}}), many)).error, "more further pickles"));
  std::string broken = torch_zip(dict({{"a", tensor({})}}));
  CHECK(open_bytes(broken).weights.findings.list().empty());
  const Opened crc = open_bytes(zip({{.name = "x/data.pkl", .data = good, .crc = 1}}));
  CHECK(crc.error.empty());
  CHECK(crc.weights.findings.count("ZP-CRC") == 1);
  // What the pickle would do is reported even though the storages lie.
  const Opened lie =
      open_bytes(torch_zip(call_and(dict({{"a", tensor({})}})), {{.name = "x/byteorder", .data = "odd"}}));
  CHECK(has(lie.error, "byte order"));
  CHECK(worst(lie) == Verdict::kDangerous);
}

TEST_CASE("torch: small files that would grow without end") {
  const std::string one = tensor({}) + "BINPUT 0\nPOP\n";
  // Ten tensors in each list, ten lists in each list: 10^30 paths.
  std::string laughs = one + "BINGET 0\n";
  for (int i = 0; i < 30; ++i) {
    laughs += "BINPUT " + std::to_string(i) + "\nPOP\nMARK\n";
    for (int k = 0; k < 10; ++k) laughs += "BINGET " + std::to_string(i) + "\n";
    laughs += "LIST\n";
  }
  CHECK_FALSE(open_bytes(torch_zip(laughs)).error.empty());
  // The same without a tensor at the end.
  std::string none = "NONE\n";
  for (int i = 0; i < 30; ++i) {
    none += "BINPUT " + std::to_string(i) + "\nPOP\nMARK\n";
    for (int k = 0; k < 10; ++k) none += "BINGET " + std::to_string(i) + "\n";
    none += "LIST\n";
  }
  CHECK(has(open_bytes(torch_zip(none)).error, "has no end"));
  // One long key under which all tensors stand.
  const std::string key = "BINUNICODE " + std::string(70'000, 'k') + "\nBINPUT 1\nPOP\n";
  CHECK(has(open_bytes(torch_zip(one + key + "EMPTY_DICT\nBINGET 1\nBINGET 0\nSETITEM\n")).error,
            "the name of a tensor"));
  std::string nested = one + "BINUNICODE " + std::string(700, 'k') + "\nBINPUT 1\nPOP\n";
  for (int i = 0; i < 200; ++i) nested += "EMPTY_DICT\nBINGET 1\n";
  nested += "BINGET 0\n";
  for (int i = 0; i < 200; ++i) nested += "SETITEM\n";
  CHECK(has(open_bytes(torch_zip(nested)).error, "the name of a tensor"));
  std::string bytes = assemble("PROTO 2\n" + one + "EMPTY_DICT\nMARK");
  for (int i = 0; i < 300'001; ++i) {
    char text[8];
    std::snprintf(text, sizeof text, "%06x", static_cast<unsigned>(i));
    bytes += std::string("X\x06\0\0\0", 5) + text + std::string("h\0", 2);
  }
  bytes += "u.";
  CHECK(has(open_bytes(zip({{.name = "x/data.pkl", .data = bytes}, {.name = "x/data/0", .data = floats(12)}}))
                .error,
            "more than 300,000 tensors"));
}

TEST_CASE("torch: which tensors are the weights") {
  const std::string state =
      dict({{"a", tensor({})}, {"b", tensor({.shape = {2}, .strides = {1}})}, {"note", "BININT1 3\n"}});
  const auto opened = [](const std::string& root) { return open_bytes(torch_zip(root)).weights; };
  const auto names = [](const Weights& weights) {
    std::string all;
    for (const Tensor& each : weights.tensors) all += each.name + " ";
    return all;
  };
  CHECK(names(opened(state)) == "a b ");
  CHECK(opened(state).files[0].object->left_out == std::vector<std::string>{"note (int)"});
  for (const char* key : {"state_dict", "model", "module", "model_state_dict"}) {
    const Weights weights = opened(dict({{"epoch", "BININT1 1\n"}, {key, state}}));
    CHECK(names(weights) == "a b ");
    CHECK(weights.files[0].object->state_dict_key == key);
  }
  const Weights tree =
      opened(dict({{"state", dict({{"x", "EMPTY_LIST\n" + tensor({}) + "APPEND\n"}})}, {"lr", "NONE\n"}}));
  CHECK(names(tree) == "state.x.0 ");
  CHECK_FALSE(tree.files[0].object->is_state_dict);
  const Weights twice = opened(dict(
      {{"a", tensor({})}, {"b", tensor({})}, {"a", tensor({.offset = 1, .shape = {2}, .strides = {1}})}}));
  CHECK(names(twice) == "a b ");
  CHECK(values(twice) == std::vector<float>{1, 2});
  CHECK(twice.findings.count("PT-DUP") == 1);
}

TEST_CASE("torch: types that safetensors can't hold are described") {
  const Weights weights =
      open_bytes(
          torch_zip(dict(
              {{"t",
                tensor({.type = "ComplexDoubleStorage", .elements = 3, .shape = {2}, .strides = {1}})}})))
          .weights;
  CHECK(weights.tensors[0].dtype == Dtype::kForeign);
  CHECK(type_text(weights.tensors[0]) == "complex128");
  CHECK(weights.tensors[0].size == 32);
}

TEST_CASE("torch: the state dict is found below any key if it is the only one") {
  const std::string state = dict({{"a.weight", tensor({})}});
  const std::string other = dict({{"b.weight", tensor({})}});
  const std::string scalar = dict({{"acc", tensor({.shape = {}, .strides = {}})}});
  const std::string optimizer = dict({{"state", dict({{"a", state}})}, {"param_groups", "EMPTY_LIST\n"}});
  const std::string count = "BININT1 7\n";
  struct Row {
    std::string root, wanted, key, names, others;
  };
  const std::vector<Row> rows = {
      {state, "", "", "a.weight", ""},
      {dict({{"ema", state}, {"iter", count}}), "", "ema", "a.weight", ""},
      {dict({{"net", state}, {"metrics", scalar}, {"best", optimizer}, {"rng_state", other}}), "", "net",
       "a.weight", ""},
      {dict({{"ema", state}, {"iter", tensor({.shape = {}, .strides = {}})}}), "", "ema", "a.weight", ""},
      {dict({{"net", state}, {"rng_state", tensor({})}}), "", "net", "a.weight", ""},
      {dict({{"a.weight", tensor({})}, {"extra", scalar}}), "", "", "a.weight", ""},
      {dict({{"best", dict({{"net", state}})}, {"rng_state", tensor({})}}), "", "best.net", "a.weight", ""},
      {dict({{"x", dict({{"y", dict({{"z", state}})}})}}), "", "x.y.z", "a.weight", ""},
      {dict({{"model", state}, {"ema", other}}), "", "model", "a.weight", "ema"},
      {dict({{"model", state}, {"ema", other}}), "ema", "ema", "b.weight", ""},
      {dict({{"g", state}, {"d", other}}), "", "", "g.a.weight d.b.weight", "g d"},
      {dict({{"g", state}, {"d", other}}), "d", "d", "b.weight", ""},
      {dict({{"g", state}, {"d", other}}), "e", "e", "g.a.weight d.b.weight", "g d"},
      {dict({{"a.b", dict({{"c", state}})}}), "a.b", "a.b.c", "a.weight", ""},
      {dict({{"a.b", dict({{"c", state}})}}), "a.b.c", "a.b.c", "a.weight", ""},
      {dict({{"ema", dict({{"n", count}, {"m", count}, {"a.weight", tensor({})}})}}), "ema", "ema",
       "a.weight", ""},
      {state, "x", "x", "a.weight", ""},
      {optimizer, "", "", "state.a.a.weight", ""},
  };
  for (const Row& row : rows) {
    const TempFolder folder;
    put(folder / "x.pt", torch_zip(row.root));
    const Weights weights = open_weights(folder / "x.pt", row.wanted);
    const TorchObject& object = *weights.files.front().object;
    std::vector<std::string> names;
    for (const Tensor& t : weights.tensors) names.push_back(t.name);
    CAPTURE(row.root);
    CAPTURE(row.wanted);
    CHECK(object.state_dict_key == row.key);
    CHECK(join(names, " ") == row.names);
    CHECK(join(object.other_state_dicts, " ") == row.others);
  }
}

TEST_CASE("torch: a search for state dicts ends however often values are shared") {
  // Each of 200 mappings holds the next one many times.
  std::string root = "EMPTY_DICT\n";
  for (int i = 0; i < 200; ++i) {
    const std::string at = std::to_string(i);
    root += "PUT " + at + "\nPOP\nEMPTY_DICT\nMARK\n";
    for (const char* key : {"p", "q", "r", "s"})
      root += std::string("BINUNICODE ") + key + "\nGET " + at + "\n";
    root += "SETITEMS\n";
  }
  const Opened opened = open_bytes(torch_zip(root));
  CHECK(opened.weights.tensors.empty());
}

TEST_CASE("torch: an element of float4 holds two values, which the last dimension counts") {
  const auto float4 = [](const std::vector<long long>& shape, const std::vector<long long>& strides) {
    return "GLOBAL torch._utils _rebuild_tensor_v3\nMARK\nMARK\nBINUNICODE storage\nGLOBAL torch.storage "
           "UntypedStorage\nBINUNICODE 0\nBINUNICODE cpu\nBININT 48\nTUPLE\nBINPERSID\nBININT 0\n" +
           ints(shape) + ints(strides) + "NEWFALSE\nNONE\nGLOBAL torch float4_e2m1fn_x2\nTUPLE\nREDUCE\n";
  };
  std::string bytes;
  for (char c = 0; c < 48; ++c) bytes += c;
  const auto open = [&](const std::string& node) {
    return open_bytes(torch_zip(dict({{"t", node}}), {{.name = "x/data/0", .data = bytes}})).weights;
  };
  const Weights turned = open(float4({2, 3}, {1, 2}));
  const Tensor& tensor = turned.tensors.at(0);
  CHECK(tensor.dtype == Dtype::kF4);
  CHECK(tensor.shape == std::vector<std::uint64_t>{2, 6});
  std::string read(6, ' ');
  turned.read(tensor, 0, std::as_writable_bytes(std::span(read)));
  CHECK(read == std::string("\0\2\4\1\3\5", 6));
  CHECK(open(float4({0}, {1})).tensors.at(0).shape == std::vector<std::uint64_t>{0});
  const Weights scalar = open(float4({}, {}));
  CHECK(scalar.tensors.at(0).dtype == Dtype::kForeign);
  CHECK(type_text(scalar.tensors.at(0)) == "float4_e2m1fn_x2");
}
