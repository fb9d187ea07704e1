// SPDX-License-Identifier: Apache-2.0
// The six programs in one file, for packages: they share most of their code. Which one runs is said by the name it is
// started by, that of its launcher.
#include <sys/prctl.h>

#include <array>
#include <cstdio>
#include <string_view>

int card_gen(int argc, char** argv);
int ckpt_prune(int argc, char** argv);
int hub_push(int argc, char** argv);
int lora_extract(int argc, char** argv);
int st_inspect(int argc, char** argv);
int st_pack(int argc, char** argv);

namespace {

struct Program {
  const char* name;
  int (*main)(int argc, char** argv);
};
constexpr std::array kPrograms = {
    Program{"card-gen", card_gen},         Program{"ckpt-prune", ckpt_prune}, Program{"hub-push", hub_push},
    Program{"lora-extract", lora_extract}, Program{"st-inspect", st_inspect}, Program{"st-pack", st_pack},
};

}  // namespace

int main(int argc, char** argv) {
  std::string_view name = argc > 0 ? argv[0] : "";
  name.remove_prefix(name.rfind('/') + 1);
  for (const Program& program : kPrograms) {
    if (name != program.name) continue;
    ::prctl(PR_SET_NAME, program.name);  // for ps and top, which would see the name of this file
    return program.main(argc, argv);
  }
  std::fputs(
      "modelutils: start card-gen, ckpt-prune, hub-push, lora-extract, st-inspect or st-pack instead\n",
      stderr);
  return 2;
}
