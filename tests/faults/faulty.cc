// SPDX-License-Identifier: Apache-2.0
// A library for LD_PRELOAD that lets one system call of a program fail: the one numbered FAULTY_AT (from 1),
// with the errno FAULTY_ERRNO, or has the process killed instead where that is 0. The name of the call that
// failed is written to the file FAULTY_LOG, which stays as it was when the program made fewer calls. With
// FAULTY_RUN the shell runs that command right before the call, which then goes on: what another process does
// at the worst moment. With FAULTY_CALL only the calls of that name count. close() closes all the same. Both
// names of each call are wanted, open() as well as open64().
#undef _FILE_OFFSET_BITS

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <cstring>

namespace {

std::atomic<long> calls{0};

long number(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? 0 : std::strtol(text, nullptr, 10);
}

// Whether this call is the one that fails.
bool fails(const char* name) {
  static const long at = number("FAULTY_AT");
  static const char* const only = std::getenv("FAULTY_CALL");
  if (only != nullptr && std::strcmp(only, name) != 0) return false;
  if (++calls != at) return false;
  if (const char* log = std::getenv("FAULTY_LOG")) {
    const long fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    syscall(SYS_write, fd, name, std::strlen(name));
    syscall(SYS_close, fd);
  }
  if (const char* command = std::getenv("FAULTY_RUN")) {
    ::unsetenv("LD_PRELOAD");
    if (std::system(command) != 0) kill(getpid(), SIGKILL);
    return false;
  }
  errno = static_cast<int>(number("FAULTY_ERRNO"));
  if (errno == 0) kill(getpid(), SIGKILL);
  return true;
}

template <class Function>
Function* next(const char* name) {
  void* found = dlsym(RTLD_NEXT, name);
  Function* function = nullptr;
  std::memcpy(&function, &found, sizeof function);
  return function;
}

mode_t mode_of(int flags, va_list& list) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
}

}  // namespace

// glibc's own names of parameters begin with "__".
// NOLINTBEGIN(readability-inconsistent-declaration-parameter-name, bugprone-macro-parentheses)

// PARAMETERS and ARGUMENTS stand in parentheses.
#define FAULTY(RESULT, FAILURE, NAME, PARAMETERS, ARGUMENTS)                \
  RESULT NAME PARAMETERS {                                                  \
    static RESULT(*const real) PARAMETERS = next<RESULT PARAMETERS>(#NAME); \
    return fails(#NAME) ? FAILURE : real ARGUMENTS;                         \
  }

extern "C" {

int open(const char* path, int flags, ...) {
  static auto* const real = next<int(const char*, int, mode_t)>("open");
  va_list list;
  va_start(list, flags);
  const mode_t mode = mode_of(flags, list);
  va_end(list);
  return fails("open") ? -1 : real(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  static auto* const real = next<int(const char*, int, mode_t)>("open64");
  va_list list;
  va_start(list, flags);
  const mode_t mode = mode_of(flags, list);
  va_end(list);
  return fails("open64") ? -1 : real(path, flags, mode);
}
int openat64(int folder, const char* path, int flags, ...) {
  static auto* const real = next<int(int, const char*, int, mode_t)>("openat64");
  va_list list;
  va_start(list, flags);
  const mode_t mode = mode_of(flags, list);
  va_end(list);
  return fails("openat64") ? -1 : real(folder, path, flags, mode);
}
int fcntl64(int fd, int command, ...) {
  static auto* const real = next<int(int, int, void*)>("fcntl64");
  va_list list;
  va_start(list, command);
  void* argument = va_arg(list, void*);
  va_end(list);
  return fails("fcntl64") ? -1 : real(fd, command, argument);
}
int ioctl(int fd, unsigned long request, ...) noexcept {
  static auto* const real = next<int(int, unsigned long, void*)>("ioctl");
  va_list list;
  va_start(list, request);
  void* argument = va_arg(list, void*);
  va_end(list);
  return fails("ioctl") ? -1 : real(fd, request, argument);
}
int close(int fd) {
  static auto* const real = next<int(int)>("close");
  if (!fails("close")) return real(fd);
  const int code = errno;
  real(fd);
  errno = code;
  return -1;
}

FAULTY(int, -1, mkostemp64, (char* name, int flags), (name, flags))
FAULTY(ssize_t, -1, read, (int fd, void* data, size_t size), (fd, data, size))
FAULTY(ssize_t, -1, pread64, (int fd, void* data, size_t size, off64_t offset), (fd, data, size, offset))
FAULTY(ssize_t, -1, write, (int fd, const void* data, size_t size), (fd, data, size))
FAULTY(ssize_t, -1, writev, (int fd, const iovec* data, int count), (fd, data, count))
FAULTY(ssize_t, -1, pwrite64, (int fd, const void* data, size_t size, off64_t offset),
       (fd, data, size, offset))
FAULTY(ssize_t, -1, copy_file_range,
       (int from, off64_t* read_at, int to, off64_t* write_at, size_t size, unsigned flags),
       (from, read_at, to, write_at, size, flags))
FAULTY(off64_t, -1, lseek64, (int fd, off64_t offset, int whence) noexcept, (fd, offset, whence))
FAULTY(int, -1, fsync, (int fd), (fd))
FAULTY(int, -1, fdatasync, (int fd), (fd))
FAULTY(int, -1, syncfs, (int fd) noexcept, (fd))
FAULTY(int, -1, flock, (int fd, int operation) noexcept, (fd, operation))
FAULTY(int, -1, fchmod, (int fd, mode_t mode) noexcept, (fd, mode))
FAULTY(int, -1, futimens, (int fd, const timespec* times) noexcept, (fd, times))
FAULTY(int, -1, access, (const char* path, int mode) noexcept, (path, mode))
FAULTY(int, -1, faccessat, (int folder, const char* path, int mode, int flags) noexcept,
       (folder, path, mode, flags))
FAULTY(int, -1, stat, (const char* path, struct stat* out) noexcept, (path, out))
FAULTY(int, -1, lstat, (const char* path, struct stat* out) noexcept, (path, out))
FAULTY(int, -1, stat64, (const char* path, struct stat64* out) noexcept, (path, out))
FAULTY(int, -1, lstat64, (const char* path, struct stat64* out) noexcept, (path, out))
FAULTY(int, -1, fstat64, (int fd, struct stat64* out) noexcept, (fd, out))
FAULTY(int, -1, fstatat64, (int folder, const char* path, struct stat64* out, int flags) noexcept,
       (folder, path, out, flags))
FAULTY(int, -1, statx, (int folder, const char* path, int flags, unsigned mask, struct statx* out) noexcept,
       (folder, path, flags, mask, out))
FAULTY(int, -1, fstatfs64, (int fd, struct statfs64* out) noexcept, (fd, out))
FAULTY(int, -1, statvfs64, (const char* path, struct statvfs64* out) noexcept, (path, out))
FAULTY(int, -1, fstatvfs64, (int fd, struct statvfs64* out) noexcept, (fd, out))
FAULTY(DIR*, nullptr, opendir, (const char* path), (path))
FAULTY(DIR*, nullptr, fdopendir, (int fd), (fd))
FAULTY(dirent64*, nullptr, readdir64, (DIR * folder), (folder))
FAULTY(int, -1, mkdir, (const char* path, mode_t mode) noexcept, (path, mode))
FAULTY(int, -1, mkdirat, (int folder, const char* path, mode_t mode) noexcept, (folder, path, mode))
FAULTY(int, -1, link, (const char* from, const char* to) noexcept, (from, to))
FAULTY(int, -1, linkat, (int a, const char* from, int b, const char* to, int flags) noexcept,
       (a, from, b, to, flags))
FAULTY(int, -1, symlink, (const char* to, const char* path) noexcept, (to, path))
FAULTY(int, -1, symlinkat, (const char* to, int folder, const char* path) noexcept, (to, folder, path))
FAULTY(ssize_t, -1, readlink, (const char* path, char* out, size_t size) noexcept, (path, out, size))
FAULTY(ssize_t, -1, readlinkat, (int folder, const char* path, char* out, size_t size) noexcept,
       (folder, path, out, size))
FAULTY(char*, nullptr, realpath, (const char* path, char* out) noexcept, (path, out))
FAULTY(int, -1, rename, (const char* from, const char* to) noexcept, (from, to))
FAULTY(int, -1, renameat, (int a, const char* from, int b, const char* to) noexcept, (a, from, b, to))
FAULTY(int, -1, renameat2, (int a, const char* from, int b, const char* to, unsigned flags) noexcept,
       (a, from, b, to, flags))
FAULTY(int, -1, unlink, (const char* path) noexcept, (path))
FAULTY(int, -1, unlinkat, (int folder, const char* path, int flags) noexcept, (folder, path, flags))
FAULTY(int, -1, socket, (int domain, int type, int protocol) noexcept, (domain, type, protocol))
FAULTY(int, -1, connect, (int fd, const sockaddr* address, socklen_t size), (fd, address, size))
FAULTY(ssize_t, -1, send, (int fd, const void* data, size_t size, int flags), (fd, data, size, flags))
FAULTY(ssize_t, -1, recv, (int fd, void* data, size_t size, int flags), (fd, data, size, flags))

// NOLINTEND(readability-inconsistent-declaration-parameter-name, bugprone-macro-parentheses)

}  // extern "C"
