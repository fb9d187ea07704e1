// SPDX-License-Identifier: Apache-2.0
#include "weights/pickle/pickle.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "assembler.h"
#include "model/pickled.h"
#include "model/secrets.h"
#include "weights/pickle/safety.h"

using namespace mu;
using namespace mu::testing;

namespace {

std::string value_of(const std::string& program) {
  const std::string data = assemble(program);
  const Pickle pickle(data);
  if (pickle.fault()) return "fault: " + pickle.fault()->message;
  return python_value(pickle, pickle.root(), 1000);
}

std::string fault_of(const std::string& data) {
  const Pickle pickle(data);
  return pickle.fault() ? pickle.fault()->message : "";
}

Verdict verdict_of(const std::string& program) {
  const std::string data = assemble(program);
  return report_pickle(Pickle(data)).worst;
}

// Programs that name os.system, or something like it, in every possible way.
const std::vector<std::string> kSpellings = {
    "GLOBAL os system\nMARK\nBINUNICODE id\nTUPLE\nREDUCE\nSTOP",
    "PROTO 4\nSHORT_BINUNICODE os\nSHORT_BINUNICODE system\nSTACK_GLOBAL\nEMPTY_TUPLE\nREDUCE\nSTOP",
    "PROTO 4\nSHORT_BINUNICODE system\nMEMOIZE\nSHORT_BINUNICODE os\nMEMOIZE\nBINGET 1\nBINGET "
    "0\nSTACK_GLOBAL\nSTOP",
    "SHORT_BINUNICODE os\nBINPUT 7\nPOP\nSHORT_BINUNICODE system\nBINPUT 9\nPOP\nBINGET 7\nBINGET "
    "9\nSTACK_GLOBAL\nSTOP",
    "STRING 'os'\nSTRING 'system'\nSTACK_GLOBAL\nSTOP",
    "STRING '\\x6fs'\nUNICODE \\u0073ystem\nSTACK_GLOBAL\nSTOP",
    "SHORT_BINSTRING os\nBINSTRING system\nSTACK_GLOBAL\nSTOP",
    "SHORT_BINUNICODE json\nBINPUT 0\nPOP\nSHORT_BINUNICODE os\nBINPUT 0\nPOP\nBINGET 0\nSHORT_BINUNICODE "
    "system\nSTACK_GLOBAL\nSTOP",
    "MARK\nBINUNICODE id\nINST os system\nSTOP",
    "MARK\nGLOBAL os system\nBINUNICODE id\nOBJ\nSTOP",
    "MARK\nGLOBAL os system\nBINUNICODE id\nOBJ\nPOP\nNONE\nSTOP",
    "GLOBAL os system\nEMPTY_TUPLE\nNEWOBJ\nSTOP",
    "GLOBAL os system\nEMPTY_TUPLE\nEMPTY_DICT\nNEWOBJ_EX\nSTOP",
    "GLOBAL collections OrderedDict\nEMPTY_TUPLE\nREDUCE\nGLOBAL os system\nBUILD\nSTOP",
    "GLOBAL torch.serialization os.system\nSTOP",
    "GLOBAL torch._dynamo.guards GuardBuilder.get\nSTOP",
    "GLOBAL torch._dynamo.decorators.x _DimRange\nSTOP",
    "GLOBAL torch._dynamo.decorators mark_dynamic\nSTOP",
    "GLOBAL collections OrderedDict.__init__.__globals__\nSTOP",
    "GLOBAL posix system\nSTOP",
    "GLOBAL nt system\nSTOP",
    "GLOBAL __builtin__ eval\nSTOP",
    "GLOBAL cPickle loads\nSTOP",
    "GLOBAL commands getoutput\nSTOP",
    "GLOBAL urllib2 urlopen\nSTOP",
    "GLOBAL _operator attrgetter\nSTOP",
    "GLOBAL _io FileIO\nSTOP",
    "GLOBAL builtins getattr\nGLOBAL os\nSTOP\nSTOP",
    "GLOBAL builtins getattr\nMARK\nGLOBAL collections OrderedDict\nBINUNICODE "
    "__class__\nTUPLE\nREDUCE\nSTOP",
    "GLOBAL builtins getattr\nMARK\nGLOBAL mine Thing\nBINUNICODE run\nTUPLE\nREDUCE\nSTOP",
    "EMPTY_LIST\nGLOBAL builtins getattr\nAPPEND\nSTOP",
    "GLOBAL collections OrderedDict\nMARK\nGLOBAL os system\nMARK\nBINUNICODE "
    "id\nTUPLE\nREDUCE\nTUPLE\nREDUCE\nSTOP",
    "MARK\nGLOBAL os system\nPOP_MARK\nNONE\nSTOP",
    "GLOBAL os system\nPOP\nNONE\nSTOP",
};

}  // namespace

TEST_CASE("pickle: every opcode makes its value") {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"NONE\nSTOP", "None"},
      {"NEWTRUE\nSTOP", "True"},
      {"INT 01\nSTOP", "True"},
      {"INT 00\nSTOP", "False"},
      {"INT -12\nSTOP", "-12"},
      {"LONG 9223372036854775807L\nSTOP", "9223372036854775807"},
      {"LONG 9223372036854775808L\nSTOP", "9223372036854775808"},
      {"RAW 4affffffff2e", "-1"},
      {"BININT1 255\nSTOP", "255"},
      {"BININT2 65535\nSTOP", "65535"},
      {"RAW 8a002e", "0"},
      {"RAW 8a01ff2e", "-1"},
      {"RAW 8a02ff002e", "255"},
      {"RAW 8a0900000000000000000180", "fault: the pickle ends here"},
      {"RAW 8a090000000000000000012e", "0x010000000000000000"},
      {"RAW 8a09ffffffffffffffff802e", "-0x7f0000000000000001"},
      {"RAW 8b02000000ff7f2e", "32767"},
      {"FLOAT 1e-05\nSTOP", "1e-05"},
      {"RAW 473ff80000000000002e", "1.5"},
      {"STRING 'a\\'b\\n\\x41\\101'\nSTOP", "'a'b\\nAA'"},
      {"SHORT_BINSTRING abc\nSTOP", "'abc'"},
      {"UNICODE \\u00e9x\nSTOP", "'éx'"},
      {"BINUNICODE abc\nSTOP", "'abc'"},
      {"BINUNICODE8 abc\nSTOP", "'abc'"},
      {"SHORT_BINBYTES abc\nSTOP", "<3 bytes>"},
      {"BYTEARRAY8 ab\nSTOP", "<2 bytes>"},
      {"EMPTY_LIST\nBININT1 1\nAPPEND\nMARK\nBININT1 2\nBININT1 3\nAPPENDS\nSTOP", "[1, 2, 3]"},
      {"MARK\nBININT1 1\nLIST\nSTOP", "[1]"},
      {"BININT1 1\nTUPLE1\nSTOP", "(1,)"},
      {"BININT1 1\nBININT1 2\nBININT1 3\nTUPLE3\nSTOP", "(1, 2, 3)"},
      {"EMPTY_DICT\nBINUNICODE a\nBININT1 1\nSETITEM\nSTOP", "{'a': 1}"},
      {"MARK\nBINUNICODE a\nBININT1 1\nDICT\nSTOP", "{'a': 1}"},
      {"EMPTY_SET\nMARK\nBININT1 1\nADDITEMS\nSTOP", "{1}"},
      {"MARK\nBININT1 1\nFROZENSET\nSTOP", "{1}"},
      {"BININT1 1\nDUP\nTUPLE2\nSTOP", "(1, 1)"},
      {"BININT1 1\nBININT1 2\nPOP\nSTOP", "1"},
      {"BININT1 1\nMARK\nPOP\nSTOP", "1"},
      {"BININT1 1\nPUT 3\nPOP\nGET 3\nSTOP", "1"},
      {"BININT1 1\nLONG_BINPUT 300\nLONG_BINGET 300\nTUPLE2\nSTOP", "(1, 1)"},
      {"GLOBAL a.b C\nSTOP", "a.b.C"},
      {"GLOBAL a.b C\nEMPTY_TUPLE\nNEWOBJ\nEMPTY_DICT\nBINUNICODE x\nBININT1 1\nSETITEM\nBUILD\nSTOP",
       "C({'x': 1})"},
      {"GLOBAL a.b Kind\nBINUNICODE steps\nTUPLE1\nREDUCE\nSTOP", "'steps'"},
      {"GLOBAL builtins getattr\nGLOBAL a.b Kind\nBINUNICODE STEPS\nTUPLE2\nREDUCE\nSTOP", "'STEPS'"},
      {"PERSID key\nSTOP", "<storage>"},
  };
  for (const auto& [program, value] : rows) {
    CAPTURE(program);
    CHECK(value_of(program) == value);
  }
}

TEST_CASE("pickle: a dangerous global is found however it is spelt") {
  for (const std::string& program : kSpellings) {
    CAPTURE(program);
    if (program.find("GLOBAL os\n") != std::string::npos) continue;
    CHECK(verdict_of(program) == Verdict::kDangerous);
  }
}

TEST_CASE("pickle: every call is reported, discarded ones too") {
  const std::string data = assemble(
      "MARK\nGLOBAL os system\nBINUNICODE id\nOBJ\nPOP\nGLOBAL a "
      "f\nEMPTY_TUPLE\nREDUCE\nEMPTY_TUPLE\nREDUCE\nSTOP");
  const PickleReport report = report_pickle(Pickle(data));
  REQUIRE(report.calls.size() == 3);
  CHECK(report.calls[0].callee == "os.system");
  CHECK(report.calls[0].how == "OBJ");
  CHECK(report.calls[1].callee == "a.f");
  CHECK(report.calls[2].callee == "the result of a.f");
}

TEST_CASE("pickle: verdicts") {
  for (const char* name : {"builtins exec",
                           "subprocess Popen",
                           "importlib import_module",
                           "runpy _run_code",
                           "pickle loads",
                           "torch load",
                           "torch.storage _load_from_bytes",
                           "marshal loads",
                           "types FunctionType",
                           "operator methodcaller",
                           "functools partial",
                           "timeit timeit",
                           "ctypes CDLL",
                           "io FileIO",
                           "shutil rmtree",
                           "http.client HTTPSConnection",
                           "socket socket",
                           "numpy.testing._private.utils runstring",
                           "torch.utils.bottleneck.__main__ run_prof",
                           "torch._inductor.codecache compile_file",
                           "torch.jit.unsupported_tensor_ops execWrapper",
                           "sys exit",
                           "uuid _get_command_stdout",
                           "multiprocessing.util spawnv_passfds",
                           "transformers.training_args os.system"}) {
    CAPTURE(name);
    const std::string_view text = name;
    CHECK(judge_global(text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)) ==
          Verdict::kDangerous);
  }
  for (const char* name : {"collections OrderedDict",
                           "torch._utils _rebuild_tensor_v2",
                           "torch FloatStorage",
                           "torch float8_e4m3fn",
                           "numpy.core.multiarray _reconstruct",
                           "numpy._core.multiarray scalar",
                           "numpy dtype",
                           "_codecs encode",
                           "transformers.training_args TrainingArguments",
                           "trl.trainer.sft_config SFTConfig",
                           "transformers.trainer_utils IntervalStrategy",
                           "accelerate.state PartialState",
                           "peft.tuners.lora.config LoraConfig",
                           "deepspeed.runtime.zero.config ZeroStageEnum",
                           "torch.distributed.checkpoint.metadata Metadata",
                           "torch.distributed._mesh_layout _MeshLayout",
                           "torch.distributed._mesh_layout _FlatLayout",
                           "torch._dynamo.decorators _DimRange",
                           "pathlib PosixPath",
                           "__builtin__ set",
                           "_io BytesIO",
                           "io BytesIO"}) {
    CAPTURE(name);
    const std::string_view text = name;
    CHECK(judge_global(text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)) ==
          Verdict::kHarmless);
  }
  for (const char* name :
       {"mine Thing", "collections OrderedDict.fromkeys", "trl.trainer.sft_config helper",
        "copyreg extension(5)", "torch.distributed.checkpoint.metadata lower", "tor\xd1\x81h FloatStorage"}) {
    CAPTURE(name);
    const std::string_view text = name;
    CHECK(judge_global(text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)) == Verdict::kUnknown);
  }
  CHECK(verdict_of("EXT1 5\nSTOP") == Verdict::kUnknown);
  CHECK(verdict_of("GLOBAL collections OrderedDict\nEMPTY_DICT\nBUILD\nSTOP") == Verdict::kUnknown);
  CHECK(verdict_of("GLOBAL builtins getattr\nGLOBAL transformers.trainer_utils IntervalStrategy\nBINUNICODE "
                   "STEPS\nTUPLE2\nREDUCE\nSTOP") == Verdict::kHarmless);
}

TEST_CASE("pickle: the one class that torch fetches by getattr is harmless in that very call") {
  const std::string sharded = "GLOBAL torch.distributed._shard.sharded_tensor.api ShardedTensor\n";
  const auto fetched = [](const std::string& owner, const std::string& name, const std::string& then) {
    return verdict_of("GLOBAL __builtin__ getattr\n" + owner + "BINUNICODE " + name + "\nTUPLE2\nREDUCE\n" +
                      then);
  };
  const std::string object = "EMPTY_TUPLE\nNEWOBJ\nEMPTY_DICT\nBUILD\nSTOP";
  CHECK(fetched(sharded, "ProcessGroupState", object) == Verdict::kHarmless);
  CHECK(fetched(sharded, "ProcessGroupState", "STOP") == Verdict::kHarmless);
  CHECK(fetched(sharded, "__init__", object) == Verdict::kDangerous);
  CHECK(fetched(sharded, "process_group", "STOP") == Verdict::kDangerous);
  CHECK(fetched("GLOBAL torch Tensor\n", "ProcessGroupState", object) == Verdict::kDangerous);
  CHECK(fetched("GLOBAL torch.distributed._shard.sharded_tensor ShardedTensor\n", "ProcessGroupState",
                object) == Verdict::kDangerous);
}

TEST_CASE("pickle: what torch's weights_only reader refuses") {
  const auto objection = [](const std::string& program) {
    const std::string data = assemble(program);
    return report_pickle(Pickle(data)).weights_only_objection.value_or("");
  };
  CHECK(objection("PROTO 2\nGLOBAL collections OrderedDict\nEMPTY_TUPLE\nREDUCE\nSTOP").empty());
  CHECK(objection("PROTO 2\nGLOBAL mine Thing\nSTOP") == "mine.Thing");
  CHECK(objection("PROTO 4\nSHORT_BINUNICODE a\nSTOP") == "opcode 0x8c");
  CHECK(objection("PROTO 2\nGLOBAL torch Size\nEMPTY_TUPLE\nREDUCE\nNONE\nAPPEND\nSTOP") ==
        "items appended to torch.Size");
  CHECK(objection("PROTO 2\nGLOBAL torch Size\nEMPTY_TUPLE\nREDUCE\nNONE\nNONE\nSETITEM\nSTOP") ==
        "items set on torch.Size");
  CHECK(objection("PROTO 2\nBINUNICODE 7\nBINPERSID\nSTOP") == "a persistent id that is not a tuple");
  CHECK(objection("PROTO 2\nGLOBAL torch complex\nSTOP") == "torch.complex");
}

TEST_CASE("pickle: what breaks readers is a fault") {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {assemble("NONE"), "the pickle ends here"},
      {"", "the pickle ends here"},
      {assemble("STOP"), "it takes a value from an empty stack"},
      {assemble("POP"), "it takes a value from an empty stack"},
      {assemble("NONE\nMARK\nPOP\nPOP\nDUP"), "it takes a value from an empty stack"},
      {assemble("NONE\nMARK\nTUPLE1\nSTOP"), "it takes a value from an empty stack"},
      {assemble("POP_MARK"), "it goes back to a mark that was never set"},
      {assemble("EMPTY_DICT\nMARK\nNONE\nSETITEMS\nSTOP"), "a dict gets a key without a value"},
      {assemble("EMPTY_DICT\nEMPTY_LIST\nNONE\nSETITEM\nSTOP"), "a list, dict or set is the key of a dict"},
      {assemble("NONE\nNONE\nAPPEND\nSTOP"), "it appends to something that is not a list, set or object"},
      {assemble("MARK\nOBJ\nSTOP"), "an object has no class"},
      {assemble("RAW 8bffffff7f"), "a number has 2147483647 bytes"},
      {assemble("RAW 8bffffffff"), "a length of -1"},
      {assemble("RAW 54ffffffff"), "a length of -1"},
      {assemble("RAW 8dffffffffffffff7f"), "the pickle ends here"},
      {assemble("RAW 96ffffffffffffffff"), "the pickle ends here"},
      {assemble("NONE\nLONG_BINPUT 4294967295\nSTOP"), "memo entry 4294967295 is far beyond the last one"},
      {assemble("BINGET 3\nSTOP"), "memo entry 3 was never set"},
      {assemble("PUT x\nSTOP"), "a memo index is not a number"},
      {assemble("PROTO 255\nNONE\nSTOP"), "pickle protocol 255 is unknown"},
      {assemble("FRAME 100\nNONE\nSTOP"), "a frame is longer than the pickle"},
      {assemble("RAW 5802000000ff002e"), "a text is not UTF-8"},
      {assemble("BININT1 1\nBININT1 2\nSTACK_GLOBAL\nSTOP"), "the name of a class or function is not text"},
      {assemble("EXT4 0\nSTOP"), "extension code 0"},
      {assemble("INT 12x\nSTOP"), "a whole number is not written in digits"},
      {assemble("FLOAT x\nSTOP"), "a number can't be read"},
      {assemble("STRING 'x\nSTOP"), "a string is not quoted"},
      {"I" + std::string(5000, '1') + "\n.", "a number has 5000 digits"},
      {"F" + std::string(5000, '1') + "\n.", "a number has 5000 digits"},
      {"V" + std::string(17'000'000, 'x') + "\n.", "a line has 17,000,000 bytes"},
      {"\xff", "opcode 0xff is unknown"},
      {std::string(1'000'000, ']') + std::string(999'999, 'a') + ".", "it nests deeper than 500 levels"},
      {std::string(2'000'000, ']') + ".", "its stack grows beyond all bounds"},
      {std::string(2'000'000, '('), "its marks grow beyond all bounds"},
  };
  for (const auto& [data, message] : rows) {
    CAPTURE(data.substr(0, 20));
    CHECK(fault_of(data) == message);
  }
}

TEST_CASE("pickle: what getattr fetches and what calls return is not called unnoticed") {
  const std::string member =
      "GLOBAL builtins getattr\nGLOBAL pathlib PosixPath\nBINUNICODE write_text\nTUPLE2\nREDUCE\n";
  CHECK(verdict_of(member + "STOP") == Verdict::kDangerous);
  CHECK(verdict_of(
            member +
            "GLOBAL pathlib PosixPath\nBINUNICODE x\nTUPLE1\nREDUCE\nBINUNICODE y\nTUPLE2\nREDUCE\nSTOP") ==
        Verdict::kDangerous);
  CHECK(verdict_of("GLOBAL collections OrderedDict\nEMPTY_TUPLE\nREDUCE\nEMPTY_TUPLE\nREDUCE\nSTOP") ==
        Verdict::kUnknown);
  // As one dotted name they read alike, but they are judged differently.
  CHECK(verdict_of("GLOBAL torch.nn.modules.a B\nGLOBAL torch nn.modules.a.B\nSTOP") == Verdict::kUnknown);
}

TEST_CASE("pickle: MEMOIZE counts as CPython does") {
  // Entries 0, 1 and 3 are set, so the next one is 3: os takes the place of what was there.
  CHECK(verdict_of("BINUNICODE a\nBINPUT 0\nBINPUT 1\nPOP\nBINUNICODE collections\nBINPUT 3\nPOP\nBINUNICODE "
                   "os\nMEMOIZE\nPOP\nBINGET 3\nBINUNICODE OrderedDict\nSTACK_GLOBAL\nSTOP") ==
        Verdict::kDangerous);
}

TEST_CASE("pickle: what readers disagree about is reported") {
  const auto oddity = [](const std::string& program) {
    const std::string data = assemble(program);
    const Pickle pickle(data);
    CHECK_FALSE(pickle.fault().has_value());
    return pickle.oddity() ? pickle.oddity()->message : "";
  };
  CHECK(oddity("PROTO 4\nFRAME 2\nNONE\nSTOP").empty());
  CHECK(oddity("PROTO 4\nFRAME 1\nNONE\nFRAME 1\nSTOP").empty());
  CHECK(oddity("PROTO 2\nPROTO 2\nNONE\nSTOP") == "its protocol is not given at its beginning");
  CHECK(oddity("NONE\nPROTO 2\nSTOP") == "its protocol is not given at its beginning");
  CHECK(oddity("PROTO 4\nFRAME 11\nFRAME 2\nNONE\nSTOP") == "a frame begins inside another");
  CHECK(oddity("PROTO 4\nFRAME 3\nBININT 7\nSTOP") == "a value crosses the end of its frame");
}

TEST_CASE("pickle: names are limited in length and number") {
  CHECK(fault_of("c" + std::string(300, 'm') + "\nn\n.") ==
        "it names a class or function with 301 characters");
  CHECK(fault_of(assemble("BINUNICODE " + std::string(300, 'm') + "\nBINUNICODE n\nSTACK_GLOBAL\nSTOP")) ==
        "it names a class or function with 301 characters");
  std::string many;
  for (int i = 0; i < 10'001; ++i) many += "cm\nn\n0";
  CHECK(fault_of(many + "N.") == "it names more than 10,000 classes and functions");
}

TEST_CASE("pickle: what is named before a fault is still reported") {
  const std::string data = assemble("GLOBAL os system\nMARK\nBINUNICODE id\nTUPLE\nREDUCE\nRAW ff");
  const PickleReport report = report_pickle(Pickle(data));
  REQUIRE(report.fault.has_value());
  CHECK(report.worst == Verdict::kDangerous);
  CHECK(report.calls.size() == 1);
}

TEST_CASE("pickle: a cut pickle is a fault at every byte, and says that it is cut") {
  for (std::string program : kSpellings) {
    const std::string data = assemble(program);
    for (std::size_t size = 0; size + 1 < data.size(); ++size) {
      const Pickle pickle(std::string_view(data).substr(0, size));
      if (!pickle.fault()) continue;  // a STOP in the middle
      CHECK(pickle.fault()->truncated);
    }
  }
}

TEST_CASE("pickle: endless as text, small as a graph") {
  // (x, x) of (x, x) …, 64 times.
  std::string doubled = "NONE\n";
  for (int i = 0; i < 64; ++i) doubled += "DUP\nTUPLE2\n";
  CHECK(value_of(doubled + "STOP").size() < 1100);
  // A list that holds itself.
  CHECK(value_of("EMPTY_LIST\nBINPUT 0\nBINGET 0\nAPPEND\nSTOP").find("…") != std::string::npos);
  // A path that is long though each node is first met close to the root.
  std::string chain = "EMPTY_LIST\nBINPUT 0\n";
  std::string root = "EMPTY_LIST\nMARK\nBINGET 0\n";
  for (int i = 1; i < 250; ++i) {
    chain += "EMPTY_LIST\nBINGET " + std::to_string(i - 1) + "\nAPPEND\nBINPUT " + std::to_string(i) + "\n";
    root += "BINGET " + std::to_string(i) + "\n";
  }
  CHECK(value_of(chain + root + "APPENDS\nSTOP").find("fault") == std::string::npos);
  std::string deep = assemble(chain);
  for (int i = 250; i < 700; ++i)
    deep += assemble("EMPTY_LIST\nLONG_BINGET " + std::to_string(i - 1) + "\nAPPEND\nLONG_BINPUT " +
                     std::to_string(i));
  deep += assemble("EMPTY_LIST\nMARK");
  for (int i = 0; i < 700; ++i) deep += assemble("LONG_BINGET " + std::to_string(i));
  CHECK(fault_of(deep + assemble("APPENDS\nSTOP")) == "it nests deeper than 500 levels");
}

TEST_CASE("pickle: memory has a ceiling") {
  // 40 million references to one value, two bytes each.
  std::string data = "]q\x01";
  data += '(';
  for (int i = 0; i < 1'000'000; ++i) data += "h\x01";
  data += "e.";
  CHECK(fault_of(data).empty());
  const auto repeated = [](const std::string& start, const std::string& part, std::size_t count) {
    std::string out = start;
    out.reserve(start.size() + part.size() * count + 1);
    for (std::size_t i = 0; i < count; ++i) out += part;
    return out + ".";
  };
  // Nodes, references, entries of the memo, states of a plain value, decoded texts: each on its own.
  for (const std::string& each : {repeated("]", "Na", 9'000'000),
                                  repeated("]Nq\x01" + std::string("0"),
                                           "h\x01"
                                           "a",
                                           35'000'000),
                                  repeated("N", "\x94", 35'000'000), repeated("}", "Nb", 8'000'000),
                                  repeated("(", "V" + std::string(1'000'000, '\xe9') + "\n", 70)}) {
    CAPTURE(each.substr(0, 10));
    CHECK(fault_of(each).find("more than are read") != std::string::npos);
  }
  const std::string small = repeated("]", "Na", 2'000'000);
  CHECK_FALSE(Pickle(small).fault().has_value());
  CHECK(Pickle(small, Pickle::kMaxSideMemory).fault().has_value());
}

TEST_CASE("pickled: keys and values that are repeated often are cut") {
  // A key of 4 MB with a thousand entries below it, and paths made of it.
  std::string data = "X" + le(std::uint32_t{4'000'000}) + std::string(4'000'000, 'k') + "q\x01" + "0}(";
  for (int i = 0; i < 1000; ++i) {
    data += "h\x01";
    data += le(std::uint8_t{'K'}) + std::string(1, static_cast<char>(i)) + "\x86N";
  }
  data += "u.";
  TorchObject object;
  object.data = data;
  object.pickle = std::make_unique<Pickle>(object.data);
  REQUIRE_FALSE(object.pickle->fault().has_value());
  const std::vector<PickledField> fields = pickled_fields(object);
  CHECK(fields.size() == 256);
  CHECK(fields[0].name.size() < 2000);
  const std::string path = assemble("GLOBAL pathlib PosixPath\nBINUNICODE " + std::string(1000, 'p') +
                                    "\nBINPUT 0\nPOP\nMARK\nBINGET 0\nBINGET 0\nTUPLE\nREDUCE\nSTOP");
  const Pickle p(path);
  CHECK(python_value(p, p.root(), 60).size() < 70);
}

TEST_CASE("pickled: secrets") {
  const auto secret = [](std::string_view name, const std::string& value) {
    const std::string data = assemble(value + "\nSTOP");
    const Pickle pickle(data);
    return is_secret(pickle, name, pickle.root());
  };
  CHECK(secret("hub_token", "BINUNICODE x"));
  CHECK(secret("WANDB_API_KEY", "BINUNICODE x"));
  CHECK(secret("aws_secret_access_key", "BINUNICODE x"));
  CHECK(secret("huggingface_token", "BINUNICODE a1b2c3d4e5f6a7b8c9d0"));
  // Whatever it is wrapped in.
  CHECK(secret("password", "BININT1 12"));
  CHECK(secret("password", "SHORT_BINBYTES x"));
  CHECK(secret("hub_token", "BINUNICODE x\nTUPLE1"));
  CHECK(secret("api_key", "GLOBAL pydantic.types SecretStr\nEMPTY_TUPLE\nNEWOBJ"));
  CHECK(secret(std::string(1'000, 'x') + "_password", "BINUNICODE x"));
  CHECK_FALSE(secret("hub_token", "BINUNICODE "));
  CHECK_FALSE(secret("hub_token", "NONE"));
  CHECK_FALSE(secret("use_auth_token", "NEWTRUE"));
  CHECK_FALSE(secret("eos_token", "BINUNICODE </s>"));
  CHECK_FALSE(secret("pad_token", "BINUNICODE <|reserved_special_token_12|>"));
  CHECK_FALSE(secret("max_tokens", "BININT1 12"));
  CHECK(mask_secrets("see hf_abcdefghijklmnopqrstuvwx, and hf_hub") == "see ***, and hf_hub");
  // A value that is shown in part shows no part of a token.
  const std::string long_text = assemble("BINUNICODE see hf_abcdefghijklmnopqrstuvwx\nSTOP");
  const Pickle pickle(long_text);
  CHECK(python_value(pickle, pickle.root(), 12) == "'see ***'");
  CHECK(plain_value(pickle, pickle.root(), 12) == "see ***");
}
