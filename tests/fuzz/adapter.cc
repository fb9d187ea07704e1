// SPDX-License-Identifier: Apache-2.0
// adapter_config.json, and after a NUL the names of an adapter's tensors, one per line.
#include "model/adapter_names.h"
#include "model/config.h"
#include "model/lora_config.h"

#include "base/text.h"
#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = mu::fuzzing::as_view(data, size);
  const std::string_view names = text.substr(std::min(text.size(), text.find('\0')));
  std::vector<std::string> modules;
  for (const std::string_view line : mu::split(names, '\n'))
    modules.push_back(mu::parse_adapter_name(line).module);
  mu::LoraConfig config;
  try {
    config = mu::parse_lora_config(std::string(text.substr(0, text.find('\0'))));
    for (const std::string& module : modules) (void)config.scale_of(module);
  } catch (const mu::Error&) {
    return 0;
  }
  // What we write of it, with or without changes, must mean the same to us.
  const mu::LoraConfig again = mu::parse_lora_config(mu::lora_config_text(config));
  if (again.rank != config.rank || again.alpha != config.alpha ||
      again.target_modules != config.target_modules)
    __builtin_trap();
  if (mu::parse_lora_config(mu::with_config_edits(config.text, {{{"r"}, "3"}})).rank != 3) __builtin_trap();
  return 0;
}
