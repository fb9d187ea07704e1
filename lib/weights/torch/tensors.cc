// SPDX-License-Identifier: Apache-2.0
// A tensor in a pickle of torch is a call of a function that rebuilds it: _rebuild_tensor_v2(storage, offset,
// size, stride, …), or one that wraps such a call as a parameter, a subclass or a tensor of another kind. The
// storage is a persistent id, a tuple that names its class, its key in the file, its device and its number of
// elements.
//
// Reading a node means finding out by the name of the function where its arguments are, and checking that the
// view they describe lies inside the storage: the offset and, for every dimension, (size - 1) times the
// stride, computed without overflow. A view that is one row-major run becomes a plain tensor, any other one a
// layout with strides.
//
// Files may ask for much with few bytes, so that wrappers nest to a fixed depth only, and a view that repeats
// its storage (stride 0) may do so only kMaxExpansion times once it is large.
#include "weights/torch/tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "weights/torch/distributed.h"
#include "weights/torch/values.h"

namespace mu {
namespace {

constexpr std::size_t kMaxDims = 64;  // as many as torch's functions take (dim_bitset_size)
// A tensor may repeat its storage (stride 0), but not without measure.
constexpr std::uint64_t kMaxExpansion = 4096, kLargeExpansion = 1U << 30;  // factor, bytes

constexpr std::string_view kUtils = "torch._utils";
constexpr std::array kRebuilds = std::to_array<std::pair<std::string_view, std::string_view>>({
    {kUtils, "_rebuild_tensor"},
    {kUtils, "_rebuild_tensor_v2"},
    {kUtils, "_rebuild_tensor_v3"},
    {kUtils, "_rebuild_parameter"},
    {kUtils, "_rebuild_parameter_with_state"},
    {kUtils, "_rebuild_qtensor"},
    {kUtils, "_rebuild_sparse_tensor"},
    {kUtils, "_rebuild_meta_tensor_no_storage"},
    {kUtils, "_rebuild_wrapper_subclass"},
    {kUtils, "_rebuild_device_tensor_from_numpy"},
    {kUtils, "_rebuild_device_tensor_from_cpu_tensor"},
    {kUtils, "_rebuild_nested_tensor"},
    {"torch._tensor", "_rebuild_from_type_v2"},
    {"torch.tensor", "_rebuild_from_type_v2"},  // before torch 1.9
    {"torch.nn.parameter", "Parameter"},
});

// Makes no copy, because it may be called for millions of nodes.
bool makes_tensor(const Pickle& pickle, PickleId global) {
  if (pickle.kind(global) != PickleKind::kGlobal) return false;
  const std::pair<std::string_view, std::string_view> name = {pickle.global(global).module,
                                                              pickle.global(global).name};
  return std::find(kRebuilds.begin(), kRebuilds.end(), name) != kRebuilds.end();
}

// The function's name as kRebuilds has it.
std::string rebuild_name(const Pickle& pickle, PickleId call) {
  const PickleGlobal& global = pickle.global(pickle.call(call).callee);
  return canonical_global(global.module, global.name);
}

std::vector<std::uint64_t> dimensions(const Pickle& pickle, PickleId id, std::string_view what) {
  // torch.Size((2, 3)) or a plain tuple.
  if (pickle.kind(id) == PickleKind::kCall && pickle_name(pickle, id) == "torch.Size" &&
      pickle.items(pickle.call(id).args).size() == 1)
    id = pickle.items(pickle.call(id).args)[0];
  if (pickle.kind(id) != PickleKind::kTuple && pickle.kind(id) != PickleKind::kList)
    throw malformed(fmt::format("its {} is not a tuple of numbers", what));
  std::vector<std::uint64_t> out;
  for (const PickleId item : pickle.items(id)) {
    if (pickle.kind(item) != PickleKind::kInt || pickle.integer(item) < 0)
      throw malformed(fmt::format("its {} has an entry that is not a whole number from 0", what));
    out.push_back(static_cast<std::uint64_t>(pickle.integer(item)));
  }
  if (out.size() > kMaxDims) throw malformed(fmt::format("its {} has {} entries", what, out.size()));
  return out;
}

class TensorReader {
 public:
  TensorReader(const Pickle& pickle, TorchStorages& storages, std::uint32_t source)
      : p_(pickle), storages_(storages), source_(source) {}

  // The tensor that a node makes. Throws kMalformed when its arguments make none.
  Tensor read(std::string name, PickleId id) {
    Tensor tensor{std::move(name), Dtype::kForeign, {}, source_, 0, 0};
    const PickleCall& call = p_.call(id);
    interpret(tensor, rebuild_name(p_, id), call.args, 0);
    // A number of F4 is half a byte, which no format holds.
    if (tensor.dtype == Dtype::kF4 && tensor.shape.empty()) make_foreign(tensor, "float4_e2m1fn_x2");
    tensor.shape = written_shape(tensor.dtype, std::move(tensor.shape));
    return tensor;
  }

 private:
  static PickleId argument(std::span<const PickleId> args, std::size_t index) {
    if (index >= args.size()) throw malformed("the call that makes it lacks arguments");
    return args[index];
  }

  void interpret(Tensor& tensor, std::string_view callee, PickleId arguments, int depth) {
    if (depth > 8) throw malformed("the calls that make it are nested too deeply");
    const std::span<const PickleId> args = p_.items(arguments);
    const auto inner = [&](PickleId node) {
      if (!is_tensor_node(p_, node)) throw malformed("it is made from something that is not a tensor");
      interpret(tensor, rebuild_name(p_, node), p_.call(node).args, depth + 1);
    };
    if (callee.starts_with("torch._utils._rebuild_tensor")) {
      const bool has_dtype = callee.ends_with("_v3");
      std::optional<TorchType> type;
      if (has_dtype) type = dtype_of(argument(args, 6));
      view(tensor, args, type);
      const std::size_t metadata = has_dtype ? 7 : 6;
      if (args.size() > metadata) apply_flags(tensor, args[metadata]);
      return;
    }
    if (callee == "torch._utils._rebuild_parameter" ||
        callee == "torch._utils._rebuild_parameter_with_state" || callee == "torch.nn.parameter.Parameter" ||
        callee == "torch._utils._rebuild_device_tensor_from_cpu_tensor")
      return inner(argument(args, 0));
    if (callee == "torch._tensor._rebuild_from_type_v2") {
      // func, type, arguments, state
      const std::string func = pickle_name(p_, argument(args, 0));
      if (!makes_tensor(p_, args[0])) throw malformed("it is made by a function that makes no tensors");
      const std::string type = pickle_name(p_, argument(args, 1));
      if (const PickleId whole = find_whole_piece(p_, args); whole != kNoNode) return inner(whole);
      interpret(tensor, func, argument(args, 2), depth + 1);
      if (type != "torch.Tensor" && type != "torch.nn.parameter.Parameter" &&
          type != "torch.nn.parameter.Buffer")
        make_foreign(tensor, type.substr(type.rfind('.') + 1));
      return;
    }
    if (callee == "torch._utils._rebuild_qtensor") {
      view(tensor, args, std::nullopt);
      return;
    }
    if (callee == "torch._utils._rebuild_meta_tensor_no_storage") {
      tensor.shape = dimensions(p_, argument(args, 1), "shape");
      return make_foreign(tensor, "meta");
    }
    if (callee == "torch._utils._rebuild_wrapper_subclass") {
      tensor.shape = dimensions(p_, argument(args, 2), "shape");
      return make_foreign(tensor, "subclass");
    }
    if (callee == "torch._utils._rebuild_sparse_tensor") {
      const std::span<const PickleId> data = p_.items(argument(args, 1));
      if (data.size() == 3 || data.size() == 4) {
        for (const PickleId part : data) {
          const bool sizes = p_.kind(part) == PickleKind::kTuple || pickle_name(p_, part) == "torch.Size";
          if (sizes) tensor.shape = dimensions(p_, part, "shape");
        }
      }
      return make_foreign(tensor, "sparse");
    }
    make_foreign(tensor, callee.substr(callee.rfind('_') + 1));
  }

  static void make_foreign(Tensor& tensor, std::string_view type) {
    tensor.dtype = Dtype::kForeign;
    tensor.offset = 0;
    tensor.size = 0;
    Layout layout;
    layout.type = type;
    tensor.layout = std::make_shared<Layout>(std::move(layout));
  }

  TorchType dtype_of(PickleId id) const {
    const std::optional<TorchType> type = pickle_dtype(p_, id);
    if (!type) throw malformed("its dtype '" + escape_name(pickle_name(p_, id)) + "' is unknown");
    return *type;
  }

  TorchStorage& storage_of(const StorageReference& reference) {
    const auto found = storages_.by_key.find(reference.key);
    if (found == storages_.by_key.end())
      throw malformed("its storage '" + escape_name(shorten(reference.key, 40)) + "' is missing");
    TorchStorage& storage = found->second;
    const std::optional<std::uint64_t> declared = checked_mul(reference.elements, reference.type->bytes);
    if (!declared || *declared > storage.bytes)
      throw malformed(fmt::format("its storage '{}' should have {} elements of {} bytes but has {} bytes",
                                  escape_name(shorten(reference.key, 40)), reference.elements,
                                  reference.type->bytes, storage.bytes));
    return storage;
  }

  // Gives a tensor of a known place the layout that reads it, if it needs one.
  void lay_out(Tensor& tensor, const std::vector<std::uint64_t>& strides, const TorchType& type,
               const TorchStorage& storage) {
    const bool swap = storages_.big_endian && type.bytes > 1;
    const bool plain = is_row_major(tensor.shape, strides) && !swap && !storage.inflated;
    if (plain && tensor.dtype != Dtype::kForeign) return;
    Layout layout;
    if (tensor.dtype == Dtype::kForeign) {
      layout.type = type.name;
      layout.element_bytes = type.bytes;
    }
    layout.shape = tensor.shape;
    layout.swap_bytes = swap;
    layout.inflated = storage.inflated;
    layout.boxes.push_back(
        {source_, tensor.offset, std::vector<std::uint64_t>(strides.size(), 0), tensor.shape, strides});
    tensor.layout = std::make_shared<Layout>(std::move(layout));
  }

  // The arguments are storage, offset, size, stride …
  void view(Tensor& tensor, std::span<const PickleId> args, std::optional<TorchType> type) {
    const PickleId storage_node = argument(args, 0);
    const PickleId offset_node = argument(args, 1);
    tensor.shape = dimensions(p_, argument(args, 2), "shape");
    const std::vector<std::uint64_t> strides = dimensions(p_, argument(args, 3), "strides");
    if (strides.size() != tensor.shape.size()) throw malformed("its shape and strides differ in length");
    if (p_.kind(offset_node) != PickleKind::kInt || p_.integer(offset_node) < 0)
      throw malformed("its offset in the storage is not a whole number from 0");
    const std::optional<StorageReference> found_reference = find_storage_reference(p_, storage_node);
    if (!found_reference) throw malformed("it does not refer to a storage as torch writes it");
    const StorageReference& reference = *found_reference;
    if (!reference.type)
      throw malformed("its storage has the unknown class '" + escape_name(reference.class_name) + "'");
    if (!type) type = reference.type;
    const std::optional<std::uint64_t> count = element_count(tensor.shape);
    const std::optional<std::uint64_t> size = count ? checked_mul(*count, type->bytes) : std::nullopt;
    if (!size) throw malformed("its shape overflows 64 bits");
    if (reference.location == "meta") return make_foreign(tensor, "meta");
    tensor.size = *size;
    tensor.dtype = type->dtype;
    if (*count == 0) {
      if (tensor.dtype == Dtype::kForeign) make_foreign(tensor, type->name);
      return;
    }
    TorchStorage& storage = storage_of(reference);
    // The last element that the view reaches.
    std::optional<std::uint64_t> last =
        checked_add(static_cast<std::uint64_t>(p_.integer(offset_node)), reference.view_offset);
    for (std::size_t i = 0; i < strides.size() && last; ++i) {
      const std::optional<std::uint64_t> reach = checked_mul(tensor.shape[i] - 1, strides[i]);
      last = reach ? checked_add(*last, *reach) : std::nullopt;
    }
    const std::optional<std::uint64_t> past = last ? checked_add(*last, 1) : std::nullopt;
    const std::optional<std::uint64_t> end = past ? checked_mul(*past, type->bytes) : std::nullopt;
    if (!end || *end > storage.bytes)
      throw malformed(fmt::format("it reaches beyond its storage '{}' of {} bytes",
                                  escape_name(shorten(reference.key, 40)), storage.bytes));
    if (*size > kLargeExpansion && *size / kMaxExpansion > storage.bytes)
      throw malformed(fmt::format("it repeats the {} of its storage to {}", format_size(storage.bytes),
                                  format_size(*size)));
    storage.used = std::max(storage.used, *end);
    const std::uint64_t first =
        (static_cast<std::uint64_t>(p_.integer(offset_node)) + reference.view_offset) * type->bytes;
    tensor.offset = storage.offset + first;
    lay_out(tensor, strides, *type, storage);
  }

  // {'conj': True} and {'neg': True}: the bytes hold other values than the tensor means.
  void apply_flags(Tensor& tensor, PickleId metadata) {
    const auto is_set = [&](std::string_view key) {
      const PickleId value = pickle_find(p_, metadata, key);
      return value != kNoNode && p_.kind(value) == PickleKind::kBool && p_.truth(value);
    };
    const bool conjugate = is_set("conj"), negate = is_set("neg");
    if ((!conjugate && !negate) || tensor.size == 0) return;
    const bool has_sign =
        (is_floating(tensor.dtype) && bits(tensor.dtype) >= 8) || tensor.dtype == Dtype::kC64;
    if (!has_sign) return make_foreign(tensor, "conjugated");
    Layout layout = tensor.layout ? *tensor.layout : Layout();
    if (layout.boxes.empty()) {
      layout.shape = tensor.shape;
      layout.boxes.push_back({source_, tensor.offset, std::vector<std::uint64_t>(tensor.shape.size(), 0),
                              tensor.shape, row_major_strides(tensor.shape)});
    }
    layout.conjugate = conjugate;
    layout.negate = negate;
    tensor.layout = std::make_shared<Layout>(std::move(layout));
  }

  const Pickle& p_;
  TorchStorages& storages_;
  std::uint32_t source_;
};

}  // namespace

std::optional<StorageReference> find_storage_reference(const Pickle& pickle, PickleId id) {
  if (pickle.kind(id) != PickleKind::kPersistent) return std::nullopt;
  const std::span<const PickleId> parts = pickle.items(pickle.items(id)[0]);
  if (pickle.kind(pickle.items(id)[0]) != PickleKind::kTuple || parts.size() < 5 ||
      pickle.text(parts[0]) != "storage" || pickle.kind(parts[1]) != PickleKind::kGlobal ||
      pickle.kind(parts[2]) != PickleKind::kText || pickle.kind(parts[3]) != PickleKind::kText ||
      pickle.kind(parts[4]) != PickleKind::kInt || pickle.integer(parts[4]) < 0)
    return std::nullopt;
  StorageReference reference;
  reference.class_name = pickle.global(parts[1]).name;
  reference.key = pickle.text(parts[2]);
  reference.location = pickle.text(parts[3]);
  reference.elements = static_cast<std::uint64_t>(pickle.integer(parts[4]));
  reference.type = find_storage_type(reference.class_name);
  if (parts.size() > 5 && pickle.kind(parts[5]) == PickleKind::kTuple) {
    // view_metadata of legacy files: (key of the view, offset, size); the key before is the root's.
    const std::span<const PickleId> view = pickle.items(parts[5]);
    if (view.size() != 3 || pickle.kind(view[1]) != PickleKind::kInt || pickle.integer(view[1]) < 0)
      return std::nullopt;
    reference.view_offset = static_cast<std::uint64_t>(pickle.integer(view[1]));
  }
  return reference;
}

bool is_tensor_node(const Pickle& pickle, PickleId id) {
  return pickle.kind(id) == PickleKind::kCall && makes_tensor(pickle, pickle.call(id).callee);
}

Tensor read_torch_tensor(const Pickle& pickle, TorchStorages& storages, std::uint32_t source,
                         std::string name, PickleId node) {
  if (!is_tensor_node(pickle, node)) throw malformed("it is not a tensor");
  return TensorReader(pickle, storages, source).read(std::move(name), node);
}

}  // namespace mu
