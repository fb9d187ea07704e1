// SPDX-License-Identifier: Apache-2.0
#include "os/copy.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "os/interrupt.h"

namespace mu {
namespace {

constexpr std::uint64_t kKernelPiece = 16U << 20;  // a signal waits for one piece at most
constexpr std::size_t kBuffer = 1U << 20;

// Moves some bytes inside the kernel; 0 when the kernel can't do it between these files.
std::uint64_t copy_in_kernel(const InputFile& in, std::uint64_t in_offset, OutputFile& out,
                             std::uint64_t out_offset, std::uint64_t size) {
  auto from = static_cast<off64_t>(in_offset);
  auto to = static_cast<off64_t>(out_offset);
  while (true) {
    const ssize_t moved =
        ::copy_file_range(in.fd()->get(), &from, out.fd(), &to, std::min(size, kKernelPiece), 0);
    if (moved >= 0) return static_cast<std::uint64_t>(moved);
    switch (errno) {
      case EINTR:
        check_interrupt();
        break;
      case EXDEV:
      case ENOSYS:
      case EOPNOTSUPP:
      case EINVAL:
      case EPERM:
      case ETXTBSY:
        return 0;
      default:
        throw io_error("write", errno, escape_name(out.path()));
    }
  }
}

// Whether the kernel does better than a buffer. Where source and target lie differently in their pages it
// moves every page in two pieces and can share none: measured on ext4, a buffer takes half the time. Network
// file systems copy on the server, without sending the bytes back and forth.
bool is_kernel_worth_it(const OutputFile& out, std::uint64_t in_offset, std::uint64_t out_offset) {
  static const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));  // on aarch64 4, 16 or 64 KiB
  if (in_offset % page == out_offset % page) return true;
  struct statfs status {};
  if (::fstatfs(out.fd(), &status) != 0) return false;
  constexpr std::array<std::uint32_t, 5> kRemote = {0x6969, 0xFE534D42, 0xFF534D42, 0x00C36400,
                                                    0x65735546};  // NFS, SMB2, CIFS, Ceph, FUSE
  return std::find(kRemote.begin(), kRemote.end(), static_cast<std::uint32_t>(status.f_type)) !=
         kRemote.end();
}

void copy_through_buffer(const InputFile& in, std::uint64_t in_offset, OutputFile& out,
                         std::uint64_t out_offset, std::uint64_t size, const OnBytes& on_bytes) {
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(size, kBuffer)));
  for (std::uint64_t done = 0; done < size;) {
    check_interrupt();
    const std::span<std::byte> piece =
        std::span(buffer).first(static_cast<std::size_t>(std::min<std::uint64_t>(size - done, kBuffer)));
    in.read_at(in_offset + done, piece);
    out.write_at(out_offset + done, piece);
    start_writeback(out, out_offset + done, piece.size());
    done += piece.size();
    if (on_bytes) on_bytes(piece.size());
  }
}

}  // namespace

bool clone_file(const InputFile& in, OutputFile& out) {
  return in.far() == nullptr && ::ioctl(out.fd(), FICLONE, in.fd()->get()) == 0;
}

void copy_range(const InputFile& in, std::uint64_t in_offset, OutputFile& out, std::uint64_t out_offset,
                std::uint64_t size, const OnBytes& on_bytes) {
  if (in.far() != nullptr || !is_kernel_worth_it(out, in_offset, out_offset))
    return copy_through_buffer(in, in_offset, out, out_offset, size, on_bytes);
  std::uint64_t done = 0;
  while (done < size) {
    check_interrupt();
    // Not possible between these files, or the input ends here: the buffered copy works, or reports it.
    const std::uint64_t moved = copy_in_kernel(in, in_offset + done, out, out_offset + done, size - done);
    if (moved == 0) {
      return copy_through_buffer(in, in_offset + done, out, out_offset + done, size - done, on_bytes);
    }
    start_writeback(out, out_offset + done, moved);
    done += moved;
    if (on_bytes) on_bytes(moved);
  }
}

void start_writeback(const OutputFile& out, std::uint64_t offset, std::uint64_t size) {
  ::sync_file_range(out.fd(), static_cast<off64_t>(offset), static_cast<off64_t>(size),
                    SYNC_FILE_RANGE_WRITE);
}

void copy_file(const InputFile& in, OutputFile& out, const OnBytes& on_bytes) {
  if (clone_file(in, out)) {
    if (on_bytes) on_bytes(in.size());
  } else {
    copy_range(in, 0, out, 0, in.size(), on_bytes);
  }
}

}  // namespace mu
