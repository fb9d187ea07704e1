// SPDX-License-Identifier: Apache-2.0
// A folder is written in this order: files of weights (whole ones shared with the input where the file system
// can, finished ones of parts linked, the rest by tensor_writer.h), gathered files, then texts, the index last.
// All of it lies in a stage (os/stage.h) until the last step puts it in place; --verify reads it there.
#include "pack/write.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <set>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/progress.h"
#include "os/folder.h"
#include "os/stage.h"
#include "os/threads.h"
#include "pack/replacement.h"
#include "pack/tensor_writer.h"
#include "weights/digest.h"

namespace mu {
namespace {

std::optional<FileId> id_of(const std::string& path) {
  const std::optional<struct stat> status = find_status(path);
  return status ? std::optional(FileId{status->st_dev, status->st_ino}) : std::nullopt;
}

Error onto_itself(const std::string& out) {
  return refused("is the input itself").in_file(escape_name(out)).hint("write elsewhere");
}

// Whether `path` is in the folder `target`, by its name or through a link.
bool is_in(const std::string& path, const FileId& target) {
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

// Compares what the disk returns with what should be there, tensor by tensor. Returns the content digest: of
// the model in the folder itself or, where there is none, of the tensors of all components.
std::string verify_output(const PackPlan& plan, const std::vector<std::string>& paths, unsigned threads) {
  std::vector<std::pair<std::string, std::string>> hashes;
  const auto in_subfolder = [](const WeightsOutput& file) {
    return file.name.find('/') != std::string::npos;
  };
  const bool has_top = !std::all_of(plan.weights.begin(), plan.weights.end(), in_subfolder);
  for (std::size_t f = 0; f < plan.weights.size(); ++f) {
    const WeightsOutput& file = plan.weights[f];
    const InputFile written(paths[f]);
    ::posix_fadvise(written.fd()->get(), 0, 0, POSIX_FADV_DONTNEED);  // from the disk, not from memory
    std::string prefix(file.prefix.size(), '\0');
    written.read_at(0, std::as_writable_bytes(std::span(prefix)));
    bool same = prefix == file.prefix && written.size() == file.size;
    std::vector<std::uint64_t> offsets;
    std::uint64_t offset = file.prefix.size();
    for (const PackedTensor& tensor : file.tensors) {
      offsets.push_back(offset);
      offset += tensor.output.size;
    }
    std::vector<std::pair<std::string, std::string>> found(file.tensors.size());
    std::atomic<bool> differs{false};
    parallel_for(same ? file.tensors.size() : 0, threads, [&](std::size_t i) {
      const PackedTensor& tensor = file.tensors[i];
      const TensorSpec& spec = tensor.output;
      CastReport unused;
      const std::string expected = tensor_hash(name(spec.dtype), spec.shape, spec.size,
                                               [&](std::uint64_t at, std::span<std::byte> out) {
                                                 TensorWriter::read_output(file, tensor, at, out, unused);
                                               });
      const std::string actual = tensor_hash(
          name(spec.dtype), spec.shape, spec.size,
          [&](std::uint64_t at, std::span<std::byte> out) { written.read_at(offsets[i] + at, out); });
      if (expected != actual) differs = true;
      found[i] = {file.label(tensor), actual};
    });
    if (!same || differs) {
      throw Error(ErrorKind::kIo, "read back different bytes than were written")
          .in_file(escape_name(paths[f]))
          .hint("the disk or the memory is faulty; nothing was put in place");
    }
    if (!has_top || !in_subfolder(file)) hashes.insert(hashes.end(), found.begin(), found.end());
  }
  return content_digest(std::move(hashes));
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

// Puts the files of weights into a stage: links finished ones, writes the others.
WriteResult stage_weights(const PackPlan& plan, const TensorWriter& writer, StagedFolder& folder,
                          const FinishedShards& finished, const WriteOptions& options) {
  WriteResult written;
  PackPlan missing;
  missing.total_bytes = plan.total_bytes;
  std::map<std::string, CastReport> losses;
  std::vector<OutputFile> files;
  std::vector<std::string> paths;
  for (const WeightsOutput& file : plan.weights) {
    paths.push_back(folder.path_of(file.name));
    const auto found = finished.find(file.name);
    if (found == finished.end()) {
      files.push_back(folder.create(file.name));
      missing.weights.push_back(file);
    } else {
      folder.adopt(found->second.path, file.name);
      missing.total_bytes -= file.size;
      losses.insert(found->second.losses.begin(), found->second.losses.end());
    }
  }
  write_files(missing, writer, files, folder.path_of(""), written);
  losses.insert(written.losses.begin(), written.losses.end());
  WriteResult result;
  for (const WeightsOutput& file : plan.weights) {
    for (const PackedTensor& tensor : file.tensors) {
      const auto loss = losses.find(file.label(tensor));
      if (loss != losses.end()) result.losses.push_back(*loss);
    }
  }
  if (options.verify) result.digest = verify_output(plan, paths, options.threads);
  return result;
}

WriteResult write_folder(const PackPlan& plan, const std::string& out, const WriteOptions& options,
                         const TensorWriter& writer, const FinishedShards& finished) {
  Replacement replacement;
  if (options.force && is_folder(out)) replacement = plan_replacement(out, plan);
  StagedFolder folder(out, options.force);
  WriteResult result = stage_weights(plan, writer, folder, finished, options);
  std::set<std::string> texts;
  for (const TextOutput& text : plan.texts) texts.insert(text.name);
  for (const GatheredFile& file : plan.files) {
    if (!file.taken || texts.contains(file.name)) continue;
    const InputFile source(file.path);
    OutputFile copy = folder.create(file.name);
    copy_file(source, copy, {});
    copy.sync();
  }
  for (const TextOutput& text : plan.texts) write_text(folder, text);  // the index comes last
  for (const std::string& name : replacement.kept) folder.keep(name);
  folder.commit(replacement.replaced);
  return result;
}

WriteResult write_single(const PackPlan& plan, const std::string& out, const WriteOptions& options,
                         const TensorWriter& writer) {
  WriteResult result;
  StagedFile staged(out, options.force);
  std::vector<OutputFile> files;
  files.push_back(std::move(staged.file()));
  write_files(plan, writer, files, parent_of(files.front().path()), result);
  if (options.verify) result.digest = verify_output(plan, {files.front().path()}, options.threads);
  staged.file() = std::move(files.front());
  staged.commit();
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
  std::uint64_t to_write = plan.total_bytes;
  for (const WeightsOutput& file : plan.weights) to_write -= finished.contains(file.name) ? file.size : 0;
  Progress progress("packing", to_write, options.progress);
  const TensorWriter writer(options.threads, [&progress](std::uint64_t bytes) { progress.add(bytes); });
  if (plan.kind == OutputKind::kStream) {
    WriteResult result;
    for (const WeightsOutput& file : plan.weights) writer.stream(file, result);
    return result;
  }
  refuse_own_input(plan, input, out);
  return plan.kind == OutputKind::kFolder ? write_folder(plan, out, options, writer, finished)
                                          : write_single(plan, out, options, writer);
}

WriteResult write_shards(const PackPlan& plan, const std::string& out, const std::string& name,
                         const std::function<std::string(const WriteResult&)>& text,
                         const WriteOptions& options) {
  Progress progress("packing", plan.total_bytes, options.progress);
  const TensorWriter writer(options.threads, [&progress](std::uint64_t bytes) { progress.add(bytes); });
  StagedFolder folder(out, true);  // commit_if_first leaves an existing one alone
  WriteResult result = stage_weights(plan, writer, folder, {}, options);
  write_text(folder, {name, text(result)});
  folder.commit_if_first();
  return result;
}

}  // namespace mu
