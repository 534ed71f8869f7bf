//===- lathe.hpp - C++ interface of the Lathe runtime -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Header-only, over lathe.h, whose rules on ownership and threads hold here too. Handles are move-only and release what
// they own; failures are thrown as lathe::Error.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_LATHE_HPP
#define LATHE_LATHE_HPP

#include "lathe.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// A call that failed.
class Error : public std::runtime_error {
public:
  Error(lathe_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
  lathe_status status() const noexcept { return status_; }

private:
  lathe_status status_;
};

/// Throws unless `status` is LATHE_OK.
inline void check(lathe_status status) {
  if (status != LATHE_OK)
    throw Error(status, lathe_last_error());
}

/// Element type of a C++ type.
template <typename T> struct DtypeOf;
template <> struct DtypeOf<float> {
  static constexpr lathe_dtype value = LATHE_F32;
};
template <> struct DtypeOf<double> {
  static constexpr lathe_dtype value = LATHE_F64;
};
template <> struct DtypeOf<int8_t> {
  static constexpr lathe_dtype value = LATHE_I8;
};
template <> struct DtypeOf<int16_t> {
  static constexpr lathe_dtype value = LATHE_I16;
};
template <> struct DtypeOf<int32_t> {
  static constexpr lathe_dtype value = LATHE_I32;
};
template <> struct DtypeOf<int64_t> {
  static constexpr lathe_dtype value = LATHE_I64;
};
template <> struct DtypeOf<uint8_t> {
  static constexpr lathe_dtype value = LATHE_U8;
};
template <> struct DtypeOf<uint16_t> {
  static constexpr lathe_dtype value = LATHE_U16;
};
template <> struct DtypeOf<uint32_t> {
  static constexpr lathe_dtype value = LATHE_U32;
};
template <> struct DtypeOf<uint64_t> {
  static constexpr lathe_dtype value = LATHE_U64;
};
template <> struct DtypeOf<bool> {
  static constexpr lathe_dtype value = LATHE_BOOL;
};

/// An input or output of a model.
struct TensorInfo {
  std::string name;
  lathe_dtype dtype = LATHE_F32;
  std::vector<int64_t> dims;         ///< -1 where symbolic
  std::vector<std::string> dimTexts; ///< number, symbol or expression

  static TensorInfo of(const lathe_tensor_info &info) {
    return {info.name, info.dtype, {info.dims, info.dims + info.rank}, {info.dim_texts, info.dim_texts + info.rank}};
  }
};

/// A symbolic dimension.
struct SymbolInfo {
  std::string name;
  int64_t min = 0;
  int64_t max = INT64_MAX;
};

/// A file that travels with the model; its texts live as long as the module.
struct Document {
  std::string name, format;
  std::string_view data; ///< with a zero behind it
};

struct LoadOptions {
  bool verify = false;
  std::string device; ///< empty for the artifact's first
  std::string isa;    ///< empty for the best
  uint64_t memoryBudget = 0;
  bool tf32 = false; ///< products of f32 may round their operands to TF32, on GPUs
};

/// A loaded artifact; all members are safe to call from several threads.
class Module {
public:
  explicit Module(const std::string &path, const LoadOptions &options = {}) {
    lathe_load_options native;
    lathe_load_options_init(&native);
    native.verify = options.verify;
    native.device = options.device.empty() ? nullptr : options.device.c_str();
    native.isa = options.isa.empty() ? nullptr : options.isa.c_str();
    native.memory_budget = options.memoryBudget;
    native.tf32 = options.tf32;
    lathe_module *module = nullptr;
    check(lathe_module_load(path.c_str(), &native, &module));
    module_.reset(module);
  }

  lathe_module *get() const { return module_.get(); }

  lathe_module_info info() const {
    lathe_module_info result;
    lathe_module_info_init(&result);
    check(lathe_module_get_info(get(), &result));
    return result;
  }

  /// Names of the programs: `main`, the first, is the model. Members that take the number of a program are about `main`
  /// where none is given.
  std::vector<std::string> programs() const {
    size_t count = 0;
    check(lathe_module_program_count(get(), &count));
    std::vector<std::string> result;
    for (size_t i = 0; i < count; ++i)
      result.emplace_back(programInfo(i).name);
    return result;
  }

  lathe_program_info programInfo(size_t program) const {
    lathe_program_info result;
    lathe_program_info_init(&result);
    check(lathe_module_program_info(get(), program, &result));
    return result;
  }

  size_t program(const std::string &name) const {
    size_t index = 0;
    check(lathe_module_find_program(get(), name.c_str(), &index));
    return index;
  }

  std::vector<TensorInfo> inputs(size_t program = 0) const {
    return tensors(program, programInfo(program).input_count, lathe_module_program_input);
  }
  std::vector<TensorInfo> outputs(size_t program = 0) const {
    return tensors(program, programInfo(program).output_count, lathe_module_program_output);
  }

  std::vector<SymbolInfo> symbols(size_t program = 0) const {
    std::vector<SymbolInfo> result;
    for (size_t i = 0, count = programInfo(program).symbol_count; i < count; ++i) {
      lathe_symbol_info symbol;
      check(lathe_module_program_symbol(get(), program, i, &symbol));
      result.push_back({symbol.name, symbol.min, symbol.max});
    }
    return result;
  }

  std::vector<Document> documents() const {
    size_t count = 0;
    check(lathe_module_document_count(get(), &count));
    std::vector<Document> result;
    for (size_t i = 0; i < count; ++i)
      result.push_back(documentAt(i));
    return result;
  }

  /// The one called `name`, such as "tokenizer", for Tokenizer::fromMemory; nothing where there is none.
  std::optional<Document> document(const std::string &name) const {
    size_t index = 0;
    lathe_status status = lathe_module_find_document(get(), name.c_str(), &index);
    if (status == LATHE_NOT_FOUND)
      return std::nullopt;
    check(status);
    return documentAt(index);
  }

  std::vector<std::string> devices() const {
    std::vector<std::string> result;
    for (size_t i = 0, count = info().device_count; i < count; ++i) {
      const char *name = nullptr;
      check(lathe_module_device(get(), i, &name));
      result.emplace_back(name);
    }
    return result;
  }

  std::string manifest() const {
    lathe_module_info all = info();
    return std::string(all.manifest, all.manifest_size);
  }

  size_t input(const std::string &name, size_t program = 0) const {
    size_t index = 0;
    check(lathe_module_program_find_input(get(), program, name.c_str(), &index));
    return index;
  }

  size_t output(const std::string &name, size_t program = 0) const {
    size_t index = 0;
    check(lathe_module_program_find_output(get(), program, name.c_str(), &index));
    return index;
  }

private:
  Document documentAt(size_t index) const {
    lathe_document document;
    check(lathe_module_document(get(), index, &document));
    return {document.name, document.format, {static_cast<const char *>(document.data), document.size}};
  }

  struct Release {
    void operator()(lathe_module *module) const { lathe_module_release(module); }
  };

  template <typename Get> std::vector<TensorInfo> tensors(size_t program, size_t count, Get query) const {
    std::vector<TensorInfo> result;
    for (size_t i = 0; i < count; ++i) {
      lathe_tensor_info info;
      check(query(get(), program, i, &info));
      result.push_back(TensorInfo::of(info));
    }
    return result;
  }

  std::unique_ptr<lathe_module, Release> module_;
};

struct SessionOptions {
  int threads = 0; ///< 0 for all processors of the process
  bool profile = false;
  uint64_t memoryBudget = 0;
  int64_t maxDimension = 0;
  std::string program; ///< empty for `main`
};

/// An output of a run; valid until the next one.
struct Output {
  void *data = nullptr;
  lathe_dtype dtype = LATHE_F32;
  std::vector<int64_t> dims;
  size_t size = 0; ///< in bytes

  /// The elements; throws when they have another type.
  template <typename T> const T *as() const {
    if (dtype != DtypeOf<T>::value)
      throw Error(LATHE_INVALID_ARGUMENT, std::string("the output has type ") + lathe_dtype_name(dtype) + ", not " +
                                              lathe_dtype_name(DtypeOf<T>::value));
    return static_cast<const T *>(data);
  }
};

/// Runs of a module; used by one thread at a time. Keeps what it needs of the module alive.
class Session {
public:
  explicit Session(const Module &module, const SessionOptions &options = {}) {
    lathe_session_options native;
    lathe_session_options_init(&native);
    native.threads = options.threads;
    native.profile = options.profile;
    native.memory_budget = options.memoryBudget;
    native.max_dimension = options.maxDimension;
    native.program = options.program.empty() ? nullptr : options.program.c_str();
    lathe_session *session = nullptr;
    check(lathe_session_create(module.get(), &native, &session));
    session_.reset(session);
  }

  lathe_session *get() const { return session_.get(); }

  /// `data` is borrowed: see lathe_session_set_input.
  void setInput(size_t index, lathe_dtype dtype, const std::vector<int64_t> &dims, const void *data) {
    check(lathe_session_set_input(get(), index, dtype, dims.size(), dims.data(), data));
  }

  template <typename T> void setInput(size_t index, const std::vector<int64_t> &dims, const T *data) {
    setInput(index, DtypeOf<T>::value, dims, static_cast<const void *>(data));
  }

  void setOutput(size_t index, void *data, size_t capacity) {
    check(lathe_session_set_output(get(), index, data, capacity));
  }

  std::vector<int64_t> outputShape(size_t index) {
    size_t rank = 0;
    const int64_t *dims = nullptr;
    check(lathe_session_output_shape(get(), index, &rank, &dims));
    return std::vector<int64_t>(dims, dims + rank);
  }

  void run() { check(lathe_session_run(get())); }
  void prepare() { check(lathe_session_prepare(get())); }

  Output output(size_t index) const {
    lathe_output native;
    check(lathe_session_output(get(), index, &native));
    Output result;
    result.data = native.data;
    result.dtype = native.dtype;
    result.dims.assign(native.dims, native.dims + native.rank);
    result.size = native.size;
    return result;
  }

  uint64_t memory() const {
    uint64_t bytes = 0;
    check(lathe_session_memory(get(), &bytes));
    return bytes;
  }

  lathe_memory_info memoryInfo() const {
    lathe_memory_info info;
    lathe_memory_info_init(&info);
    check(lathe_session_get_memory_info(get(), &info));
    return info;
  }

  /// Number of the program that it runs.
  size_t program() const {
    size_t index = 0;
    check(lathe_session_program(get(), &index));
    return index;
  }

  int threads() const {
    int32_t count = 0;
    check(lathe_session_threads(get(), &count));
    return count;
  }

  void setProfiling(bool enabled) { check(lathe_session_set_profiling(get(), enabled)); }
  /// Told after each call of a kernel while profiling is on: lathe_trace_fn. `trace` must live as long as runs are traced.
  template <typename Trace> void setTrace(Trace &trace) {
    check(lathe_session_set_trace(
        get(),
        [](void *context, size_t kernel, uint64_t start, uint64_t nanoseconds) {
          (*static_cast<Trace *>(context))(kernel, start, nanoseconds);
        },
        &trace));
  }
  void clearTrace() { check(lathe_session_set_trace(get(), nullptr, nullptr)); }
  void resetProfile() { check(lathe_session_reset_profile(get())); }

  /// Told after each call of a kernel that computes a value of the model: lathe_observe_fn, with the kernel's number and a
  /// const lathe_kernel_result &. `observe` must not throw, and must live as long as runs are observed.
  template <typename Observe> void setObserver(Observe &observe) {
    check(lathe_session_set_observer(
        get(),
        [](void *context, size_t kernel, const lathe_kernel_result *result) { (*static_cast<Observe *>(context))(kernel, *result); },
        &observe));
  }
  void clearObserver() { check(lathe_session_set_observer(get(), nullptr, nullptr)); }

  lathe_kernel_profile profile(size_t kernel) const {
    lathe_kernel_profile result;
    check(lathe_session_profile(get(), kernel, &result));
    return result;
  }

private:
  struct Release {
    void operator()(lathe_session *session) const { lathe_session_release(session); }
  };

  std::unique_ptr<lathe_session, Release> session_;
};

} // namespace lathe

#endif // LATHE_LATHE_HPP
