//===- Resume.h - What is left of a run that was interrupted ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_RESUME_H
#define LATHE_COMPILER_RESUME_H

#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

namespace lathe {

/// Hashes what a result depends on.
class ResumeKey {
public:
  explicit ResumeKey(const std::string &kind); ///< of results, such as "layer"
  ResumeKey(const ResumeKey &) = delete;
  ~ResumeKey();
  void add(const void *data, size_t size);
  void add(const std::string &text) {
    add(static_cast<int64_t>(text.size()));
    add(text.data(), text.size());
  }
  template <typename T> void add(const std::vector<T> &values) {
    add(static_cast<int64_t>(values.size()));
    add(values.data(), values.size() * sizeof(T));
  }
  void add(int64_t number) { add(&number, sizeof number); }
  /// 32 hexadecimal digits.
  std::string text() const;

private:
  struct State;
  std::unique_ptr<State> state;
};

/// Numbers one after another, as they lie in memory: what is kept is read by the same program on the same machine.
class ResumeWriter {
public:
  std::string bytes;
  template <typename T> void put(const T &value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes.append(reinterpret_cast<const char *>(&value), sizeof value);
  }
  template <typename T> void put(const std::vector<T> &values) {
    put(static_cast<uint64_t>(values.size()));
    bytes.append(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(T));
  }
  void put(const std::string &text) {
    put(static_cast<uint64_t>(text.size()));
    bytes += text;
  }
};

/// Reads them again. After anything that does not fit, isGood() is false and values are as they were.
class ResumeReader {
public:
  explicit ResumeReader(const std::string &bytes) : bytes(bytes) {}
  template <typename T> void get(T &value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (take(sizeof value))
      memcpy(&value, bytes.data() + at - sizeof value, sizeof value);
  }
  template <typename T> void get(std::vector<T> &values) {
    uint64_t count = 0;
    get(count);
    if (count > bytes.size() / sizeof(T) || !take(count * sizeof(T)))
      return void(good = false);
    values.resize(count);
    if (count)
      memcpy(values.data(), bytes.data() + at - count * sizeof(T), count * sizeof(T));
  }
  void get(std::string &text) {
    uint64_t count = 0;
    get(count);
    if (take(count))
      text.assign(bytes, at - count, count);
  }
  bool isGood() const { return good; }
  /// Good, and nothing is left.
  bool isDone() const { return good && at == bytes.size(); }

private:
  bool take(uint64_t count) {
    good = good && count <= bytes.size() - at;
    at += good ? count : 0;
    return good;
  }
  const std::string &bytes;
  size_t at = 0;
  bool good = true;
};

/// Finished parts of a run, kept in a folder beside its output until the run ends, so that the next one after a kill
/// need not do them again. A part is found by the hash of all that it depends on; each is a file that is written beside
/// its place and renamed, with a hash of its own. Used by one thread at a time.
class Resume {
public:
  /// Nothing is kept or found where `folder` is empty. `tell` gets what users are to know.
  Resume(std::string folder, std::function<void(const std::string &)> tell);

  const std::string &path() const { return folder; }
  /// Whether an earlier run had left something when this one began.
  bool hasLeft() const { return isLeft; }
  /// The bytes of a part; a file that is not whole is none, with a warning.
  std::optional<std::string> find(const std::string &key);
  /// Keeps a part. Where it can't, a warning says so once, and nothing more is kept.
  void keep(const std::string &key, const std::string &bytes);
  /// Removes the folder with what is in it of ours.
  void remove();
  /// Tells what is taken over, such as "3 of 4 layers", unless all is told as one number.
  void sayReused(const std::string &what) const {
    if (!isSummed)
      say("reusing " + what + " of an interrupted run (" + folder + ")");
  }
  /// From now on what is taken over is counted; or is told again, as it comes.
  void sumUp(bool sums) { isSummed = sums; }
  /// One line for all that was taken over since the run began, if there was something.
  void saySum() const {
    if (!found.empty())
      say("reusing " + std::to_string(found.size()) + " finished parts of an interrupted run (" + folder + ")");
  }
  void say(const std::string &what) const {
    if (tell)
      tell(what);
  }

private:
  std::string fileOf(const std::string &key) const { return folder + "/" + key + ".part"; }
  std::string folder;
  std::function<void(const std::string &)> tell;
  std::set<std::string> left, found; ///< keys of an earlier run, and those of them that were found
  bool isLeft = false, isBroken = false, isSummed = false;
};

} // namespace lathe

#endif // LATHE_COMPILER_RESUME_H
