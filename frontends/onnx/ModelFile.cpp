//===- ModelFile.cpp - A mapped ONNX file ---------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The generated parser would copy every weight. So the file is first cut at the level of the wire format: everything
// but the raw data of initializers goes to the parser, of those only the place in the file is kept.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/ModelFile.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <openssl/evp.h>

using llvm::StringRef;

namespace lathe::frontend {

/// What the parser gets at most; beyond it a graph is hostile, since weights are not counted.
static constexpr size_t kMaxParsedBytes = size_t(1) << 30;

namespace {
enum WireType { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };
enum FieldNumber { kModelGraph = 7, kGraphInitializer = 5, kTensorRawData = 9 };

/// One field of a message: [begin, end) with its tag, [payload, end) without tag and length.
struct Field {
  uint64_t number = 0;
  unsigned wireType = 0;
  size_t begin = 0, payload = 0, end = 0;
};

class Walker {
public:
  explicit Walker(StringRef bytes) : bytes(bytes) {}

  /// Reads the field at `position` of a message that ends at `limit`.
  bool next(size_t &position, size_t limit, Field &field) {
    field.begin = position;
    uint64_t tag, length = 0;
    if (!varint(position, limit, tag))
      return fail(field.begin, limit);
    field.number = tag >> 3;
    field.wireType = tag & 7;
    field.payload = position;
    switch (field.wireType) {
    case kVarint:
      if (!varint(position, limit, length))
        return fail(field.begin, limit);
      field.end = position;
      return field.number != 0 || fail(field.begin, 0);
    case kFixed64: length = 8; break;
    case kFixed32: length = 4; break;
    case kLengthDelimited:
      if (!varint(position, limit, length))
        return fail(field.begin, limit);
      field.payload = position;
      break;
    default: return fail(field.begin, 0);
    }
    if (field.number == 0)
      return fail(field.begin, 0);
    if (length > limit - position)
      return fail(field.begin, limit);
    position += length;
    field.end = position;
    return true;
  }

  std::string error;

private:
  bool varint(size_t &position, size_t limit, uint64_t &value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && position < limit; shift += 7) {
      auto byte = static_cast<uint8_t>(bytes[position++]);
      value |= uint64_t(byte & 0x7f) << shift;
      if (!(byte & 0x80))
        return true;
    }
    return false;
  }
  bool fail(size_t begin, size_t limit) {
    error = limit == bytes.size() ? ("the file ends inside the field at byte " + llvm::Twine(begin)).str()
                                  : ("no valid field at byte " + llvm::Twine(begin)).str();
    return false;
  }
  StringRef bytes;
};
} // namespace

static bool parse(google::protobuf::MessageLite &message, const std::string &bytes) {
  return bytes.size() <= kMaxParsedBytes && message.ParsePartialFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

/// Cuts a TensorProto in [position, limit) into what is parsed and its raw data.
static bool cutTensor(Walker &walker, StringRef bytes, size_t position, size_t limit, std::string &rest,
                      std::optional<RawData> &raw) {
  Field field;
  while (position < limit) {
    if (!walker.next(position, limit, field))
      return false;
    if (field.number == kTensorRawData && field.wireType == kLengthDelimited)
      raw = RawData{bytes.slice(field.payload, field.end), static_cast<int64_t>(field.payload)};
    else
      rest += bytes.slice(field.begin, field.end);
  }
  return true;
}

static std::string parseModel(StringRef bytes, ModelFile &file) {
  Walker walker(bytes);
  std::string model, graph;
  std::vector<std::string> tensors;
  bool hasGraph = false;
  size_t parsed = 0;
  Field field, inner;
  for (size_t position = 0; position < bytes.size();) {
    if (!walker.next(position, bytes.size(), field))
      return walker.error;
    if (field.number != kModelGraph || field.wireType != kLengthDelimited) {
      model += bytes.slice(field.begin, field.end);
      continue;
    }
    hasGraph = true;
    for (size_t p = field.payload; p < field.end;) {
      if (!walker.next(p, field.end, inner))
        return walker.error;
      if (inner.number != kGraphInitializer || inner.wireType != kLengthDelimited) {
        graph += bytes.slice(inner.begin, inner.end);
        continue;
      }
      tensors.emplace_back();
      file.rawData.emplace_back();
      if (!cutTensor(walker, bytes, inner.payload, inner.end, tensors.back(), file.rawData.back()))
        return walker.error;
      parsed += tensors.back().size();
    }
  }
  if (!hasGraph)
    return "it holds no graph";
  if (parsed + model.size() + graph.size() > kMaxParsedBytes)
    return "its graph without raw weights takes more than 1 GiB";
  if (!parse(file.proto, model))
    return "a field of the model is malformed";
  if (!parse(*file.proto.mutable_graph(), graph))
    return "a field of the graph is malformed";
  for (const std::string &tensor : tensors)
    if (!parse(*file.proto.mutable_graph()->add_initializer(), tensor))
      return "a field of an initializer is malformed";
  return "";
}

/// "found text" and the like, where the first bytes tell; what the parser says elsewhere.
static std::string describe(StringRef bytes, const std::string &otherwise) {
  if (bytes.starts_with("version https://git-lfs"))
    return "found a pointer of Git LFS; fetch the file with 'git lfs pull'";
  bool text = !bytes.empty() && llvm::all_of(bytes.take_front(512), [](char c) {
    return llvm::isPrint(c) || c == '\n' || c == '\r' || c == '\t' || (c & 0x80);
  });
  return text ? "found text" : otherwise;
}

static std::string sha256Of(StringRef bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  if (!EVP_Digest(bytes.data(), bytes.size(), digest, &length, EVP_sha256(), nullptr))
    return "";
  return llvm::toHex(llvm::ArrayRef<uint8_t>(digest, length), /*LowerCase=*/true);
}

std::string readModelFile(const std::string &path, ModelFile &file) {
  llvm::sys::fs::file_status status;
  if (std::error_code error = llvm::sys::fs::status(path, status))
    return "cannot read '" + path + "': " + error.message();
  if (llvm::sys::fs::is_directory(status))
    return "cannot read '" + path + "': expected a file, found a folder";
  if (!llvm::sys::fs::is_regular_file(status))
    return "cannot read '" + path + "': expected a regular file";
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer)
    return "cannot read '" + path + "': " + buffer.getError().message();
  file.buffer = std::move(*buffer);
  llvm::SmallString<128> directory(path);
  if (std::error_code error = llvm::sys::fs::make_absolute(directory))
    return "cannot resolve '" + path + "': " + error.message();
  llvm::sys::path::remove_filename(directory);
  llvm::sys::path::remove_dots(directory);
  file.directory = directory.str().str();
  file.fileName = llvm::sys::path::filename(path).str();

  StringRef bytes = file.buffer->getBuffer();
  std::string problem = bytes.empty() ? "the file is empty" : parseModel(bytes, file);
  if (!problem.empty())
    return "'" + path + "' is not an ONNX model: expected a protobuf of type ModelProto; " + describe(bytes, problem);
  file.sha256 = sha256Of(bytes);
  return "";
}

//===----------------------------------------------------------------------===//
// External data
//===----------------------------------------------------------------------===//

/// `path` is `folder` or lies below it; both resolved.
static bool isInside(StringRef path, StringRef folder) {
  if (!path.consume_front(folder))
    return false;
  return path.empty() || path.front() == '/' || folder.ends_with("/");
}

static bool resolvesInside(const ModelFile &file, StringRef resolved) {
  llvm::SmallString<128> folder, model(file.directory);
  if (!llvm::sys::fs::real_path(file.directory, folder) && isInside(resolved, folder))
    return true;
  // Hub caches: the model and its data are links into one folder of blobs.
  llvm::sys::path::append(model, file.fileName);
  llvm::SmallString<128> target;
  if (llvm::sys::fs::real_path(model, target))
    return false;
  return isInside(resolved, llvm::sys::path::parent_path(target));
}

std::string locateExternalData(const ModelFile &file, const onnx::TensorProto &tensor, int64_t expectedBytes,
                               ExternalData &data) {
  std::string prefix = "external data of initializer '" + tensor.name() + "': ";
  std::optional<std::string> location;
  int64_t length = -1;
  for (const onnx::StringStringEntryProto &entry : tensor.external_data()) {
    if (entry.key() == "location") {
      location = entry.value();
    } else if (entry.key() == "offset" || entry.key() == "length") {
      int64_t value;
      if (StringRef(entry.value()).getAsInteger(10, value) || value < 0)
        return prefix + "expects " + entry.key() + " to be a number of bytes, got '" + entry.value() + "'";
      (entry.key() == "offset" ? data.offset : length) = value;
    }
  }
  if (!location || location->empty())
    return prefix + "expects a location, got none";
  data.file = *location;
  if (StringRef(data.file).contains('\0') || StringRef(data.file).contains('\\'))
    return prefix + "expects a location without backslashes and zero bytes";
  if (llvm::sys::path::is_absolute(data.file))
    return prefix + "expects a location relative to the model's folder, got '" + data.file + "'";
  for (auto it = llvm::sys::path::begin(data.file), end = llvm::sys::path::end(data.file); it != end; ++it)
    if (*it == "..")
      return prefix + "expects a location without '..', got '" + data.file + "'";

  llvm::SmallString<128> path(file.directory), resolved;
  llvm::sys::path::append(path, data.file);
  if (std::error_code error = llvm::sys::fs::real_path(path, resolved))
    return prefix + "cannot read '" + path.str().str() + "': " + error.message();
  if (!resolvesInside(file, resolved))
    return prefix + "expects a file inside the model's folder, but '" + data.file + "' resolves to '" +
           resolved.str().str() + "'";
  llvm::sys::fs::file_status status;
  if (std::error_code error = llvm::sys::fs::status(resolved, status))
    return prefix + "cannot read '" + path.str().str() + "': " + error.message();
  if (!llvm::sys::fs::is_regular_file(status))
    return prefix + "expects a regular file, got '" + data.file + "'";
  if (length >= 0 && length != expectedBytes)
    return (prefix + "expects a length of " + llvm::Twine(expectedBytes) + " bytes, got " + llvm::Twine(length)).str();
  uint64_t size = status.getSize(), offset = static_cast<uint64_t>(data.offset);
  if (offset > size || static_cast<uint64_t>(expectedBytes) > size - offset)
    return (prefix + "expects " + llvm::Twine(expectedBytes) + " bytes at offset " + llvm::Twine(data.offset) + " of '" +
            data.file + "', found " + llvm::Twine(offset > size ? 0 : size - offset))
        .str();
  return "";
}

} // namespace lathe::frontend
