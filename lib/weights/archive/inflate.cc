// SPDX-License-Identifier: Apache-2.0
#include "weights/archive/inflate.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "os/interrupt.h"

namespace mu {
namespace {

constexpr std::size_t kPiece = 64U << 10;  // bytes read or skipped at once

InputFile open_again(const InputFile& file) {
  return InputFile::adopt(Fd(::fcntl(file.fd()->get(), F_DUPFD_CLOEXEC, 0)), file.path());
}

}  // namespace

struct InflatedMember::Stream {
  z_stream z{};
  std::array<std::byte, kPiece> input;
  std::uint64_t read = 0;  // compressed bytes taken from the file
  unsigned long crc = ::crc32(0, nullptr, 0);
  bool ended = false;

  Stream() {
    if (::inflateInit2(&z, -MAX_WBITS) != Z_OK) throw io_error("start to unpack", ENOMEM);
  }
  ~Stream() { ::inflateEnd(&z); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
};

InflateSource::InflateSource(const InputFile& file) : file_(open_again(file)) {}

std::uint64_t InflateSource::spool(
    const std::function<void(const std::function<void(std::span<const std::byte>)>&)>& unpack) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!spool_) spool_ = std::make_unique<Spool>();
  const std::uint64_t begin = spool_->size();
  unpack([this](std::span<const std::byte> bytes) { spool_->append(bytes); });
  return begin;
}

InflatedMember::InflatedMember(std::shared_ptr<InflateSource> source, std::uint64_t offset,
                               std::uint64_t size, std::uint64_t inflated_size, std::uint32_t crc,
                               std::string name)
    : source_(std::move(source)),
      offset_(offset),
      size_(size),
      inflated_size_(inflated_size),
      crc_(crc),
      name_(std::move(name)) {}

InflatedMember::~InflatedMember() = default;

void InflatedMember::restart() {
  stream_ = std::make_unique<Stream>();
  position_ = 0;
}

// Unpacks exactly the next out.size() bytes.
void InflatedMember::inflate(std::span<std::byte> out) {
  const auto broken = [this](std::string_view why) {
    return malformed(fmt::format("the member '{}' can't be unpacked: {}", escape_name(name_), why))
        .in_file(escape_name(source_->file().path()));
  };
  Stream& stream = *stream_;
  while (!out.empty()) {
    check_interrupt();
    if (stream.ended) throw broken(fmt::format("it ends after {} of {} bytes", position_, inflated_size_));
    if (stream.z.avail_in == 0) {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, size_ - stream.read));
      if (count == 0) throw broken("its data are cut");
      source_->file().read_at(offset_ + stream.read, std::span(stream.input).first(count));
      stream.read += count;
      stream.z.next_in = reinterpret_cast<Bytef*>(stream.input.data());
      stream.z.avail_in = static_cast<uInt>(count);
    }
    const auto wanted = static_cast<uInt>(std::min<std::size_t>(out.size(), 1U << 30));
    stream.z.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.z.avail_out = wanted;
    const int status = ::inflate(&stream.z, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
      throw broken(stream.z.msg != nullptr ? stream.z.msg : "its data are broken");
    const std::size_t got = wanted - stream.z.avail_out;
    stream.crc = ::crc32(stream.crc, reinterpret_cast<const Bytef*>(out.data()), static_cast<uInt>(got));
    position_ += got;
    out = out.subspan(got);
    stream.ended = status == Z_STREAM_END;
  }
  if (position_ < inflated_size_) return;
  if (stream.crc != crc_) throw broken("its checksum differs");
  finished_ = true;
  stream_.reset();
}

void InflatedMember::spool() {
  spooled_ = source_->spool([this](const auto& append) {
    restart();
    std::vector<std::byte> buffer(1U << 20);
    while (position_ < inflated_size_) {
      const std::span<std::byte> piece = std::span(buffer).first(
          static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), inflated_size_ - position_)));
      inflate(piece);
      append(piece);
    }
  });
}

void InflatedMember::rest() {
  const std::lock_guard<std::mutex> lock(mutex_);
  stream_.reset();
}

void InflatedMember::read_at(std::uint64_t offset, std::span<std::byte> out) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const bool back = stream_ ? offset < position_ : finished_;
  // Near the front it is cheaper to start again, and a second pass over the data begins there.
  if (!spooled_ && back && offset > kPiece) spool();
  if (spooled_) return source_->read_spooled(*spooled_ + offset, out);
  if (!stream_ || offset < position_) restart();
  std::array<std::byte, kPiece> skipped;
  while (position_ < offset)
    inflate(std::span(skipped).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, offset - position_))));
  if (!out.empty()) inflate(out);
}

}  // namespace mu
