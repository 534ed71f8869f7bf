//===- ModelFile.cpp - A mapped ONNX file ---------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The generated parser would copy every weight. So the file is first cut at the level of the wire format: everything
// but the raw data of tensors goes to the parser, of those only the place in the file is kept.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/ModelFile.h"
#include "frontends/onnx/Pages.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <climits>
#include <cstring>
#include <google/protobuf/io/coded_stream.h>
#include <openssl/evp.h>

using llvm::StringRef;

namespace lathe::frontend {

/// What the parser gets at most; beyond it a graph is hostile, since weights are not counted.
static constexpr size_t kMaxParsedBytes = size_t(1) << 30;
/// What messages of protobuf may have.
static constexpr size_t kMaxFileBytes = (size_t(1) << 31) - 1;
static constexpr int kMaxDepth = 100;

namespace {
enum WireType { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

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

namespace {

/// Calls `read` with the message that a field of `message` is, made, where it may hold tensors; else returns false.
template <typename Read> bool descend(onnx::ModelProto &message, uint64_t number, Read read) {
  switch (number) {
  case onnx::ModelProto::kGraphFieldNumber: return read(*message.mutable_graph());
  case onnx::ModelProto::kTrainingInfoFieldNumber: return read(*message.add_training_info());
  case onnx::ModelProto::kFunctionsFieldNumber: return read(*message.add_functions());
  default: return false;
  }
}
template <typename Read> bool descend(onnx::TrainingInfoProto &message, uint64_t number, Read read) {
  switch (number) {
  case onnx::TrainingInfoProto::kInitializationFieldNumber: return read(*message.mutable_initialization());
  case onnx::TrainingInfoProto::kAlgorithmFieldNumber: return read(*message.mutable_algorithm());
  default: return false;
  }
}
template <typename Read> bool descend(onnx::FunctionProto &message, uint64_t number, Read read) {
  switch (number) {
  case onnx::FunctionProto::kNodeFieldNumber: return read(*message.add_node());
  case onnx::FunctionProto::kAttributeProtoFieldNumber: return read(*message.add_attribute_proto());
  default: return false;
  }
}
template <typename Read> bool descend(onnx::GraphProto &message, uint64_t number, Read read) {
  switch (number) {
  case onnx::GraphProto::kNodeFieldNumber: return read(*message.add_node());
  case onnx::GraphProto::kInitializerFieldNumber: return read(*message.add_initializer());
  case onnx::GraphProto::kSparseInitializerFieldNumber: return read(*message.add_sparse_initializer());
  default: return false;
  }
}
template <typename Read> bool descend(onnx::NodeProto &message, uint64_t number, Read read) {
  return number == onnx::NodeProto::kAttributeFieldNumber && read(*message.add_attribute());
}
template <typename Read> bool descend(onnx::AttributeProto &message, uint64_t number, Read read) {
  switch (number) {
  case onnx::AttributeProto::kTFieldNumber: return read(*message.mutable_t());
  case onnx::AttributeProto::kTensorsFieldNumber: return read(*message.add_tensors());
  case onnx::AttributeProto::kGFieldNumber: return read(*message.mutable_g());
  case onnx::AttributeProto::kGraphsFieldNumber: return read(*message.add_graphs());
  case onnx::AttributeProto::kSparseTensorFieldNumber: return read(*message.mutable_sparse_tensor());
  case onnx::AttributeProto::kSparseTensorsFieldNumber: return read(*message.add_sparse_tensors());
  default: return false;
  }
}
template <typename Read> bool descend(onnx::SparseTensorProto &message, uint64_t number, Read read) {
  switch (number) {
  case onnx::SparseTensorProto::kValuesFieldNumber: return read(*message.mutable_values());
  case onnx::SparseTensorProto::kIndicesFieldNumber: return read(*message.mutable_indices());
  default: return false;
  }
}

/// Parses a model but for the raw data of its tensors, wherever they are: initializers, attributes of nodes, graphs of
/// nodes, functions.
class Reader {
public:
  Reader(StringRef bytes, ModelFile &file) : walker(bytes), bytes(bytes), file(file) {}

  std::string run() {
    (void)read(file.proto, 0, bytes.size(), 0);
    if (error.empty() && !file.proto.has_graph())
      return "it holds no graph";
    return error;
  }

private:
  bool fail(const std::string &text) {
    error = text;
    return false;
  }

  bool parse(google::protobuf::MessageLite &message, StringRef rest) {
    parsed += rest.size();
    if (parsed > kMaxParsedBytes)
      return fail("its graph without raw weights takes more than 1 GiB");
    google::protobuf::io::CodedInputStream stream(rest.bytes_begin(), static_cast<int>(rest.size()));
    return (message.MergePartialFromCodedStream(&stream) && stream.ConsumedEntireMessage()) ||
           fail("a field of a message of type " + message.GetTypeName() + " is malformed");
  }

  template <typename Message> bool read(Message &message, size_t position, size_t limit, int depth) {
    if (depth > kMaxDepth)
      return fail("its messages are nested deeper than " + std::to_string(kMaxDepth));
    std::string rest;
    Field field;
    while (position < limit) {
      if (!walker.next(position, limit, field))
        return fail(walker.error);
      auto inside = [&](auto &inner) {
        (void)read(inner, field.payload, field.end, depth + 1);
        return true;
      };
      if (field.wireType != kLengthDelimited || !descend(message, field.number, inside))
        rest += bytes.slice(field.begin, field.end);
      if (!error.empty())
        return false;
    }
    return parse(message, rest);
  }

  bool read(onnx::TensorProto &tensor, size_t position, size_t limit, int) { return readTensor(tensor, position, limit); }

  /// What stays in the file is a place of the list, whose number stands for the raw data in the parsed tensor.
  bool readTensor(onnx::TensorProto &tensor, size_t position, size_t limit) {
    std::string rest;
    std::optional<Field> raw, typed;
    Field field;
    while (position < limit) {
      if (!walker.next(position, limit, field))
        return fail(walker.error);
      bool isFloats = field.number == onnx::TensorProto::kFloatDataFieldNumber ||
                      field.number == onnx::TensorProto::kDoubleDataFieldNumber;
      if (field.number == onnx::TensorProto::kRawDataFieldNumber && field.wireType == kLengthDelimited)
        raw = field;
      else if (isFloats && field.wireType == kLengthDelimited && !typed)
        typed = field;
      else
        rest += bytes.slice(field.begin, field.end);
    }
    if (!parse(tensor, rest))
      return false;
    // Numbers of fixed width lie in the file as raw data do, but for those of a list in pieces, or of another type.
    if (typed && !raw && tensor.float_data_size() == 0 && tensor.double_data_size() == 0 &&
        tensor.data_type() == (typed->number == onnx::TensorProto::kFloatDataFieldNumber ? onnx::TensorProto::FLOAT : onnx::TensorProto::DOUBLE))
      raw = typed;
    else if (typed && !parse(tensor, bytes.slice(typed->begin, typed->end)))
      return false;
    if (!raw)
      return true;
    uint64_t index = file.rawData.size();
    file.rawData.push_back({bytes.slice(raw->payload, raw->end), static_cast<int64_t>(raw->payload)});
    tensor.set_raw_data(&index, sizeof index);
    return true;
  }

  Walker walker;
  StringRef bytes;
  ModelFile &file;
  size_t parsed = 0;
  std::string error;
};

} // namespace

std::optional<RawData> ModelFile::raw(const onnx::TensorProto &tensor) const {
  uint64_t index;
  if (tensor.raw_data().size() != sizeof index)
    return std::nullopt;
  std::memcpy(&index, tensor.raw_data().data(), sizeof index);
  return index < rawData.size() ? std::optional(rawData[index]) : std::nullopt;
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

static std::string sha256Of(const llvm::MemoryBuffer &file) {
  constexpr size_t kPiece = size_t(1) << 24;
  StringRef bytes = file.getBuffer();
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> state(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  if (!state || !EVP_DigestInit_ex(state.get(), EVP_sha256(), nullptr))
    return "";
  for (size_t begin = 0; begin < bytes.size(); begin += kPiece) {
    StringRef piece = bytes.substr(begin, kPiece);
    if (!EVP_DigestUpdate(state.get(), piece.data(), piece.size()))
      return "";
    releasePages(file, begin, begin + piece.size());
  }
  if (!EVP_DigestFinal_ex(state.get(), digest, &length))
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
  if (bytes.size() > kMaxFileBytes)
    return ("'" + llvm::Twine(path) + "' has " + llvm::Twine(bytes.size()) + " bytes: expected at most " + llvm::Twine(kMaxFileBytes) +
            ", the limit of protobuf, with larger weights in a file beside it; write the model again where it was made, with "
            "onnx.save_model(model, '" + file.fileName + "', save_as_external_data=True, all_tensors_to_one_file=True, location='" +
            file.fileName + ".data') or torch.onnx.export(..., external_data=True)")
        .str();
  std::string problem = bytes.empty() ? "the file is empty" : Reader(bytes, file).run();
  if (!problem.empty())
    return "'" + path + "' is not an ONNX model: expected a protobuf of type ModelProto; " + describe(bytes, problem);
  file.sha256 = sha256Of(*file.buffer);
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

std::string locateExternalData(const ModelFile &file, const onnx::TensorProto &tensor, StringRef owner,
                               int64_t expectedBytes, ExternalData &data) {
  std::string prefix = ("external data of " + owner + ": ").str();
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
