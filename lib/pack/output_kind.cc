// SPDX-License-Identifier: Apache-2.0
#include "pack/output_kind.h"

#include <fmt/format.h>

#include <string_view>

#include "base/error.h"
#include "base/text.h"

namespace mu {

OutputKind output_kind(const std::string& output) {
  if (output == "-") return OutputKind::kStream;
  if (output.ends_with(".safetensors")) return OutputKind::kSafetensors;
  if (output.ends_with(".npy")) return OutputKind::kNpy;
  const std::string lower = lower_ascii(output);
  for (const std::string_view ending :
       {".gguf", ".bin", ".pt", ".pth", ".ckpt", ".npz", ".h5", ".onnx", ".msgpack"}) {
    if (lower.ends_with(ending))
      throw usage(fmt::format("st-pack does not write {} files", ending))
          .in_file(escape_name(output))
          .hint("name a folder, or a file that ends in .safetensors or .npy");
  }
  return OutputKind::kFolder;
}

}  // namespace mu
