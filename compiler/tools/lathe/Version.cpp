//===- Version.cpp - What this build of lathe is --------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Version.h"

#include "runtime/CpuFeatures.h"
#include "runtime/include/lathe/lathe.h"

#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>

namespace {

constexpr const char *kIsas[] = {"avx2", "avx512", "avx512_bf16", "amx"};

void append(std::string &list, const std::string &item) { list += (list.empty() ? "" : ", ") + item; }

/// Names of the libraries liblathe-NAME.so beside the runtime and in LATHE_BACKEND_PATH; "compiler" is one of them.
std::set<std::string> libraries() {
  std::error_code code;
  std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe", code).parent_path();
  std::stringstream relatives(LATHE_COMPILER_FOLDERS);
  std::set<std::filesystem::path> folders;
  for (std::string relative; std::getline(relatives, relative, ':');)
    folders.insert(folder / relative);
  if (const char *given = std::getenv("LATHE_BACKEND_PATH")) {
    std::stringstream rest(given);
    for (std::string one; std::getline(rest, one, ':');)
      if (!one.empty())
        folders.insert(one);
  }
  const std::string prefix = "liblathe-", suffix = ".so";
  std::set<std::string> names;
  for (const std::filesystem::path &one : folders) {
    std::filesystem::directory_iterator entries(one, code);
    for (; !code && entries != std::filesystem::directory_iterator(); entries.increment(code)) {
      std::string name = entries->path().filename().string();
      if (name.size() > prefix.size() + suffix.size() && name.compare(0, prefix.size(), prefix) == 0 &&
          name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0)
        names.insert(name.substr(prefix.size(), name.size() - prefix.size() - suffix.size()));
    }
  }
  return names;
}

} // namespace

std::string lathe::tool::versionText() {
  std::string isas, here, parts;
  for (const char *isa : kIsas) {
    const char *why = nullptr;
    append(isas, isa);
    if (runtime::supportsIsa(isa, &why))
      append(here, isa);
  }
  if (runtime::hasVnni())
    append(here, "vnni");
  std::set<std::string> others = libraries();
  const bool compiles = others.erase("compiler") != 0;
  std::string backends = "cpu";
  for (const std::string &name : others)
    append(backends, name + " (a library)");
#ifdef LATHE_HAS_TOKENIZER
  append(parts, "tokenizers");
#endif
#ifdef LATHE_HAS_AUDIO
  append(parts, "audio");
#endif
  std::string text = "lathe " LATHE_VERSION "\n";
  text += std::string("runtime       ") + lathe_version() + ", oneDNN " LATHE_DNNL_VERSION "\n";
  text += "compiler      " + std::string(compiles ? "MLIR " LATHE_MLIR_VERSION : "not installed") + "\n";
  text += "code for      x86-64: " + isas + " (here: " + (here.empty() ? "none" : here) + ")\n";
  text += "backends      " + backends + "\n";
  text += "parts         " + (parts.empty() ? "none" : parts);
  return text;
}
