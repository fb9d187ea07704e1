// SPDX-License-Identifier: Apache-2.0
#include "weights/pickle_safety.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>

#include "base/glob.h"
#include "base/text.h"

namespace mu {
namespace {

struct Rule {
  std::string_view module, name;  // globs; of a harmless rule no '*' in the name stands for a dot
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
    {"torch.distributed.remote_device", "_remote_device"},
    {"torch.distributed.tensor", "DTensor"},
    {"torch.distributed._tensor*", "[A-Z_]*"},
    {"torch.distributed.tensor._dtensor_spec", "[A-Z_]*"},
    {"torch.distributed.tensor.placement_types", "[A-Z_]*"},
    {"torch.distributed.device_mesh", "DeviceMesh"},
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

// Dtypes of torch by name, "float32" … and the odd ones.
constexpr std::array kDtypes_ =
    std::to_array<std::string_view>({"float*", "bfloat16", "half", "double", "int[0-9]*", "uint[0-9]*",
                                     "bool", "long", "short", "complex*", "quint*", "qint*", "bits[0-9]*"});

// Modules from which nothing is harmless, by their first component.
constexpr std::array kDangerousModules = std::to_array<std::string_view>({"os",
                                                                          "posix",
                                                                          "nt",
                                                                          "posixpath",
                                                                          "ntpath",
                                                                          "subprocess",
                                                                          "sys",
                                                                          "pty",
                                                                          "commands",
                                                                          "importlib",
                                                                          "runpy",
                                                                          "pkgutil",
                                                                          "pydoc",
                                                                          "imp",
                                                                          "zipimport",
                                                                          "site",
                                                                          "pickle",
                                                                          "_pickle",
                                                                          "marshal",
                                                                          "cloudpickle",
                                                                          "dill",
                                                                          "joblib",
                                                                          "shelve",
                                                                          "code",
                                                                          "codeop",
                                                                          "operator",
                                                                          "_operator",
                                                                          "functools",
                                                                          "_functools",
                                                                          "itertools",
                                                                          "timeit",
                                                                          "trace",
                                                                          "profile",
                                                                          "cProfile",
                                                                          "bdb",
                                                                          "pdb",
                                                                          "doctest",
                                                                          "idlelib",
                                                                          "lib2to3",
                                                                          "venv",
                                                                          "ensurepip",
                                                                          "pip",
                                                                          "distutils",
                                                                          "setuptools",
                                                                          "ctypes",
                                                                          "_ctypes",
                                                                          "asyncio",
                                                                          "multiprocessing",
                                                                          "_osx_support",
                                                                          "_aix_support",
                                                                          "imaplib",
                                                                          "_pyrepl",
                                                                          "test",
                                                                          "io",
                                                                          "_io",
                                                                          "logging",
                                                                          "shutil",
                                                                          "tempfile",
                                                                          "glob",
                                                                          "fileinput",
                                                                          "http",
                                                                          "requests",
                                                                          "aiohttp",
                                                                          "httpx",
                                                                          "urllib",
                                                                          "urllib3",
                                                                          "socket",
                                                                          "_socket",
                                                                          "ssl",
                                                                          "smtplib",
                                                                          "ftplib",
                                                                          "telnetlib",
                                                                          "xmlrpc",
                                                                          "socketserver",
                                                                          "webbrowser",
                                                                          "antigravity",
                                                                          "inspect",
                                                                          "ast",
                                                                          "gc",
                                                                          "signal",
                                                                          "threading",
                                                                          "_thread",
                                                                          "concurrent",
                                                                          "sched",
                                                                          "atexit",
                                                                          "warnings",
                                                                          "builtin",
                                                                          "cffi",
                                                                          "sqlite3",
                                                                          "readline",
                                                                          "rlcompleter",
                                                                          "linecache",
                                                                          "traceback",
                                                                          "faulthandler",
                                                                          "tracemalloc",
                                                                          "resource",
                                                                          "mmap",
                                                                          "fcntl",
                                                                          "platform",
                                                                          "getpass",
                                                                          "crypt",
                                                                          "ptpython",
                                                                          "IPython",
                                                                          "nbformat",
                                                                          "pexpect",
                                                                          "paramiko",
                                                                          "fabric",
                                                                          "invoke",
                                                                          "plumbum",
                                                                          "sh",
                                                                          "_interpreters",
                                                                          "_xxsubinterpreters",
                                                                          "interpreters",
                                                                          "cgitb",
                                                                          "unittest",
                                                                          "pytest",
                                                                          "nose",
                                                                          "compileall",
                                                                          "py_compile",
                                                                          "modulefinder",
                                                                          "optparse",
                                                                          "configparser",
                                                                          "dbm",
                                                                          "mailcap",
                                                                          "turtle",
                                                                          "tkinter",
                                                                          "wsgiref",
                                                                          "zipapp",
                                                                          "sysconfig",
                                                                          "msilib",
                                                                          "winreg",
                                                                          "_winapi",
                                                                          "weakref"});

// Names that are dangerous wherever they come from, as any part of a dotted name.
constexpr std::array kDangerousParts =
    std::to_array<std::string_view>({"eval",        "exec",          "execfile",     "compile",
                                     "open",        "__import__",    "getattr",      "setattr",
                                     "delattr",     "apply",         "breakpoint",   "globals",
                                     "locals",      "vars",          "input",        "system",
                                     "popen",       "spawn",         "subprocess",   "Popen",
                                     "os",          "sys",           "importlib",    "builtins",
                                     "runstring",   "load",          "loads",        "_load_from_bytes",
                                     "CodeType",    "FunctionType",  "ModuleType",   "get_type_hints",
                                     "execWrapper", "import_module", "compile_file", "run_code",
                                     "exec_module", "load_module",   "attrgetter",   "methodcaller",
                                     "partial"});

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
});

bool name_matches(std::string_view glob, std::string_view name) {
  return name.find('.') == std::string_view::npos && Glob(glob).matches(name);
}

bool matches(const Rule& rule, std::string_view module, std::string_view name) {
  return Glob(rule.module).matches(module) && name_matches(rule.name, name);
}

bool is_torch_dtype(std::string_view module, std::string_view name) {
  return module == "torch" && std::any_of(kDtypes_.begin(), kDtypes_.end(),
                                          [name](std::string_view glob) { return name_matches(glob, name); });
}

bool is_identifier(std::string_view text) {
  return !text.empty() && text.front() != '_' && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

std::string_view how_name(CallKind kind) {
  switch (kind) {
    case CallKind::kReduce:
      return "REDUCE";
    case CallKind::kNew:
      return "NEWOBJ";
    case CallKind::kNewEx:
      return "NEWOBJ_EX";
    case CallKind::kObject:
      return "OBJ";
    case CallKind::kInstance:
      return "INST";
  }
  return "";
}

// getattr(EnumClass, 'MEMBER') is how some versions of Python write the member of an enum.
bool is_enum_member(const Pickle& pickle, const PickleCall& call) {
  if (call.kind != CallKind::kReduce || pickle.kind(call.args) != PickleKind::kTuple) return false;
  const std::span<const PickleId> args = pickle.items(call.args);
  if (args.size() != 2 || pickle.kind(args[0]) != PickleKind::kGlobal ||
      pickle.kind(args[1]) != PickleKind::kText)
    return false;
  const PickleGlobal& owner = pickle.global(args[0]);
  return judge_global(owner.module, owner.name) == Verdict::kHarmless && is_identifier(pickle.text(args[1]));
}

bool is_getattr(const Pickle& pickle, PickleId id) {
  if (pickle.kind(id) != PickleKind::kGlobal) return false;
  const PickleGlobal& global = pickle.global(id);
  return canonical_global(global.module, global.name) == "builtins.getattr";
}

// True when the pickle calls getattr for members of enums and does nothing else with it.
bool only_enum_members(const Pickle& pickle) {
  for (const PickleCall& call : pickle.calls()) {
    if (is_getattr(pickle, call.callee) && !is_enum_member(pickle, call)) return false;
  }
  // Anything that holds it could pass it on.
  for (PickleId id = 0; id < pickle.node_count(); ++id) {
    for (const PickleId item : pickle.items(id)) {
      if (is_getattr(pickle, item)) return false;
    }
    if (pickle.kind(id) != PickleKind::kCall) continue;
    const PickleCall& call = pickle.call(id);
    for (const PickleId part : {call.args, call.kwargs, call.state}) {
      if (part != kNoNode && is_getattr(pickle, part)) return false;
    }
  }
  return std::none_of(pickle.builds().begin(), pickle.builds().end(), [&](const Pickle::Build& build) {
    return is_getattr(pickle, build.target) || is_getattr(pickle, build.state);
  });
}

// How the callee of a call comes about, in words.
std::string callee_text(const Pickle& pickle, PickleId callee, int depth = 0) {
  switch (pickle.kind(callee)) {
    case PickleKind::kGlobal:
      return canonical_global(pickle.global(callee).module, pickle.global(callee).name);
    case PickleKind::kCall:
      return depth > 4 ? "…" : "the result of " + callee_text(pickle, pickle.call(callee).callee, depth + 1);
    case PickleKind::kPersistent:
      return "a persistent id";
    default:
      return "a plain value";
  }
}

bool is_weights_only_callee(std::string_view name) {
  return is_weights_only_global(name) && name != "torch.Tensor";
}

std::optional<std::string> objection_of(const Pickle& pickle) {
  if (pickle.foreign_opcode()) return "opcode " + *pickle.foreign_opcode();
  for (const PickleGlobal& global : pickle.globals()) {
    const std::string name = canonical_global(global.module, global.name);
    if (!is_weights_only_global(name)) return name;
  }
  for (const PickleCall& call : pickle.calls()) {
    const std::string name = callee_text(pickle, call.callee);
    if (pickle.kind(call.callee) != PickleKind::kGlobal || !is_weights_only_callee(name))
      return "a call of " + name;
    const bool is_parameter = name == "torch.nn.parameter.Parameter";
    if (call.kind != CallKind::kReduce && !is_parameter) return "an object of " + name;
  }
  if (!pickle.builds().empty()) return std::string("the state of a plain value");
  return std::nullopt;
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
       {"exceptions.Exception", "builtins.Exception"},
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
  // The mapping changes the module and never the dots of the name, so the name is what is left at the end.
  const std::size_t dots =
      static_cast<std::size_t>(std::count(name_written.begin(), name_written.end(), '.'));
  std::size_t cut = whole.size();
  for (std::size_t i = 0; i <= dots && cut != std::string::npos; ++i)
    cut = cut == 0 ? std::string::npos : whole.rfind('.', cut - 1);
  const std::string_view module = std::string_view(whole).substr(0, cut == std::string::npos ? 0 : cut);
  const std::string_view name = std::string_view(whole).substr(cut == std::string::npos ? 0 : cut + 1);
  const auto any = [&](const auto& rules) {
    return std::any_of(rules.begin(), rules.end(),
                       [&](const Rule& rule) { return matches(rule, module, name); });
  };
  const std::string_view top = module.substr(0, module.find('.'));
  if (std::find(kDangerousModules.begin(), kDangerousModules.end(), top) != kDangerousModules.end())
    return Verdict::kDangerous;
  const bool dangerous = std::any_of(kDangerousNames.begin(), kDangerousNames.end(), [&](const Rule& rule) {
    return Glob(rule.module).matches(module) && Glob(rule.name).matches(name);
  });
  if (dangerous) return Verdict::kDangerous;
  for (const std::string_view part : split(name, '.')) {
    const bool dunder = part.starts_with("__") && part.ends_with("__");
    if (dunder || std::find(kDangerousParts.begin(), kDangerousParts.end(), part) != kDangerousParts.end())
      return Verdict::kDangerous;
  }
  if (is_torch_dtype(module, name) || any(kHarmless)) return Verdict::kHarmless;
  return Verdict::kUnknown;
}

bool is_weights_only_global(std::string_view canonical) {
  static constexpr std::array kNames =
      std::to_array<std::string_view>({"collections.OrderedDict",
                                       "collections.Counter",
                                       "torch.nn.parameter.Parameter",
                                       "torch.serialization._get_layout",
                                       "torch.Size",
                                       "torch.Tensor",
                                       "torch.device",
                                       "_codecs.encode",
                                       "builtins.bytearray",
                                       "builtins.set",
                                       "builtins.complex",
                                       "torch.per_tensor_affine",
                                       "torch.per_tensor_symmetric",
                                       "torch.per_channel_affine",
                                       "torch.per_channel_symmetric",
                                       "torch.per_channel_affine_float_qparams",
                                       "torch._utils._rebuild_tensor",
                                       "torch._utils._rebuild_tensor_v2",
                                       "torch._utils._rebuild_tensor_v3",
                                       "torch._utils._rebuild_parameter",
                                       "torch._utils._rebuild_parameter_with_state",
                                       "torch._utils._rebuild_qtensor",
                                       "torch._utils._rebuild_sparse_tensor",
                                       "torch._utils._rebuild_meta_tensor_no_storage",
                                       "torch._utils._rebuild_wrapper_subclass",
                                       "torch._utils._rebuild_device_tensor_from_numpy",
                                       "torch._utils._rebuild_device_tensor_from_cpu_tensor",
                                       "torch._tensor._rebuild_from_type_v2",
                                       "torch.storage.TypedStorage",
                                       "torch.storage.UntypedStorage",
                                       "torch.storage._LegacyStorage"});
  if (std::find(kNames.begin(), kNames.end(), canonical) != kNames.end()) return true;
  const std::size_t dot = canonical.rfind('.');
  if (dot == std::string_view::npos) return false;
  const std::string_view module = canonical.substr(0, dot), name = canonical.substr(dot + 1);
  const bool typed = name.ends_with("Storage") || name.ends_with("Tensor");
  return is_torch_dtype(module, name) ||
         (typed && (module == "torch" || module == "torch.cuda" || module == "torch.sparse"));
}

PickleReport report_pickle(const Pickle& pickle) {
  PickleReport report;
  report.fault = pickle.fault();
  const bool enums_only = only_enum_members(pickle);
  std::unordered_map<std::string, std::size_t> known;
  for (const PickleGlobal& global : pickle.globals()) {
    std::string name = canonical_global(global.module, global.name);
    const auto [place, fresh] = known.try_emplace(name, report.globals.size());
    if (!fresh) {
      ++report.globals[place->second].count;
      continue;
    }
    const std::string written = std::string(global.module) + "." + std::string(global.name);
    Verdict verdict = judge_global(global.module, global.name);
    if (name == "builtins.getattr" && enums_only) verdict = Verdict::kHarmless;
    report.worst = std::max(report.worst, verdict);
    report.globals.push_back({name, written == name ? "" : written, verdict, global.at, 1});
  }
  std::stable_sort(
      report.globals.begin(), report.globals.end(),
      [](const PickleReport::Name& a, const PickleReport::Name& b) { return a.verdict > b.verdict; });
  std::map<std::pair<std::string, std::string_view>, std::size_t> calls;
  for (PickleId id = 0; id < pickle.node_count(); ++id) {
    if (pickle.kind(id) != PickleKind::kCall) continue;
    const PickleCall& call = pickle.call(id);
    std::string callee = callee_text(pickle, call.callee);
    const auto [place, fresh] = calls.try_emplace({callee, how_name(call.kind)}, report.calls.size());
    if (fresh) {
      report.calls.push_back({std::move(callee), std::string(how_name(call.kind)), pickle.offset(id), 1});
    } else {
      ++report.calls[place->second].count;
    }
  }
  for (const Pickle::Build& build : pickle.builds()) {
    // Setting attributes of a class or function, or of what is no new object.
    report.calls.push_back({callee_text(pickle, build.target), "BUILD", build.at, 1});
    if (pickle.kind(build.target) == PickleKind::kGlobal)
      report.worst = std::max(report.worst, Verdict::kUnknown);
  }
  report.weights_only_objection = objection_of(pickle);
  return report;
}

}  // namespace mu
