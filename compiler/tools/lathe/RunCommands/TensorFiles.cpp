//===- TensorFiles.cpp - Tensors in .npy and .npz files ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/TensorFiles.h"

#include "runtime/DataType.h"
#include "runtime/NewFile.h"
#include "runtime/SmallFloats.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

using namespace lathe;
using namespace lathe::tool;

namespace {

constexpr size_t kMaxHeader = 1 << 16;
constexpr size_t kMaxRank = 64;
/// One member of an archive; larger ones are mistakes or attacks.
constexpr uint64_t kMaxMember = uint64_t(1) << 40;

/// Parser of the one Python literal that a .npy header is: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}.
class HeaderParser {
public:
  HeaderParser(std::string_view text, const std::string &where) : text_(text), where_(where) {}

  std::string descr;
  bool fortran = false;
  std::vector<int64_t> shape;

  void parse() {
    expect('{');
    bool seen[3] = {};
    while (peek() != '}') {
      std::string key = quoted();
      expect(':');
      int which = key == "descr" ? 0 : key == "fortran_order" ? 1 : key == "shape" ? 2 : 3;
      if (which == 3 || seen[which])
        fail("has an unexpected or repeated key '" + key + "' in its header");
      seen[which] = true;
      if (which == 0)
        readDescr();
      else if (which == 1)
        fortran = boolean();
      else
        tuple();
      if (peek() != '}')
        expect(',');
    }
    expect('}');
    if (peek() != 0 || !seen[0] || !seen[1] || !seen[2])
      fail("has a malformed header");
  }

private:
  [[noreturn]] void fail(const std::string &what) const { throw FileError(where_ + " " + what); }

  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t'))
      ++at_;
    return at_ < text_.size() ? text_[at_] : 0;
  }

  void expect(char c) {
    if (peek() != c)
      fail("has a malformed header");
    ++at_;
  }

  void readDescr() {
    if (peek() == '[')
      fail("has a structured type; expected a plain numeric array");
    descr = quoted();
  }

  std::string quoted() {
    char quote = peek();
    if (quote != '\'' && quote != '"')
      fail("has a malformed header");
    size_t end = text_.find(quote, ++at_);
    if (end == std::string_view::npos)
      fail("has a malformed header");
    std::string result(text_.substr(at_, end - at_));
    at_ = end + 1;
    return result;
  }

  bool boolean() {
    peek();
    for (bool value : {false, true}) {
      std::string_view word = value ? "True" : "False";
      if (text_.substr(at_, word.size()) == word) {
        at_ += word.size();
        return value;
      }
    }
    fail("has a malformed header");
  }

  void tuple() {
    expect('(');
    while (peek() != ')') {
      if (shape.size() == kMaxRank)
        fail("has more than 64 dimensions");
      int64_t value = 0;
      size_t start = at_;
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, text_[at_] - '0', &value))
          fail("has a dimension that is too large");
      if (at_ == start)
        fail("has a malformed shape");
      // Python 2 wrote long integers.
      if (at_ < text_.size() && text_[at_] == 'L')
        ++at_;
      shape.push_back(value);
      if (peek() != ')')
        expect(',');
    }
    expect(')');
  }

  std::string_view text_;
  const std::string &where_;
  size_t at_ = 0;
};

const runtime::DataType &typeOf(const std::string &descr, bool *swap, const std::string &where) {
  *swap = false;
  std::string_view text = descr;
  if (!text.empty() && (text[0] == '<' || text[0] == '>' || text[0] == '|' || text[0] == '=')) {
    *swap = text[0] == '>';
    text.remove_prefix(1);
  }
  if (text == "V2")
    return *runtime::dataType(LATHE_BF16);
  if (text == "V1" || text == "f1") // what ml_dtypes writes for its types of a byte
    return *runtime::dataType(LATHE_U8);
  for (size_t i = 0; i < runtime::kDataTypeCount; ++i) {
    const runtime::DataType *type = runtime::dataType(static_cast<lathe_dtype>(i));
    if (type->npy && text == type->npy)
      return *type;
  }
  throw FileError(where + " has NumPy type '" + descr + "'; expected float, integer or bool of at most 8 bytes");
}

void swapBytes(std::vector<unsigned char> &bytes, size_t size) {
  for (size_t i = 0; i + size <= bytes.size(); i += size)
    std::reverse(bytes.begin() + static_cast<ptrdiff_t>(i), bytes.begin() + static_cast<ptrdiff_t>(i + size));
}

/// Fortran order is the order of the transposed tensor.
std::vector<unsigned char> fromFortran(const std::vector<unsigned char> &source, const std::vector<int64_t> &dims,
                                       size_t size) {
  std::vector<unsigned char> target(source.size());
  std::vector<int64_t> index(dims.size()), strides(dims.size());
  int64_t stride = 1;
  for (size_t d = 0; d < dims.size(); ++d) {
    strides[d] = stride;
    stride *= dims[d];
  }
  for (size_t at = 0; at < target.size(); at += size) {
    int64_t from = 0;
    for (size_t d = 0; d < dims.size(); ++d)
      from += index[d] * strides[d];
    memcpy(&target[at], &source[static_cast<size_t>(from) * size], size);
    for (size_t d = dims.size(); d-- > 0;) {
      if (++index[d] < dims[d])
        break;
      index[d] = 0;
    }
  }
  return target;
}

struct ArchiveDiscard {
  void operator()(zip_t *archive) const { zip_discard(archive); }
};
using Archive = std::unique_ptr<zip_t, ArchiveDiscard>;

Archive openArchive(const std::string &path) {
  int code = 0;
  Archive archive(zip_open(path.c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &code));
  if (!archive) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    std::string text = zip_error_strerror(&error);
    zip_error_fini(&error);
    throw FileError("cannot open '" + path + "': " + text);
  }
  return archive;
}

/// Content of a member, read in pieces: the size that an archive claims is not taken on trust.
std::vector<unsigned char> readMember(zip_t *archive, zip_uint64_t index, const std::string &where) {
  std::unique_ptr<zip_file_t, int (*)(zip_file_t *)> file(zip_fopen_index(archive, index, 0), zip_fclose);
  if (!file)
    throw FileError(where + " cannot be read: " + zip_strerror(archive));
  std::vector<unsigned char> bytes;
  for (;;) {
    size_t old = bytes.size();
    constexpr size_t kStep = 1 << 20;
    bytes.resize(old + std::max(kStep, old / 2));
    zip_int64_t count = zip_fread(file.get(), bytes.data() + old, bytes.size() - old);
    if (count < 0)
      throw FileError(where + " is corrupt: " + zip_file_strerror(file.get()));
    bytes.resize(old + static_cast<size_t>(count));
    if (count == 0)
      return bytes;
    if (bytes.size() > kMaxMember)
      throw FileError(where + " is too large");
  }
}

} // namespace

int64_t Tensor::elements() const {
  int64_t count = 0;
  runtime::elementCount(dims.data(), dims.size(), &count);
  return count;
}

namespace {
template <typename T> T at(const Tensor &tensor, int64_t index) {
  T value;
  memcpy(&value, tensor.bytes.data() + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

/// An 8-bit float; `nan` is the smallest magnitude that is NaN, or 0x80 where negative zero is. `infinity` -1: none.
double narrowToDouble(uint8_t bits, int mantissa, int bias, int infinity, int nan) {
  int magnitude = bits & 0x7f;
  if (nan == 0x80 ? bits == 0x80 : magnitude >= nan)
    return NAN;
  int exponent = magnitude >> mantissa, fraction = magnitude & ((1 << mantissa) - 1);
  double value = magnitude == infinity ? INFINITY
                 : exponent == 0       ? std::ldexp(fraction, 1 - bias - mantissa)
                                       : std::ldexp(fraction + (1 << mantissa), exponent - bias - mantissa);
  return bits >> 7 ? -value : value;
}
} // namespace

double tool::element(const Tensor &tensor, int64_t index) {
  switch (tensor.dtype) {
  case LATHE_F32:
    return at<float>(tensor, index);
  case LATHE_F16:
    return runtime::halfValue(at<uint16_t>(tensor, index));
  case LATHE_BF16:
    return runtime::bfloatValue(at<uint16_t>(tensor, index));
  case LATHE_F64:
    return at<double>(tensor, index);
  case LATHE_I8:
    return at<int8_t>(tensor, index);
  case LATHE_I16:
    return at<int16_t>(tensor, index);
  case LATHE_I32:
    return at<int32_t>(tensor, index);
  case LATHE_I64:
    return static_cast<double>(at<int64_t>(tensor, index));
  case LATHE_U8:
    return at<uint8_t>(tensor, index);
  case LATHE_U16:
    return at<uint16_t>(tensor, index);
  case LATHE_U32:
    return at<uint32_t>(tensor, index);
  case LATHE_U64:
    return static_cast<double>(at<uint64_t>(tensor, index));
  case LATHE_BOOL:
    return at<uint8_t>(tensor, index) != 0;
  case LATHE_F8E4M3:
    return narrowToDouble(at<uint8_t>(tensor, index), 3, 7, 0x78, 0x79);
  case LATHE_F8E4M3FN:
    return narrowToDouble(at<uint8_t>(tensor, index), 3, 7, -1, 0x7f);
  case LATHE_F8E4M3FNUZ:
    return narrowToDouble(at<uint8_t>(tensor, index), 3, 8, -1, 0x80);
  case LATHE_F8E5M2:
    return narrowToDouble(at<uint8_t>(tensor, index), 2, 15, 0x7c, 0x7d);
  case LATHE_F8E5M2FNUZ:
    return narrowToDouble(at<uint8_t>(tensor, index), 2, 16, -1, 0x80);
  case LATHE_I4:
  case LATHE_I2:
    return at<int8_t>(tensor, index);
  case LATHE_U4:
  case LATHE_U2:
    return at<uint8_t>(tensor, index);
  }
  return 0;
}

lathe_dtype tool::fileType(lathe_dtype inFile, lathe_dtype expected) {
  bool isByte = inFile == LATHE_U8 || inFile == LATHE_I8;
  return isByte && expected > LATHE_BOOL ? expected : inFile;
}

Tensor tool::parseNpy(const unsigned char *data, size_t size, const std::string &where) {
  static const char kMagic[] = "\x93NUMPY";
  if (size < 10 || memcmp(data, kMagic, 6) != 0)
    throw FileError(where + " is not a .npy file");
  int version = data[6];
  size_t prefix = version == 1 ? 10 : 12;
  if (version < 1 || version > 3 || size < prefix)
    throw FileError(where + " has .npy version " + std::to_string(version) + "; expected 1, 2 or 3");
  size_t header = data[8] | static_cast<size_t>(data[9]) << 8;
  if (version > 1)
    header |= static_cast<size_t>(data[10]) << 16 | static_cast<size_t>(data[11]) << 24;
  if (header > kMaxHeader || header > size - prefix)
    throw FileError(where + " is truncated or has a header that is too large");
  HeaderParser parser({reinterpret_cast<const char *>(data) + prefix, header}, where);
  parser.parse();

  Tensor tensor;
  bool swap = false;
  const runtime::DataType &type = typeOf(parser.descr, &swap, where);
  tensor.dtype = type.dtype;
  tensor.dims = parser.shape;
  int64_t bytes = 0;
  if (!runtime::tensorBytes(type, tensor.dims.data(), tensor.dims.size(), &bytes) ||
      static_cast<uint64_t>(bytes) != size - prefix - header)
    throw FileError(where + " has " + std::to_string(size - prefix - header) +
                    " bytes of data, which is not what its shape needs");
  tensor.bytes.assign(data + prefix + header, data + size);
  if (swap)
    swapBytes(tensor.bytes, type.size);
  if (parser.fortran)
    tensor.bytes = fromFortran(tensor.bytes, tensor.dims, type.size);
  // Code for booleans relies on 0 and 1.
  if (tensor.dtype == LATHE_BOOL)
    for (unsigned char &value : tensor.bytes)
      value = value != 0;
  return tensor;
}

std::vector<unsigned char> tool::formatNpy(const Tensor &tensor) {
  const runtime::DataType &type = *runtime::dataType(tensor.dtype);
  std::string descr = std::string(type.size == 1 ? "|" : "<") + (type.npy ? type.npy : "V2");
  std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (";
  for (size_t i = 0; i < tensor.dims.size(); ++i)
    header += std::to_string(tensor.dims[i]) + (tensor.dims.size() == 1 || i + 1 < tensor.dims.size() ? "," : "") +
              (i + 1 < tensor.dims.size() ? " " : "");
  header += "), }";
  // The data start at a multiple of 64 bytes.
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  std::string start = "\x93NUMPY";
  start += {'\1', '\0', static_cast<char>(header.size()), static_cast<char>(header.size() >> 8)};
  start += header;
  std::vector<unsigned char> file(start.size() + tensor.bytes.size());
  memcpy(file.data(), start.data(), start.size());
  if (!tensor.bytes.empty())
    memcpy(file.data() + start.size(), tensor.bytes.data(), tensor.bytes.size());
  return file;
}

Tensor tool::readNpy(const std::string &path) {
  std::vector<unsigned char> bytes = readWhole(path);
  return parseNpy(bytes.data(), bytes.size(), "'" + path + "'");
}

std::vector<Tensor> tool::readNpz(const std::string &path) {
  Archive archive = openArchive(path);
  std::vector<Tensor> tensors;
  zip_int64_t count = zip_get_num_entries(archive.get(), 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    auto index = static_cast<zip_uint64_t>(i);
    const char *raw = zip_get_name(archive.get(), index, ZIP_FL_ENC_RAW);
    std::string name = raw ? raw : "";
    if (name.size() > 4 && name.compare(name.size() - 4, 4, ".npy") == 0)
      name.resize(name.size() - 4);
    std::string where = "'" + name + "' in '" + path + "'";
    std::vector<unsigned char> bytes = readMember(archive.get(), index, where);
    Tensor tensor = parseNpy(bytes.data(), bytes.size(), where);
    for (const Tensor &other : tensors)
      if (other.name == name)
        throw FileError(where + " occurs twice");
    tensor.name = std::move(name);
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

namespace {
/// Takes what functions of NewFile return.
void check(const std::string &problem, const std::string &path) {
  if (!problem.empty())
    throw FileError("cannot write '" + path + "': " + problem, true);
}
} // namespace

std::vector<unsigned char> tool::readWhole(const std::string &path) {
  std::unique_ptr<FILE, int (*)(FILE *)> file(fopen(path.c_str(), "rb"), fclose);
  struct stat info;
  if (!file || fstat(fileno(file.get()), &info) != 0)
    throw FileError("cannot open '" + path + "': " + strerror(errno));
  if (!S_ISREG(info.st_mode))
    throw FileError("cannot read '" + path + "': expected a regular file");
  std::vector<unsigned char> bytes(static_cast<size_t>(info.st_size));
  if (!bytes.empty() && fread(bytes.data(), 1, bytes.size(), file.get()) != bytes.size())
    throw FileError("cannot read '" + path + "': it changed or the device failed");
  return bytes;
}

void tool::writeText(const std::string &path, const std::string &text) {
  runtime::NewFile file(path);
  check(file.open(), path);
  check(file.write(text.data(), text.size()), path);
  check(file.finish(), path);
}

namespace {

/// What libzip writes an archive to: by itself it would give the file a name before it is complete.
class ArchiveFile {
public:
  explicit ArchiveFile(const std::string &path) : file_(path) {
    zip_error_init(&error_);
    check(file_.open(), path);
  }
  ~ArchiveFile() { zip_error_fini(&error_); }
  ArchiveFile(const ArchiveFile &) = delete;
  ArchiveFile &operator=(const ArchiveFile &) = delete;

  Archive open() {
    zip_source_t *source = zip_source_function_create(call, this, &error_);
    zip_t *archive = source ? zip_open_from_source(source, ZIP_TRUNCATE, &error_) : nullptr;
    if (!archive) {
      std::string problem = zip_error_strerror(&error_);
      zip_source_free(source);
      check(problem, file_.path());
    }
    return Archive(archive);
  }
  void finish() { check(file_.finish(), file_.path()); }

private:
  static zip_int64_t call(void *own, void *data, zip_uint64_t size, zip_source_cmd_t command) {
    return static_cast<ArchiveFile *>(own)->carryOut(data, size, command);
  }

  /// What can be changed can be read, as libzip sees it: nothing is there to be.
  zip_int64_t carryOut(void *data, zip_uint64_t size, zip_source_cmd_t command) {
    switch (command) {
    case ZIP_SOURCE_SUPPORTS:
      return ZIP_SOURCE_SUPPORTS_WRITABLE;
    case ZIP_SOURCE_ERROR:
      return zip_error_to_data(&error_, data, size);
    case ZIP_SOURCE_STAT:
      zip_stat_init(static_cast<zip_stat_t *>(data));
      static_cast<zip_stat_t *>(data)->size = 0;
      static_cast<zip_stat_t *>(data)->valid = ZIP_STAT_SIZE;
      return sizeof(zip_stat_t);
    case ZIP_SOURCE_WRITE:
      return isDone(file_.write(data, size)) ? static_cast<zip_int64_t>(size) : -1;
    case ZIP_SOURCE_SEEK_WRITE: {
      zip_int64_t place = zip_source_seek_compute_offset(static_cast<zip_uint64_t>(tell()), length(), data, size, &error_);
      return place >= 0 && isDone(file_.seek(static_cast<uint64_t>(place))) ? 0 : -1;
    }
    case ZIP_SOURCE_TELL_WRITE:
      return tell();
    case ZIP_SOURCE_BEGIN_WRITE:
    case ZIP_SOURCE_COMMIT_WRITE:
    case ZIP_SOURCE_ROLLBACK_WRITE:
    case ZIP_SOURCE_FREE:
    case ZIP_SOURCE_OPEN:
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_READ:
      return 0;
    default:
      zip_error_set(&error_, ZIP_ER_OPNOTSUPP, 0);
      return -1;
    }
  }

  bool isDone(const std::string &problem) {
    if (!problem.empty())
      zip_error_set(&error_, ZIP_ER_WRITE, errno);
    return problem.empty();
  }
  zip_int64_t tell() const { return lseek(file_.descriptor(), 0, SEEK_CUR); }
  zip_uint64_t length() const {
    struct stat info;
    return fstat(file_.descriptor(), &info) == 0 ? static_cast<zip_uint64_t>(info.st_size) : 0;
  }

  runtime::NewFile file_;
  zip_error_t error_;
};

} // namespace

void tool::writeNpz(const std::string &path, const std::vector<Tensor> &tensors) {
  if (tensors.empty()) // libzip writes nothing for an empty archive
    throw FileError("cannot write '" + path + "': there are no outputs", true);
  ArchiveFile file(path);
  // libzip writes when it closes, so the content must live until then.
  std::vector<std::vector<unsigned char>> contents;
  Archive archive = file.open();
  for (const Tensor &tensor : tensors) {
    contents.push_back(formatNpy(tensor));
    zip_source_t *source = zip_source_buffer(archive.get(), contents.back().data(), contents.back().size(), 0);
    zip_int64_t index =
        source ? zip_file_add(archive.get(), (tensor.name + ".npy").c_str(), source, ZIP_FL_ENC_UTF_8) : -1;
    if (index < 0) {
      if (source)
        zip_source_free(source);
      check(zip_strerror(archive.get()), path);
    }
    // As NumPy writes them; and the same bytes whenever they are written.
    zip_set_file_compression(archive.get(), static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0);
    zip_file_set_dostime(archive.get(), static_cast<zip_uint64_t>(index), 0, 33, 0);
  }
  if (zip_close(archive.get()) != 0)
    check(zip_strerror(archive.get()), path);
  archive.release();
  file.finish();
}
