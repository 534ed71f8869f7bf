//===- SentencePieceLoader.cpp - Finds the library for SentencePiece -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Tokenizer.h"

#include <dlfcn.h>

using namespace lathe;
using namespace lathe::tokenizer;
using runtime::failure;

namespace {

using Load = void(const std::string_view *bytes, std::unique_ptr<Tokenizer> *tokenizer, Status *status);

constexpr const char *kLibrary = "liblathe_sentencepiece.so";

struct Library {
  Load *load = nullptr;
  std::string error;

  /// Beside the code that asks, or beside the programs' folder, or where the system looks.
  Library() {
    std::string folder;
    Dl_info self;
    if (dladdr(reinterpret_cast<void *>(&loadSentencePiece), &self) && self.dli_fname) {
      folder = self.dli_fname;
      size_t slash = folder.rfind('/');
      folder = slash == std::string::npos ? std::string() : folder.substr(0, slash + 1);
    }
    for (const std::string &path : {folder + kLibrary, folder + "../lib/" + kLibrary, std::string(kLibrary)}) {
      void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (!handle)
        continue;
      load = reinterpret_cast<Load *>(dlsym(handle, "lathe_load_sentencepiece"));
      if (load)
        return;
    }
    const char *reason = dlerror();
    error = reason ? reason : "it is not there";
  }
};

} // namespace

Status tokenizer::loadSentencePiece(std::string_view bytes, std::unique_ptr<Tokenizer> *tokenizer) {
  static const Library library;
  if (!library.load)
    return failure(LATHE_NOT_FOUND, "the tokenizer is no tokenizer.json, and ", kLibrary, ", which reads SentencePiece models, can't be loaded: ",
                   library.error);
  Status status;
  library.load(&bytes, tokenizer, &status);
  return status;
}
