// SPDX-License-Identifier: Apache-2.0
// A folder is written in this order: files of weights (whole ones shared with the input where the file system
// can, finished ones of parts linked, the rest by tensor_writer.h), gathered files, then texts, the index last.
// All of it lies in a stage (os/stage.h) until the last step puts it in place; --verify reads it there.
#include "pack/write.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <set>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/progress.h"
#include "fetch/read_ahead.h"
#include "os/far.h"
#include "os/folder.h"
#include "os/stage.h"
#include "os/threads.h"
#include "pack/copy_gathered.h"
#include "pack/far_write.h"
#include "pack/replacement.h"
#include "pack/tensor_writer.h"
#include "pack/verify.h"

namespace mu {
namespace {

std::optional<FileId> id_of(const std::string& path) {
  const std::optional<struct stat> status = find_status(near_path(path));
  return status ? std::optional(FileId{status->st_dev, status->st_ino}) : std::nullopt;
}

Error onto_itself(const std::string& out) {
  return refused("is the input itself").in_file(escape_name(out)).hint("write elsewhere");
}

// Whether a file is in the folder `target`, by its name or through a link.
bool is_in(const std::string& name, const FileId& target) {
  const std::string path = near_path(name);
  if (id_of(parent_of(path)) == target) return true;
  const std::optional<std::string> real = find_real_path(path);  // nothing for what is on another machine
  return real && id_of(parent_of(*real)) == target;
}

void refuse_own_input(const PackPlan& plan, const Input& input, const std::string& out) {
  if (input.folder && plan.kind == OutputKind::kFolder) require_apart(out, {input.folder->path});
  for (const Component& component : input.components) refuse_own_input(plan, component.input, out);
  const std::optional<FileId> target = id_of(out);
  if (!target) return;
  for (const WeightsFile& file : input.weights.files) {
    if (!file.file) continue;
    if (file.file->id() == *target) throw onto_itself(out);
    // An input in the output folder would be replaced with it.
    if (plan.kind == OutputKind::kFolder && is_in(file.name, *target)) throw onto_itself(out);
  }
}

// Shares whole files with the input if the file system can; stops at the first that it can't.
std::set<const WeightsOutput*> clone_what_can_be(const PackPlan& plan, std::vector<OutputFile>& files) {
  std::set<const WeightsOutput*> done;
  for (std::size_t i = 0; i < plan.weights.size(); ++i) {
    const InputFile* whole = TensorWriter::whole_copy_of(plan.weights[i]);
    if (whole == nullptr || !clone_file(*whole, files[i])) break;
    done.insert(&plan.weights[i]);
  }
  return done;
}

void write_files(const PackPlan& plan, const TensorWriter& writer, std::vector<OutputFile>& files,
                 const std::string& folder, WriteResult& result) {
  const std::set<const WeightsOutput*> cloned = clone_what_can_be(plan, files);
  std::uint64_t needed = plan.total_bytes;
  for (const WeightsOutput* file : cloned) needed -= file->size;
  require_space(folder, needed);
  for (std::size_t i = 0; i < plan.weights.size(); ++i) {
    if (!cloned.contains(&plan.weights[i])) writer.write(plan.weights[i], files[i], result);
    files[i].sync();
  }
}

void write_text(StagedFolder& folder, const TextOutput& text) {
  OutputFile file = folder.create(text.name);
  file.write_at(0, as_bytes(text.text));
  file.sync();
}

// What is left to write: the plan without the files that parts have finished.
PackPlan unfinished(const PackPlan& plan, const FinishedShards& finished) {
  PackPlan left = plan;
  for (const WeightsOutput& file : plan.weights)
    left.total_bytes -= finished.contains(file.name) ? file.size : 0;
  std::erase_if(left.weights, [&](const WeightsOutput& file) { return finished.contains(file.name); });
  return left;
}

// One piece of work: where it goes, and how what is left of it is written.
class Writing {
 public:
  // Borrows all. `far`: of what is left, files on other machines are read; else null.
  Writing(const PackPlan& plan, const PackPlan& left, const WriteOptions& options,
          const FinishedShards& finished, FarWriter* far)
      : plan_(plan),
        left_(left),
        options_(options),
        finished_(finished),
        far_(far),
        progress_("packing", left_.total_bytes, options.progress),
        writer_(options.threads, [this](std::uint64_t bytes) { progress_.add(bytes); }) {}

  // The place of the stage, if another run goes on with what this one leaves; empty: nothing is left.
  [[nodiscard]] std::string lasting_stage() const { return far_ != nullptr ? far_->stage() : ""; }

  // Puts the files of weights into a stage: links finished ones, writes the others.
  WriteResult fill(StagedFolder& folder) {
    std::vector<OutputFile> files;
    for (const WeightsOutput& file : left_.weights)
      files.push_back(far_ != nullptr ? folder.reopen(file.name) : folder.create(file.name));
    for (const auto& [name, shard] : finished_) folder.adopt(shard.path, name);
    std::vector<std::string> paths;
    for (const WeightsOutput& file : plan_.weights) paths.push_back(folder.path_of(file.name));
    return fill(files, folder.path_of(""), paths);
  }
  WriteResult fill(std::vector<OutputFile>& files, const std::string& folder,
                   const std::vector<std::string>& paths) {
    WriteResult written;
    if (far_ != nullptr)
      far_->write(files, writer_, progress_, written);
    else
      write_files(left_, writer_, files, folder, written);
    for (const auto& [name, shard] : finished_)
      written.losses.insert(written.losses.end(), shard.losses.begin(), shard.losses.end());
    sort_losses(written);
    if (options_.verify) written.digest = verify_output(plan_, paths, options_.threads, expected());
    return written;
  }

  // The last chance to see that another run has taken over.
  void require_held() const {
    if (far_ != nullptr) far_->require_held();
  }

 private:
  // In the order of the output.
  void sort_losses(WriteResult& written) const {
    std::map<std::string, CastReport> losses(written.losses.begin(), written.losses.end());
    written.losses.clear();
    for (const WeightsOutput& file : plan_.weights) {
      for (const PackedTensor& tensor : file.tensors) {
        const auto loss = losses.find(file.label(tensor));
        if (loss != losses.end()) written.losses.push_back(*loss);
      }
    }
  }

  // What is on the disk should be what was written, which for far files is known without reading them again.
  [[nodiscard]] Expected expected() const {
    if (!is_far(plan_)) return sum_of_input;
    std::map<std::string, std::size_t> place;
    for (std::size_t i = 0; i < left_.weights.size(); ++i) place[left_.weights[i].name] = i;
    return [this, place](const WeightsOutput& file, std::size_t tensor) -> std::optional<TensorSum> {
      const auto found = place.find(file.name);
      if (found == place.end()) return std::nullopt;  // compared by its part, if that was to verify
      return far_ != nullptr ? far_->sum_of(found->second, tensor) : sum_of_input(file, tensor);
    };
  }

  const PackPlan& plan_;
  const PackPlan& left_;
  const WriteOptions& options_;
  const FinishedShards& finished_;
  FarWriter* far_;
  Progress progress_;
  TensorWriter writer_;
};

// Lets `body` write what is left of a plan and put it in place.
WriteResult carry_out(const PackPlan& plan, const std::string& out, const WriteOptions& options,
                      const FinishedShards& finished, const std::function<WriteResult(Writing&)>& body) {
  const std::optional<PackPlan> part =
      finished.empty() ? std::nullopt : std::optional(unfinished(plan, finished));
  const PackPlan& left = part ? *part : plan;
  WriteResult result;
  if (is_far(left)) {
    with_far_writer(left, out, options, [&](FarWriter& far) {
      Writing work(plan, left, options, finished, &far);
      result = body(work);
    });
  } else {
    Writing work(plan, left, options, finished, nullptr);
    result = body(work);
  }
  return result;
}

WriteResult write_folder(const PackPlan& plan, const std::string& out, const WriteOptions& options,
                         Writing& work) {
  Replacement replacement;
  if (options.force && is_folder(out)) replacement = plan_replacement(out, plan);
  StagedFolder folder(out, options.force, work.lasting_stage());
  WriteResult result = work.fill(folder);
  std::set<std::string> texts;
  for (const TextOutput& text : plan.texts) texts.insert(text.name);
  for (const GatheredFile& file : plan.files) {
    if (!file.taken || texts.contains(file.name)) continue;
    const InputFile source(file.path);
    OutputFile copy = folder.create(file.name);
    copy_gathered(source, copy);
    copy.sync();
  }
  for (const TextOutput& text : plan.texts) write_text(folder, text);  // the index comes last
  for (const std::string& name : replacement.kept) folder.keep(name);
  work.require_held();
  folder.commit(replacement.replaced);
  return result;
}

WriteResult write_single(const std::string& out, const WriteOptions& options, Writing& work) {
  StagedFile staged(out, options.force, work.lasting_stage());
  std::vector<OutputFile> files;
  files.push_back(std::move(staged.file()));
  const std::string path = files.front().path();
  WriteResult result = work.fill(files, parent_of(path), {path});
  staged.file() = std::move(files.front());
  work.require_held();
  staged.commit();
  return result;
}

// Far files are read ahead of the writer, in memory.
WriteResult write_stream(const PackPlan& plan, const WriteOptions& options) {
  Progress progress("packing", plan.total_bytes, options.progress);
  const TensorWriter writer(options.threads, [&progress](std::uint64_t bytes) { progress.add(bytes); });
  WriteResult result;
  std::optional<ReadAhead> ahead;
  std::atomic<std::uint64_t> read{0};
  if (is_far(plan)) {
    const FetchOptions how{
        .connections = options.connections, .from = {}, .on_bytes = [&](std::uint64_t bytes) {
          read += bytes;
          progress.add_read(bytes);
        }};
    ahead.emplace(plan_far(plan).sequence, how);
  }
  for (const WeightsOutput& file : plan.weights) writer.stream(file, result);
  if (!ahead) return result;
  ahead->finish();
  result.read = FarRead{read, 0};
  return result;
}

}  // namespace

void require_apart(const std::string& out, const std::vector<std::string>& sources) {
  const std::optional<FileId> target = id_of(out);
  if (!target) return;
  for (const std::string& source : sources) {
    if (id_of(source) == target) throw onto_itself(out);
    if (!is_folder(out) || !exists(source)) continue;
    if (!is_folder(source)) {
      if (is_in(source, *target)) throw onto_itself(out);
      continue;
    }
    for (const FolderEntry& entry : list_folder(source)) {
      if (entry.is_link && entry.kind == FolderEntry::Kind::kFile &&
          is_in(join_path(source, entry.name), *target))
        throw onto_itself(out);
    }
  }
}

void require_writable(const PackPlan& plan, const Input& input, const std::string& out, bool force) {
  refuse_own_input(plan, input, out);
  require_free_folder(out, force);
}

WriteResult write_pack(const PackPlan& plan, const Input& input, const std::string& out,
                       const WriteOptions& options, const FinishedShards& finished) {
  if (plan.kind == OutputKind::kStream) return write_stream(plan, options);
  refuse_own_input(plan, input, out);
  if (plan.kind == OutputKind::kFolder) require_free_folder(out, options.force);
  return carry_out(plan, out, options, finished, [&](Writing& work) {
    return plan.kind == OutputKind::kFolder ? write_folder(plan, out, options, work)
                                            : write_single(out, options, work);
  });
}

WriteResult write_shards(const PackPlan& plan, const std::string& out, const std::string& name,
                         const std::function<std::string(const WriteResult&)>& text,
                         const WriteOptions& options) {
  return carry_out(plan, out, options, {}, [&](Writing& work) {
    StagedFolder folder(out, true, work.lasting_stage());  // commit_if_first leaves an existing one alone
    WriteResult result = work.fill(folder);
    write_text(folder, {name, text(result)});
    work.require_held();
    folder.commit_if_first();
    return result;
  });
}

}  // namespace mu
