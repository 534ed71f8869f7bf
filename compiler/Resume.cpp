//===- Resume.cpp - What is left of a run that was interrupted ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Resume.h"
#include "frontends/onnx/export/StreamFile.h"
#include "runtime/Hash.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <unistd.h>

namespace lathe {
namespace {

constexpr llvm::StringLiteral kMagic = "LATHEPART1";
constexpr size_t kHead = kMagic.size() + sizeof(artifact::Hash128);

std::string hexOf(const artifact::Hash128 &hash) {
  return llvm::toHex(llvm::StringRef(reinterpret_cast<const char *>(hash.bytes), sizeof hash.bytes),
                     /*LowerCase=*/true);
}

} // namespace

struct ResumeKey::State {
  XXH3_state_t hash;
};

ResumeKey::ResumeKey(const std::string &kind) : state(std::make_unique<State>()) {
  XXH3_128bits_reset(&state->hash);
  add(std::string(LATHE_VERSION));
  add(kind);
}

ResumeKey::~ResumeKey() = default;

void ResumeKey::add(const void *data, size_t size) { XXH3_128bits_update(&state->hash, data, size); }

std::string ResumeKey::text() const { return hexOf(artifact::canonical(XXH3_128bits_digest(&state->hash))); }

Resume::Resume(std::string path, std::function<void(const std::string &)> told)
    : folder(std::move(path)), tell(std::move(told)) {
  std::error_code code;
  if (!folder.empty())
    for (llvm::sys::fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code))
      if (llvm::StringRef name = llvm::sys::path::filename(it->path()); name.consume_back(".part"))
        left.insert(name.str());
  isLeft = !left.empty();
}

std::optional<std::string> Resume::find(const std::string &key) {
  if (folder.empty())
    return std::nullopt;
  auto file = llvm::MemoryBuffer::getFile(fileOf(key), /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!file)
    return std::nullopt;
  llvm::StringRef content = (*file)->getBuffer();
  bool isWhole = content.size() >= kHead && content.starts_with(kMagic);
  llvm::StringRef payload = isWhole ? content.drop_front(kHead) : llvm::StringRef();
  artifact::Hash128 own = artifact::hashBytes(payload.data(), payload.size());
  if (!isWhole || memcmp(own.bytes, content.data() + kMagic.size(), sizeof own.bytes) != 0) {
    say("warning: '" + fileOf(key) + "' of an interrupted run is damaged, and made again");
    llvm::sys::fs::remove(fileOf(key));
    return std::nullopt;
  }
  if (left.count(key))
    found.insert(key);
  return payload.str();
}

void Resume::keep(const std::string &key, const std::string &bytes) {
  if (folder.empty() || isBroken)
    return;
  runtime::NewFile file(fileOf(key));
  std::error_code code = llvm::sys::fs::create_directory(folder);
  std::string problem = code ? code.message() : "";
  if (problem.empty())
    problem = writeStream(file, [&](llvm::raw_ostream &stream) {
      artifact::Hash128 hash = artifact::hashBytes(bytes.data(), bytes.size());
      stream << kMagic;
      stream.write(reinterpret_cast<const char *>(hash.bytes), sizeof hash.bytes);
      stream << bytes;
    });
  if (problem.empty())
    problem = file.finish();
  if (problem.empty())
    return;
  isBroken = true;
  say("warning: can't keep finished layers in '" + folder + "': " + problem);
}

void Resume::remove() {
  if (folder.empty())
    return;
  std::error_code code;
  std::vector<std::string> files;
  for (llvm::sys::fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code))
    if (llvm::StringRef(it->path()).contains(".part"))
      files.push_back(it->path());
  for (const std::string &file : files)
    llvm::sys::fs::remove(file);
  if (!files.empty() || llvm::sys::fs::is_directory(folder))
    rmdir(folder.c_str()); // if nothing else is in it
}

} // namespace lathe
