// SPDX-License-Identifier: Apache-2.0
// What lies in bin/ of a package under the name of a program: starts ../libexec/modelutils, which holds all of them, under
// that name. (An archive of a package can't say that two names are one file.) It is a start more for each run, so it does
// without a C library, whose own start takes longer than three system calls.
#include <fcntl.h>
#include <sys/syscall.h>

namespace {

long system_call(long number, long a, long b, long c, long d) {
#if defined(__x86_64__)
  long result = 0;
  register long fourth asm("r10") = d;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
               : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long which asm("x8") = number;
  register long first asm("x0") = a;
  register long second asm("x1") = b;
  register long third asm("x2") = c;
  register long fourth asm("x3") = d;
  asm volatile("svc 0" : "+r"(first) : "r"(which), "r"(second), "r"(third), "r"(fourth) : "memory");
  return first;
#endif
}

long address(const void* place) {
  return reinterpret_cast<long>(place);
}

// The place of the last slash before `end`; `begin` if there is none.
char* last_slash(const char* begin, char* end) {
  while (end > begin && *end != '/') --end;
  return end;
}

constexpr char kProgram[] = "/libexec/modelutils";
constexpr char kFault[] =
    "modelutils: ../libexec/modelutils, seen from the folder of this program, can't be started; install "
    "modelutils again\n";
constexpr long kPathMax = 4096;
char self[kPathMax + sizeof kProgram];

}  // namespace

// `stack` is what the kernel leaves a new program: the number of its arguments, they, null, the environment.
extern "C" [[noreturn]] void launch(char** stack) {
  char** const arguments = stack + 1;
  char** const environment = arguments + *reinterpret_cast<long*>(stack) + 1;
  const long size = system_call(SYS_readlinkat, AT_FDCWD, address("/proc/self/exe"), address(self), kPathMax);
  if (size > 0 && size < kPathMax) {
    static char name[kPathMax];
    char* const slash = last_slash(self, self + size);
    for (long i = 0; slash + 1 + i < self + size; ++i) name[i] = slash[1 + i];
    arguments[0] = name;
    char* const folder = last_slash(self, slash - 1);
    for (unsigned long i = 0; i < sizeof kProgram; ++i) folder[i] = kProgram[i];
    system_call(SYS_execve, address(self), address(arguments), address(environment), 0);
  }
  system_call(SYS_write, 2, address(kFault), sizeof kFault - 1, 0);
  for (;;) system_call(SYS_exit_group, 7, 0, 0, 0);
}

#if defined(__x86_64__)
asm(".globl _start\n_start:\n  xor %ebp, %ebp\n  mov %rsp, %rdi\n  and $-16, %rsp\n  call launch\n");
#elif defined(__aarch64__)
asm(".globl _start\n_start:\n  mov x29, 0\n  mov x30, 0\n  mov x0, sp\n  b launch\n");
#endif
