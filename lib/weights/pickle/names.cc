// SPDX-License-Identifier: Apache-2.0
// The verdicts on names. A pickle can import any class or function and call it, so only the
// names in it decide what it can do. A name goes through these steps:
//
// 1. Python 2 names become those of Python 3 (canonical_global), as pickle itself maps them.
//
// 2. A dangerous name is dangerous wherever it comes from: its module's first component is on the list of
// modules (of which one class, io.BytesIO, is spared), one of its components is on their list, or one of the
// rules of numerical libraries fits.
//
// 3. A name without dots is harmless if it is a dtype of torch or a rule of the allow-list fits. The list is
// made of what torch, NumPy, Transformers, TRL, PEFT, accelerate and DeepSpeed leave in the files of a run:
// classes, and functions that build plain data.
//
// 4. Any other name is unknown, and is reported as such.
//
// What torch itself resolves with weights_only=True is another question, answered by is_weights_only_global.
#include "weights/pickle/names.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <vector>

#include "base/glob.h"
#include "base/text.h"

namespace mu {
namespace {

struct Rule {
  std::string_view module, name;  // globs
};

// What torch, NumPy, Transformers, TRL, PEFT, accelerate, DeepSpeed and Python's own plain types leave in the
// files of a run. Classes only, and functions that build plain data.
constexpr std::array kHarmless = std::to_array<Rule>({
    {"collections", "OrderedDict"},
    {"collections", "Counter"},
    {"collections", "defaultdict"},
    {"collections", "deque"},
    {"builtins", "set"},
    {"builtins", "frozenset"},
    {"builtins", "list"},
    {"builtins", "dict"},
    {"builtins", "tuple"},
    {"builtins", "int"},
    {"builtins", "float"},
    {"builtins", "bool"},
    {"builtins", "str"},
    {"builtins", "bytes"},
    {"builtins", "bytearray"},
    {"builtins", "complex"},
    {"builtins", "slice"},
    {"builtins", "range"},
    {"builtins", "object"},
    {"_codecs", "encode"},
    {"_io", "BytesIO"},  // holds bytes and no file; TransformerEngine leaves its extra states in it
    {"io", "BytesIO"},
    {"copyreg", "_reconstructor"},
    {"datetime", "datetime"},
    {"datetime", "date"},
    {"datetime", "timedelta"},
    {"datetime", "timezone"},
    {"decimal", "Decimal"},
    {"fractions", "Fraction"},
    {"uuid", "UUID"},
    {"argparse", "Namespace"},
    {"types", "SimpleNamespace"},
    {"pathlib", "*Path"},
    {"pathlib._local", "*Path"},
    // NumPy
    {"numpy.core.multiarray", "_reconstruct"},
    {"numpy.core.multiarray", "scalar"},
    {"numpy._core.multiarray", "_reconstruct"},
    {"numpy._core.multiarray", "scalar"},
    {"numpy._core.numeric", "_frombuffer"},
    {"numpy.core.numeric", "_frombuffer"},
    {"numpy", "ndarray"},
    {"numpy", "dtype"},
    {"numpy", "float*"},
    {"numpy", "int*"},
    {"numpy", "uint*"},
    {"numpy", "bool_"},
    {"numpy.dtypes", "*DType"},
    {"numpy.random._mt19937", "MT19937"},
    {"numpy.random._pickle", "__randomstate_ctor"},
    {"numpy.random._pickle", "__generator_ctor"},
    {"numpy.random._pickle", "__bit_generator_ctor"},
    // torch
    {"torch", "*Storage"},
    {"torch", "*Tensor"},
    {"torch", "Size"},
    {"torch", "device"},
    {"torch", "dtype"},
    {"torch", "Tensor"},
    {"torch", "Generator"},
    {"torch", "per_*"},
    {"torch", "strided"},
    {"torch", "contiguous_format"},
    {"torch", "preserve_format"},
    {"torch", "channels_last"},
    {"torch.cuda", "*Storage"},
    {"torch.cuda", "*Tensor"},
    {"torch.sparse", "*Tensor"},
    {"torch.storage", "*Storage"},
    {"torch.storage", "_LegacyStorage"},
    {"torch.serialization", "_get_layout"},
    {"torch.nn.parameter", "Parameter"},
    {"torch.nn.parameter", "Buffer"},
    {"torch.nn.modules.*", "[A-Z]*"},
    {"torch.optim.*", "[A-Z]*"},
    {"torch._utils", "_rebuild_tensor"},
    {"torch._utils", "_rebuild_tensor_v2"},
    {"torch._utils", "_rebuild_tensor_v3"},
    {"torch._utils", "_rebuild_parameter"},
    {"torch._utils", "_rebuild_parameter_with_state"},
    {"torch._utils", "_rebuild_qtensor"},
    {"torch._utils", "_rebuild_sparse_tensor"},
    {"torch._utils", "_rebuild_sparse_csr_tensor"},
    {"torch._utils", "_rebuild_nested_tensor"},
    {"torch._utils", "_rebuild_meta_tensor_no_storage"},
    {"torch._utils", "_rebuild_wrapper_subclass"},
    {"torch._utils", "_rebuild_device_tensor_from_numpy"},
    {"torch._utils", "_rebuild_device_tensor_from_cpu_tensor"},
    {"torch._tensor", "_rebuild_from_type_v2"},
    {"torch._C._nn", "gelu"},
    {"torch.distributed.checkpoint.metadata", "[A-Z_]*"},
    {"torch.distributed.checkpoint.filesystem", "_StorageInfo"},
    {"torch.distributed._shard.checkpoint.metadata", "[A-Z_]*"},
    {"torch.distributed._shard.sharded_tensor.metadata", "[A-Z_]*"},
    {"torch.distributed._shard.sharded_tensor.api", "ShardedTensor"},
    {"torch.distributed._shard.sharded_tensor.shard", "Shard"},
    {"torch.distributed._shard.metadata", "ShardMetadata"},
    {"torch.distributed._shard.sharding_spec.chunk_sharding_spec", "ChunkShardingSpec"},
    {"torch.distributed._shard.sharding_spec.api", "EnumerableShardingSpec"},
    {"torch.distributed.remote_device", "_remote_device"},
    {"torch.distributed.tensor", "DTensor"},
    {"torch.distributed._tensor*", "[A-Z_]*"},
    {"torch.distributed.tensor._dtensor_spec", "[A-Z_]*"},
    {"torch.distributed.tensor.placement_types", "[A-Z_]*"},
    {"torch.distributed.device_mesh", "DeviceMesh"},
    {"torch.nested._internal.nested_tensor", "NestedTensor"},
    {"torch.nested._internal.nested_tensor", "_rebuild_njt"},
    {"torch.distributed._mesh_layout", "_MeshLayout"},
    {"torch.distributed._mesh_layout", "_FlatLayout"},
    {"torch.amp.grad_scaler", "[A-Z]*"},
    {"torch.distributed.fsdp.*", "[A-Z]*"},
    // Transformers, TRL, PEFT, accelerate, DeepSpeed
    {"transformers.training_args", "[A-Z]*"},
    {"transformers.training_args_seq2seq", "[A-Z]*"},
    {"transformers.trainer_utils", "[A-Z]*"},
    {"transformers.trainer_pt_utils", "AcceleratorConfig"},
    {"transformers.debug_utils", "DebugOption"},
    {"transformers.optimization", "[A-Z]*"},
    {"transformers.integrations.deepspeed", "Hf*Config"},
    {"transformers.deepspeed", "Hf*Config"},
    {"transformers.generation.configuration_utils", "GenerationConfig"},
    {"transformers.configuration_utils", "PretrainedConfig"},
    {"transformers.configuration_utils", "PreTrainedConfig"},
    {"transformers.utils.quantization_config", "[A-Z]*"},
    {"transformers.models.*.configuration_*", "[A-Z]*Config"},
    {"trl.trainer.*", "[A-Z]*Config"},
    {"trl.experimental.*", "[A-Z]*Config"},
    {"trl.trainer.*", "FDivergenceType"},
    {"trl.extras.*", "[A-Z]*Config"},
    {"peft.tuners.*", "[A-Z]*Config"},
    {"peft.config", "[A-Z]*Config"},
    {"peft.utils.peft_types", "[A-Z]*"},
    {"accelerate.state", "PartialState"},
    {"accelerate.state", "AcceleratorState"},
    {"accelerate.utils.dataclasses", "[A-Z]*"},
    {"accelerate.optimizer", "AcceleratedOptimizer"},
    {"accelerate.scheduler", "AcceleratedScheduler"},
    {"deepspeed.runtime.zero.config", "[A-Z]*"},
    {"deepspeed.runtime.zero.offload_config", "[A-Z]*"},
    {"deepspeed.utils.tensor_fragment", "fragment_address"},
    {"deepspeed.runtime.fp16.loss_scaler", "[A-Z]*"},
    {"deepspeed.runtime.lr_schedules", "[A-Z]*"},
    {"bitsandbytes.optim.*", "[A-Z]*"},
});

// Dtypes of torch by name.
constexpr std::string_view kTorchDtypes =
    " bfloat16 bits16 bits1x8 bits2x4 bits4x2 bits8 bool complex128 complex32 complex64 float16 "
    "float32 float4_e2m1fn_x2 float64 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz "
    "float8_e8m0fnu int1 int16 int2 int3 int32 int4 int5 int6 int64 int7 int8 qint32 qint8 quint2x4 "
    "quint4x2 quint8 uint1 uint16 uint2 uint3 uint32 uint4 uint5 uint6 uint64 uint7 uint8 ";

// Modules in which nothing is harmless, by their first component.
constexpr std::string_view kDangerousModules =
    " os posix nt posixpath ntpath subprocess sys pty importlib runpy pkgutil pydoc imp zipimport site "
    "pickle _pickle marshal cloudpickle dill joblib shelve code codeop operator _operator functools "
    "_functools itertools timeit trace profile cProfile bdb pdb doctest idlelib lib2to3 venv ensurepip "
    "pip distutils setuptools ctypes _ctypes asyncio multiprocessing _osx_support _aix_support imaplib "
    "_pyrepl test io _io logging shutil tempfile glob fileinput http requests aiohttp httpx urllib "
    "urllib3 socket _socket ssl smtplib ftplib telnetlib xmlrpc socketserver webbrowser antigravity "
    "inspect ast gc signal threading _thread concurrent sched atexit warnings cffi sqlite3 readline "
    "rlcompleter linecache traceback faulthandler tracemalloc resource mmap fcntl platform getpass "
    "crypt ptpython IPython nbformat pexpect paramiko fabric invoke plumbum sh _interpreters "
    "_xxsubinterpreters interpreters cgitb unittest pytest nose compileall py_compile modulefinder "
    "optparse configparser dbm mailcap turtle tkinter wsgiref zipapp sysconfig msilib winreg _winapi "
    "weakref SimpleHTTPServer CGIHTTPServer dns pathlib2 ";

// Names that are dangerous wherever they come from, as any component of a dotted name.
constexpr std::string_view kDangerousComponents =
    " eval exec execfile compile open __import__ getattr setattr delattr apply breakpoint globals "
    "locals vars input system popen spawn subprocess Popen os sys importlib builtins runstring load "
    "loads _load_from_bytes CodeType FunctionType ModuleType get_type_hints execWrapper import_module "
    "compile_file run_code exec_module load_module attrgetter methodcaller partial ";

// Functions of numerical libraries that run code or reach the network.
constexpr std::array kDangerousNames = std::to_array<Rule>({
    {"numpy.testing*", "*"},
    {"numpy.f2py*", "*"},
    {"numpy.distutils*", "*"},
    {"numpy", "fromfile"},
    {"numpy", "memmap"},
    {"torch.utils.bottleneck*", "*"},
    {"torch.utils.collect_env", "*"},
    {"torch.utils.data.datapipes*", "*"},
    {"torch.utils.cpp_extension", "*"},
    {"torch.utils._config_module*", "*"},
    {"torch.utils.model_dump*", "*"},
    {"torch.utils.benchmark*", "*"},
    {"torch._inductor*", "*"},
    {"torch._dynamo*", "*"},
    {"torch.jit*", "*"},
    {"torch.fx*", "*"},
    {"torch.hub", "*"},
    {"torch.package*", "*"},
    {"torch.distributed.rpc*", "*"},
    {"torch.multiprocessing*", "*"},
    {"types", "CodeType"},
    {"types", "FunctionType"},
    {"uuid", "_*"},
    {"pathlib*", "*.*"},  // methods: write_text, unlink …
});

// Whether a list above, words between blanks, has the word.
bool is_word_of(std::string_view words, std::string_view word) {
  if (word.empty() || word.find(' ') != std::string_view::npos) return false;
  for (std::size_t at = words.find(word); at != std::string_view::npos; at = words.find(word, at + 1)) {
    if (words[at - 1] == ' ' && words[at + word.size()] == ' ') return true;
  }
  return false;
}

bool is_ruled(std::span<const Rule> rules, std::string_view module, std::string_view name) {
  return std::any_of(rules.begin(), rules.end(), [&](const Rule& rule) {
    return glob_matches(rule.module, module) && glob_matches(rule.name, name);
  });
}

}  // namespace

std::string_view verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kHarmless:
      return "harmless";
    case Verdict::kUnknown:
      return "unknown";
    case Verdict::kDangerous:
      return "dangerous";
  }
  return "";
}

std::string canonical_global(std::string_view module, std::string_view name) {
  static constexpr std::array kModules =
      std::to_array<std::pair<std::string_view, std::string_view>>({{"__builtin__", "builtins"},
                                                                    {"copy_reg", "copyreg"},
                                                                    {"cPickle", "pickle"},
                                                                    {"StringIO", "io"},
                                                                    {"cStringIO", "io"},
                                                                    {"urllib2", "urllib.request"},
                                                                    {"urlparse", "urllib.parse"},
                                                                    {"httplib", "http.client"},
                                                                    {"Queue", "queue"},
                                                                    {"ConfigParser", "configparser"},
                                                                    {"SocketServer", "socketserver"},
                                                                    {"commands", "subprocess"},
                                                                    {"thread", "_thread"},
                                                                    {"xmlrpclib", "xmlrpc.client"},
                                                                    {"SimpleXMLRPCServer", "xmlrpc.server"},
                                                                    {"BaseHTTPServer", "http.server"},
                                                                    {"cookielib", "http.cookiejar"},
                                                                    {"exceptions", "builtins"},
                                                                    {"torch.tensor", "torch._tensor"}});
  static constexpr std::array kNames = std::to_array<std::pair<std::string_view, std::string_view>>(
      {{"__builtin__.xrange", "builtins.range"},
       {"__builtin__.reduce", "functools.reduce"},
       {"__builtin__.intern", "sys.intern"},
       {"__builtin__.unichr", "builtins.chr"},
       {"__builtin__.unicode", "builtins.str"},
       {"__builtin__.long", "builtins.int"},
       {"itertools.izip", "builtins.zip"},
       {"itertools.imap", "builtins.map"},
       {"itertools.ifilter", "builtins.filter"},
       {"UserDict.UserDict", "collections.UserDict"},
       {"socket.fromfd", "socket.fromfd"}});
  const std::string whole = std::string(module) + "." + std::string(name);
  for (const auto& [old_name, new_name] : kNames) {
    if (whole == old_name) return std::string(new_name);
  }
  for (const auto& [old_name, new_name] : kModules) {
    if (module == old_name) return std::string(new_name) + "." + std::string(name);
  }
  return whole;
}

Verdict judge_global(std::string_view module_written, std::string_view name_written) {
  const std::string whole = canonical_global(module_written, name_written);
  // Three numbers that mark_dynamic() leaves on a tensor. torch adds it to the names that it takes for safe.
  if (whole == "torch._dynamo.decorators._DimRange" && name_written == "_DimRange") return Verdict::kHarmless;
  // The mapping changes the module and never the dots of the name, so the name is what is left at the end.
  const std::size_t dots =
      static_cast<std::size_t>(std::count(name_written.begin(), name_written.end(), '.'));
  std::size_t cut = whole.size();
  for (std::size_t i = 0; i <= dots && cut != std::string::npos; ++i)
    cut = cut == 0 ? std::string::npos : whole.rfind('.', cut - 1);
  const std::string_view module = std::string_view(whole).substr(0, cut == std::string::npos ? 0 : cut);
  const std::string_view name = std::string_view(whole).substr(cut == std::string::npos ? 0 : cut + 1);
  const bool is_buffer = (module == "_io" || module == "io") && name == "BytesIO";
  if (!is_buffer && (is_word_of(kDangerousModules, module.substr(0, module.find('.'))) ||
                     is_ruled(kDangerousNames, module, name)))
    return Verdict::kDangerous;
  for (const std::string_view component : split(name, '.')) {
    const bool dunder = component.starts_with("__") && component.ends_with("__");
    if (dunder || is_word_of(kDangerousComponents, component)) return Verdict::kDangerous;
  }
  if (name.find('.') != std::string_view::npos) return Verdict::kUnknown;
  const bool is_dtype = module == "torch" && is_word_of(kTorchDtypes, name);
  return is_dtype || is_ruled(kHarmless, module, name) ? Verdict::kHarmless : Verdict::kUnknown;
}

bool is_weights_only_global(std::string_view canonical) {
  static constexpr std::string_view kNames =
      " collections.OrderedDict collections.Counter torch.nn.parameter.Parameter torch.Size torch.Tensor "
      "torch.device torch.serialization._get_layout _codecs.encode builtins.bytearray builtins.set "
      "builtins.complex torch.per_tensor_affine torch.per_tensor_symmetric torch.per_channel_affine "
      "torch.per_channel_symmetric torch.per_channel_affine_float_qparams torch._utils._rebuild_tensor "
      "torch._utils._rebuild_tensor_v2 torch._utils._rebuild_tensor_v3 torch._utils._rebuild_parameter "
      "torch._utils._rebuild_parameter_with_state torch._utils._rebuild_qtensor "
      "torch._utils._rebuild_sparse_tensor torch._utils._rebuild_nested_tensor "
      "torch._utils._rebuild_meta_tensor_no_storage torch._utils._rebuild_wrapper_subclass "
      "torch._utils._rebuild_device_tensor_from_numpy torch._utils._rebuild_device_tensor_from_cpu_tensor "
      "torch._tensor._rebuild_from_type_v2 torch.storage.TypedStorage torch.storage.UntypedStorage ";
  // Element types by the names of their classes: with tensors and storages, only with storages.
  static constexpr std::string_view kBoth = " BFloat16 Bool Byte Char Double Float Half Int Long Short ";
  static constexpr std::string_view kStorages =
      " ComplexDouble ComplexFloat QInt32 QInt8 QUInt2x4 QUInt4x2 QUInt8 ";
  if (is_word_of(kNames, canonical)) return true;
  const std::size_t dot = canonical.rfind('.');
  if (dot == std::string_view::npos) return false;
  const std::string_view module = canonical.substr(0, dot), name = canonical.substr(dot + 1);
  if (module == "torch" && is_word_of(kTorchDtypes, name)) return true;
  const bool sparse = module == "torch.sparse" || module == "torch.cuda.sparse";
  if (!sparse && module != "torch" && module != "torch.cuda") return false;
  constexpr std::string_view kTensor = "Tensor", kStorage = "Storage";
  if (name.ends_with(kTensor)) {
    const std::string_view type = name.substr(0, name.size() - kTensor.size());
    return is_word_of(kBoth, type) && !(sparse && type == "Bool");
  }
  if (sparse || !name.ends_with(kStorage)) return false;
  const std::string_view type = name.substr(0, name.size() - kStorage.size());
  const bool quantized = type.starts_with('Q');
  return is_word_of(kBoth, type) || (is_word_of(kStorages, type) && !(quantized && module == "torch.cuda"));
}

}  // namespace mu
