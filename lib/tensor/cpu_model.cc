// SPDX-License-Identifier: Apache-2.0
// What this processor has, for __builtin_cpu_supports and target_clones. Only the portable build for x86-64 needs this
// file: zig's runtime library has a stub that always says "nothing" (compiler_rt/fmv.zig), so every program would run the
// slowest code. GCC and clang agree on the names, fields and numbers of bits (gcc/common/config/i386/i386-cpuinfo.h).
// Bits that none of our code asks for stay 0.
#include <cpuid.h>

namespace {

enum Feature : unsigned {
  kAvx = 9,
  kAvx2 = 10,
  kFma = 14,
  kAvx512f = 15,
  kAvx512vl = 20,
  kAvx512bw = 21,
  kAvx512dq = 22
};

struct Model {
  unsigned vendor, type, subtype, features[1];
};

}  // namespace

// Hidden, since they are used before the dynamic linker has bound any symbol.
extern "C" {
[[gnu::visibility("hidden")]] Model __cpu_model;
[[gnu::visibility("hidden")]] unsigned __cpu_features2[4];
[[gnu::visibility("hidden")]] int __cpu_indicator_init();
}

namespace {

void set(Feature feature, bool has) {
  if (has) __cpu_model.features[0] |= 1U << feature;
}

// Whether the system saves these registers: bit 1 is for those of SSE, 2 for AVX, 5 to 7 for AVX-512.
bool saves(unsigned registers) {
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & registers) == registers;
}

}  // namespace

int __cpu_indicator_init() {
  constexpr unsigned kOther = 3, kAvxRegisters = 0x06, kAvx512Registers = 0xE6;
  if (__cpu_model.vendor != 0) return 0;
  __cpu_model.vendor = kOther;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0 || !saves(kAvxRegisters)) return 0;
  set(kAvx, (c & bit_AVX) != 0);
  set(kFma, (c & bit_FMA) != 0);
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return 0;
  set(kAvx2, (b & bit_AVX2) != 0);
  if (!saves(kAvx512Registers)) return 0;
  set(kAvx512f, (b & bit_AVX512F) != 0);
  set(kAvx512vl, (b & bit_AVX512VL) != 0);
  set(kAvx512bw, (b & bit_AVX512BW) != 0);
  set(kAvx512dq, (b & bit_AVX512DQ) != 0);
  return 0;
}
