// SPDX-License-Identifier: Apache-2.0
// A run begins with the record of an earlier one, if it is of the same work (continue_from_record). Then blocks go to
// their places (far_scatter.h) and jobs are done behind them (far_jobs.h), while each mark that passes makes what lies
// before it durable and is noted. What was lost by casts, and the sums of what was written, are noted with it, so that a
// resumed run reports and verifies as a whole one does.
#include "pack/far_write.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <set>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "fetch/fetcher.h"
#include "fetch/mirror.h"
#include "fetch/needs.h"
#include "fetch/partial_run.h"
#include "hash/crc32.h"
#include "model/fingerprint.h"
#include "os/folder.h"
#include "os/stage.h"
#include "pack/far_jobs.h"
#include "pack/far_output.h"
#include "pack/far_scatter.h"

namespace mu {
namespace {

// What another run must agree in to go on with the same partial output: everything that decides its bytes, and which of
// them are read in which order.
std::string identity_of(const PackPlan& plan, const FarPlan& far, const WriteOptions& options) {
  Fingerprint fingerprint("st-pack far 1");
  fingerprint.add(MU_VERSION);
  fingerprint.add(options.fingerprint);
  fingerprint.add(std::uint64_t{static_cast<unsigned>(plan.kind)});
  fingerprint.add(std::uint64_t{options.verify});
  for (const WeightsOutput& file : plan.weights) fingerprint.add(file.name);
  for (const TextOutput& text : plan.texts) {
    fingerprint.add(text.name);
    fingerprint.add(text.text);
  }
  for (const GatheredFile& file : plan.files) {
    if (!file.taken || file.path.empty()) continue;  // one of the texts
    fingerprint.add(file.name);
    fingerprint.add(InputFile(file.path), KnownBy::kTime);
  }
  fingerprint.add(far.sequence);
  return fingerprint.finish();
}

// Each file gets its size, so that every position exists, and its header. That they are there is on the disk before the
// record speaks of them.
void prepare(const PackPlan& plan, std::vector<OutputFile>& files, FarOutput& output) {
  std::set<std::string> folders;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (::ftruncate(files[i].fd(), static_cast<off_t>(plan.weights[i].size)) != 0)
      throw io_error("write", errno, escape_name(files[i].path()));
    output.write(i, 0, as_bytes(plan.weights[i].prefix));
    folders.insert(parent_of(files[i].path()));
  }
  output.sync();
  for (const std::string& folder : folders) sync_folder(folder);
}

std::uint64_t bytes_before(const FarPlan& far, const FetchMark& mark) {
  std::uint64_t bytes = mark.at;
  for (std::size_t i = 0; i < mark.range && i < far.sequence.size(); ++i) bytes += far.sequence[i].size;
  return bytes;
}

}  // namespace

FarWriter::FarWriter(const PackPlan& plan, const FarPlan& far, const WriteOptions& options,
                     PartialOutput& partial)
    : plan_(plan), options_(options), far_(far), partial_(partial), done_(far.jobs.size()) {
  continue_from_record();
}

std::string FarWriter::stage() const {
  return join_path(partial_.path(), "output");
}

// Whether the stage has the files that the record speaks of.
bool FarWriter::has_files() const {
  return std::all_of(plan_.weights.begin(), plan_.weights.end(), [&](const WeightsOutput& file) {
    const std::string path = file.name.empty() ? stage() : join_path(stage(), file.name);
    const std::optional<struct stat> status = find_status(path, false);
    return status && S_ISREG(status->st_mode) && static_cast<std::uint64_t>(status->st_size) == file.size;
  });
}

bool FarWriter::is_sound(const FarStep& step) const {
  const auto is_tensor = [&](const auto& one) {
    return one.file < plan_.weights.size() && one.tensor < plan_.weights[one.file].tensors.size();
  };
  const std::size_t modules = plan_.quantize ? plan_.quantize->modules.size() : 0;
  return (!step.mark || step.mark->range <= far_.sequence.size()) &&
         std::all_of(step.done.begin(), step.done.end(),
                     [&](std::size_t job) { return job < done_.size(); }) &&
         std::all_of(step.hashes.begin(), step.hashes.end(),
                     [&](const auto& hash) { return hash.first < done_.size(); }) &&
         std::all_of(step.errors.begin(), step.errors.end(),
                     [&](const auto& error) {
                       return error.first < modules && plan_.quantize->modules[error.first].error;
                     }) &&
         std::all_of(step.losses.begin(), step.losses.end(), is_tensor) &&
         std::all_of(step.pieces.begin(), step.pieces.end(), is_tensor);
}

// The record of an earlier run counts as a whole or not at all.
void FarWriter::continue_from_record() {
  std::vector<FarStep> steps;
  bool sound = true;
  for (const std::string& line : partial_.lines()) {
    const std::optional<FarStep> step = FarStep::parse(line);
    sound = sound && step && is_sound(*step);
    if (sound) steps.push_back(*step);
  }
  if (!sound || (!steps.empty() && !has_files())) return partial_.restart();
  for (const FarStep& step : steps) {
    add(step);
    for (const auto& [module, error] : step.errors) plan_.quantize->modules[module].error->add(error);
  }
}

void FarWriter::add(const FarStep& step) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (step.mark) mark_ = *step.mark;
  for (const std::size_t job : step.done) done_[job] = true;
  for (const FarLoss& loss : step.losses) losses_[{loss.file, loss.tensor}].add(loss.report);
  for (const FarPiece& piece : step.pieces) pieces_[{piece.file, piece.tensor}][piece.at] = piece;
  for (const auto& [job, hash] : step.hashes) hashes_[{far_.jobs[job].file, far_.jobs[job].tensor}] = hash;
}

void FarWriter::note(const FarStep& step) {
  partial_.note(step.text());
  add(step);
}

std::vector<std::vector<FarRange>> FarWriter::needs_to_come() const {
  std::vector<std::vector<FarRange>> needs;
  for (std::size_t i = 0; i < done_.size(); ++i) {
    if (!done_[i]) needs.push_back(far_.jobs[i].needs);
  }
  return needs;
}

// Bytes of the output that an earlier run wrote.
std::uint64_t FarWriter::written() const {
  std::uint64_t bytes = 0;
  for (const FarCopy& copy : far_.copies) {
    if (copy.range > mark_.range) break;
    const std::uint64_t begin = copy.from.offset - far_.sequence[copy.range].offset;
    const std::uint64_t passed = copy.range < mark_.range
                                     ? copy.from.size
                                     : std::clamp(mark_.at, begin, begin + copy.from.size) - begin;
    const PackedTensor& tensor = plan_.weights[copy.file].tensors[copy.tensor];
    bytes += passed * bits(tensor.output.dtype) / bits(tensor.input->dtype);
  }
  for (std::size_t i = 0; i < done_.size(); ++i) {
    const FarJob& job = far_.jobs[i];
    if (done_[i]) bytes += plan_.weights[job.file].tensors[job.tensor].output.size;
  }
  return bytes;
}

void FarWriter::write(std::vector<OutputFile>& files, const TensorWriter& writer, Progress& progress,
                      WriteResult& result) {
  partial_.require_room(plan_.total_bytes);
  FarOutput output(plan_, files);
  prepare(plan_, files, output);
  const std::string folder = join_path(partial_.path(), "mirror");
  make_folders(folder);
  sync_folder(partial_.path());
  Mirror mirror(folder, files_of(far_.sequence));
  Needs needs(needs_to_come());
  adopt_needed(mirror, needs, far_.sequence, mark_);
  const SequencePoint start{mark_.range, mark_.at};
  progress.begin_at(written());
  FarScatter scatter(plan_, far_, output, needs, mirror, options_.verify,
                     [&progress](std::uint64_t bytes) { progress.add(bytes); });
  scatter.begin(start);
  FarJobs jobs({plan_, far_, output, needs, mirror, writer, options_.verify,
                [this](const FarStep& step) { note(step); }},
               done_);
  jobs.ready_until(start);
  std::atomic<std::uint64_t> read{0};
  const FetchOptions how{
      .connections = options_.connections, .from = mark_, .on_bytes = [&](std::uint64_t bytes) {
        read += bytes;
        progress.add_read(bytes);
      }};
  result.read = FarRead{0, bytes_before(far_, mark_)};
  fetch(
      far_.sequence, how, [&](const FarBlock& block) { scatter.take(block); },
      [&](const FetchMark& mark) {
        const SequencePoint end{mark.range, mark.at};
        output.sync();
        mirror.sync();
        FarStep step = scatter.passed(end);
        step.mark = mark;
        note(step);
        jobs.ready_until(end);
      });
  jobs.finish();
  result.read->bytes = read;
  tell_losses(result);
}

void FarWriter::tell_losses(WriteResult& result) const {
  for (const auto& [place, report] : losses_) {
    const WeightsOutput& file = plan_.weights[place.first];
    result.losses.emplace_back(file.label(file.tensors[place.second]), report);
  }
}

TensorSum FarWriter::sum_of(std::size_t file, std::size_t tensor) const {
  const std::pair place{file, tensor};
  if (const auto hash = hashes_.find(place); hash != hashes_.end()) return {hash->second, 0};
  TensorSum sum;
  if (const auto pieces = pieces_.find(place); pieces != pieces_.end()) {
    for (const auto& [at, piece] : pieces->second) sum.crc = crc32_joined(sum.crc, piece.crc, piece.size);
  }
  return sum;
}

void with_far_writer(const PackPlan& plan, const std::string& out, const WriteOptions& options,
                     const std::function<void(FarWriter&)>& work) {
  const FarPlan far = plan_far(plan);
  with_partial_output(real_target(out), identity_of(plan, far, options),
                      options.force || !has_versions(far.sequence), [&](PartialOutput& partial) {
                        FarWriter writer(plan, far, options, partial);
                        work(writer);
                      });
}

}  // namespace mu
