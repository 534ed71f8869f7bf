//===- Session.cpp - Runs of a module ---------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/Session.h"

#include "runtime/generation/KvCache.h"

#include <algorithm>

using namespace lathe::runtime;

namespace {

std::string describe(const std::vector<int64_t> &dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i)
    text += (i ? ", " : "") + std::to_string(dims[i]);
  return text + "]";
}

std::string describe(const std::vector<Dimension> &dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i)
    text += (i ? ", " : "") + dims[i].text;
  return text + "]";
}

template <typename... Parts> Status badArgument(const Parts &...parts) {
  return failure(LATHE_INVALID_ARGUMENT, parts...);
}

} // namespace

Status Session::create(std::shared_ptr<Module> module, const Options &options, std::unique_ptr<Session> *session) {
  constexpr int kMaxThreads = 1024;
  if (options.threads < 0 || options.threads > kMaxThreads)
    return badArgument("threads must be from 0 to ", kMaxThreads, ", got ", options.threads);
  if (options.maxDimension < 0)
    return badArgument("the maximum dimension must not be negative, got ", options.maxDimension);
  if (!module->runs())
    return failure(LATHE_UNSUPPORTED_DEVICE, "the artifact was loaded for device '", Artifact::kNoDevice, "', on which nothing runs");
  auto result = std::make_unique<Session>();
  result->options_ = options;
  if (result->options_.maxDimension == 0)
    result->options_.maxDimension = INT32_MAX;
  result->profiling_ = options.profile;
  const Manifest &manifest = module->manifest();
  if (!options.program.empty())
    if (Status status = manifest.findProgram(options.program, &result->programIndex_); status.failed())
      return status;
  const Program &program = manifest.programs[result->programIndex_];
  result->program_ = &program;
  result->inputs_.resize(program.inputs.size());
  result->outputs_.resize(program.outputs.size());
  result->symbols_.resize(program.symbols.size());
  result->profile_.resize(program.kernels.size());
  size_t dims = 0;
  for (const Tensor &tensor : program.inputs)
    dims += tensor.dims.size();
  for (const Tensor &tensor : program.outputs)
    dims += tensor.dims.size();
  result->planned_.resize(dims);
  int threads = options.threads ? options.threads : ThreadPool::usableProcessors();
  if (Status status = result->pool_.start(threads, module->backend().threadStart()); status.failed())
    return status;
  result->module_ = std::move(module);
  if (Status status = result->module_->backendModule().createSession(*result, &result->backend_); status.failed())
    return status;
  if ((result->device_ = result->backend_->device())) {
    result->arena_ = RunBuffer(result->device_);
    for (Input &input : result->inputs_)
      input.copy = RunBuffer(result->device_);
    for (Output &output : result->outputs_)
      output.copy = RunBuffer(result->device_);
  }
  *session = std::move(result);
  return success();
}

Session::~Session() = default;

Status Session::setInput(size_t index, lathe_dtype dtype, size_t rank, const int64_t *dims, const void *data) {
  const Program &program = *program_;
  if (index >= program.inputs.size())
    return badArgument("input ", index, " does not exist: the model has ", program.inputs.size());
  const Tensor &tensor = program.inputs[index];
  const DataType *type = dataType(dtype);
  if (type != tensor.type)
    return badArgument("input '", tensor.name, "' must have type ", tensor.type->name, ", got ",
                       type ? type->name : "an unknown type");
  if (rank != tensor.dims.size())
    return badArgument("input '", tensor.name, "' must have ", tensor.dims.size(), " dimensions ",
                       describe(tensor.dims), ", got ", rank);
  if (rank > 0 && !dims)
    return badArgument("input '", tensor.name, "': dimensions must not be NULL");
  std::vector<int64_t> shape(dims, dims + rank);
  for (size_t d = 0; d < rank; ++d) {
    const Dimension &expected = tensor.dims[d];
    if (shape[d] < 0 || (expected.value >= 0 && shape[d] != expected.value))
      return badArgument("input '", tensor.name, "' has shape ", describe(shape), " but dimension ", d, " must be ",
                         expected.value >= 0 ? expected.text : "0 or more");
    if (shape[d] > options_.maxDimension)
      return badArgument("input '", tensor.name, "' has shape ", describe(shape), " but dimension ", d,
                         " is above the limit of ", options_.maxDimension);
  }
  int64_t bytes = 0;
  if (!tensorBytes(*type, dims, rank, &bytes))
    return badArgument("input '", tensor.name, "' with shape ", describe(shape), " is too large");
  if (reinterpret_cast<uintptr_t>(data) % type->size != 0)
    return badArgument("the data of input '", tensor.name, "' must be aligned to ", type->size, " bytes");
  Input &input = inputs_[index];
  bound_ = bound_ && input.bound && input.dims == shape;
  hasResult_ = hasResult_ && bound_;
  input.bound = true;
  input.data = data;
  input.dims = std::move(shape);
  return success();
}

Status Session::setOutput(size_t index, void *data, size_t capacity) {
  const Program &program = *program_;
  if (index >= program.outputs.size())
    return badArgument("output ", index, " does not exist: the model has ", program.outputs.size());
  const Tensor &tensor = program.outputs[index];
  if (reinterpret_cast<uintptr_t>(data) % tensor.type->size != 0)
    return badArgument("the buffer of output '", tensor.name, "' must be aligned to ", tensor.type->size, " bytes");
  outputs_[index].callerData = data;
  outputs_[index].callerCapacity = data ? capacity : 0;
  hasResult_ = false;
  return success();
}

Status Session::bindSymbols() {
  const Program &program = *program_;
  for (size_t i = 0; i < inputs_.size(); ++i)
    if (!inputs_[i].bound)
      return badArgument("input '", program.inputs[i].name, "' is missing: set every input before a run");
  for (size_t s = 0; s < symbols_.size(); ++s) {
    const Symbol &symbol = program.symbols[s];
    if (symbol.computed)
      continue;
    if (symbol.element >= 0) {
      const Tensor &tensor = program.inputs[symbol.input];
      const void *data = inputs_[symbol.input].data;
      if (!data)
        return badArgument("input '", tensor.name, "' has no data, which the shapes depend on");
      auto at = static_cast<size_t>(symbol.element);
      symbols_[s] = tensor.type->dtype == LATHE_I64   ? static_cast<const int64_t *>(data)[at]
                    : tensor.type->dtype == LATHE_I32 ? static_cast<const int32_t *>(data)[at]
                                                      : static_cast<const uint8_t *>(data)[at] != 0;
      continue;
    }
    int64_t value = inputs_[symbol.input].dims[symbol.dimension];
    if (value < symbol.min || value > symbol.max)
      return badArgument(
          "input '", program.inputs[symbol.input].name, "' has shape ", describe(inputs_[symbol.input].dims),
          " but dimension ", symbol.dimension, " ('", symbol.name, "') must be ",
          symbol.max == INT64_MAX ? join("at least ", symbol.min) : join("from ", symbol.min, " to ", symbol.max));
    symbols_[s] = value;
  }
  // A symbol's first occurrence gave its value; the others must repeat it. The model's own expressions come later.
  for (size_t i = 0; i < inputs_.size(); ++i)
    for (size_t d = 0; d < inputs_[i].dims.size(); ++d) {
      int index = program.inputs[i].dims[d].symbol;
      if (index < 0 || inputs_[i].dims[d] == symbols_[static_cast<size_t>(index)])
        continue;
      const Symbol &symbol = program.symbols[static_cast<size_t>(index)];
      return badArgument("input '", program.inputs[i].name, "' has shape ", describe(inputs_[i].dims),
                         " but dimension ", d, " ('", symbol.name, "') must be ", symbols_[static_cast<size_t>(index)],
                         ", as in input '", program.inputs[symbol.input].name, "'");
    }
  return success();
}

Status Session::checkFailed(int64_t check) const {
  const std::vector<Check> &checks = program_->checks;
  if (check < 0 || static_cast<size_t>(check) >= checks.size())
    return failure(LATHE_INTERNAL, "check ", check, " of the model failed, which the manifest does not describe");
  const Check &entry = checks[static_cast<size_t>(check)];
  return failure(LATHE_EXECUTION_ERROR, "node '", entry.node, "': ", entry.message);
}

Status Session::callPlan() {
  arenaBytes_ = 0;
  int64_t result = module_->artifact().plan(programIndex_)(symbols_.data(), planned_.data(), &arenaBytes_);
  if (result != 0) {
    // The code refused the symbols, that is, the caller's shapes.
    Status status = checkFailed(result - 1);
    if (status.code() == LATHE_EXECUTION_ERROR)
      return failure(LATHE_INVALID_ARGUMENT, status.message());
    return status;
  }
  if (arenaBytes_ < 0)
    return failure(LATHE_INTERNAL, "the artifact's code asked for ", arenaBytes_, " bytes of memory");
  return success();
}

Status Session::tooLarge(size_t output) const {
  return badArgument("output '", program_->outputs[output].name, "' would have shape ", describe(outputs_[output].dims),
                     ", which is not possible or too large; use smaller inputs");
}

Status Session::checkPlan() {
  const Program &program = *program_;
  const int64_t *planned = planned_.data();
  for (size_t i = 0; i < inputs_.size(); ++i)
    for (size_t d = 0; d < inputs_[i].dims.size(); ++d, ++planned)
      if (inputs_[i].dims[d] != *planned)
        return badArgument("input '", program.inputs[i].name, "' has shape ", describe(inputs_[i].dims),
                           " but dimension ", d, " ('", program.inputs[i].dims[d].text, "') must be ", *planned,
                           " for the other inputs");
  for (size_t i = 0; i < outputs_.size(); ++i) {
    Output &output = outputs_[i];
    size_t rank = program.outputs[i].dims.size();
    output.dims.assign(planned, planned + rank);
    output.planned = output.dims;
    planned += rank;
    output.size = 0;
    output.deferred = std::any_of(output.dims.begin(), output.dims.end(), [](int64_t dim) { return dim < 0; });
    if (output.deferred)
      continue;
    if (!tensorBytes(*program.outputs[i].type, output.dims.data(), rank, &output.size))
      return tooLarge(i);
  }
  return success();
}

Status Session::bind() {
  // The caller may have written to an input that the shapes depend on.
  const Program &program = *program_;
  if (bound_ && !program.dependsOnElements)
    return success();
  hasResult_ = false;
  Status status = bindSymbols();
  if (!status.failed())
    status = callPlan();
  if (!status.failed())
    status = checkPlan();
  bound_ = !status.failed();
  return status;
}

bool Session::charge(int64_t bytes) {
  if (bytes > 0 && options_.memoryBudget != 0 &&
      (memory_ > options_.memoryBudget || static_cast<uint64_t>(bytes) > options_.memoryBudget - memory_))
    return false;
  memory_ += static_cast<uint64_t>(bytes);
  return true;
}

namespace {
Status grow(Buffer &buffer, size_t size) { return buffer.reserve(size) ? success() : Status(LATHE_OUT_OF_MEMORY, ""); }
Status grow(RunBuffer &buffer, size_t size) { return buffer.reserve(size); }
} // namespace

template <typename Memory> Status Session::reserve(Memory &buffer, int64_t size, const char *what) {
  auto wanted = static_cast<size_t>(size);
  if (buffer.data() && wanted <= buffer.capacity())
    return success();
  auto held = static_cast<int64_t>(buffer.capacity());
  if (!charge(size - held))
    return failure(LATHE_OVER_BUDGET, what, " needs ", size, " bytes; the session holds ", memory_,
                   " and its memory budget is ", options_.memoryBudget);
  Status status = grow(buffer, wanted);
  charge(static_cast<int64_t>(buffer.capacity()) - size);
  if (status.failed())
    return failure(status.code(), "cannot allocate ", size, " bytes for ", what, status.message().empty() ? "" : ": ",
                   status.message());
  return success();
}

template Status Session::reserve(RunBuffer &buffer, int64_t size, const char *what); // for what generated code asks for

Status Session::prepareOutput(size_t index) {
  Output &output = outputs_[index];
  const std::string &name = program_->outputs[index].name;
  if (device_)
    if (Status status = reserve(output.copy, output.size, join("output '", name, "'").c_str()); status.failed())
      return status;
  if (output.callerData) {
    if (static_cast<uint64_t>(output.size) > output.callerCapacity)
      return badArgument("output '", name, "' with shape ", describe(output.dims), " needs ", output.size,
                         " bytes but the given buffer has ", output.callerCapacity);
    output.data = output.callerData;
    return success();
  }
  if (Status status = reserve(output.buffer, output.size, join("output '", name, "'").c_str()); status.failed())
    return status;
  output.data = output.buffer.data();
  return success();
}

Status Session::prepareBuffers() {
  if (Status status = reserve(arena_, arenaBytes_, "the arena"); status.failed())
    return status;
  const Program &program = *program_;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    outputs_[i].data = nullptr;
    if (outputs_[i].deferred)
      continue;
    if (Status status = prepareOutput(i); status.failed())
      return status;
  }
  for (size_t i = 0; i < inputs_.size(); ++i) {
    bool empty = false;
    for (int64_t dim : inputs_[i].dims)
      empty |= dim == 0;
    if (!inputs_[i].data && !empty)
      return badArgument("input '", program.inputs[i].name, "' has no data");
    int64_t bytes = 0;
    if (!device_ || !tensorBytes(*program.inputs[i].type, inputs_[i].dims.data(), inputs_[i].dims.size(), &bytes))
      continue;
    if (Status status = reserve(inputs_[i].copy, bytes, join("input '", program.inputs[i].name, "'").c_str()); status.failed())
      return status;
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Execution
//===----------------------------------------------------------------------===//

uint64_t Session::outputMemory() const {
  uint64_t bytes = 0;
  for (const Output &output : outputs_)
    bytes += output.buffer.capacity() + output.copy.capacity();
  return bytes;
}

Status Session::run() {
  if (Status status = bind(); status.failed())
    return status;
  hasResult_ = false;
  if (Status status = prepareBuffers(); status.failed())
    return status;
  if (Status status = device_ ? executeOnDevice(table()) : execute(table()); status.failed())
    return status;
  for (size_t i = 0; i < outputs_.size(); ++i)
    if (!outputs_[i].data)
      return failure(LATHE_INTERNAL, "the artifact's code did not compute output ", i);
  hasResult_ = true;
  return success();
}

Status Session::prepare() {
  if (Status status = bind(); status.failed())
    return status;
  hasResult_ = false;
  if (Status status = prepareBuffers(); status.failed())
    return status;
  // Shapes that the run computes would follow from what no kernel has written.
  const std::vector<Symbol> &symbols = program_->symbols;
  if (std::any_of(symbols.begin(), symbols.end(), [](const Symbol &symbol) { return symbol.computed; }))
    return success();
  // The host program walks through its calls, of which none computes.
  lathe_runtime_table table = kTable;
  table.parallel_for = [](lathe_frame *, int64_t, lathe_task_fn, const void *, int64_t, int64_t) {};
  table.fail = [](lathe_frame *, int64_t) {};
  table.matmul = prepareMatmulEntry;
  table.attention = prepareAttentionEntry;
  table.cache = [](lathe_frame *, const lathe_cache_call *) {};
  table.dequantize_rows = [](lathe_frame *, const lathe_rows_call *) {};
  table.launch = [](lathe_frame *, const lathe_launch_call *) {};
  // What follows a value that no kernel has computed is left to the run.
  table.read = [](lathe_frame *, const void *, int64_t) -> const void * { return nullptr; };
  return execute(table);
}

Status Session::execute(const lathe_runtime_table &table) {
  // Empty inputs have an address too: generated code may form pointers from it.
  static const uint64_t kNothing[8] = {};
  std::vector<const void *> inputs;
  for (const Input &input : inputs_)
    inputs.push_back(device_ ? input.copy.data() : input.data ? input.data : kNothing);
  std::vector<void *> outputs;
  for (const Output &output : outputs_)
    outputs.push_back(device_ ? output.copy.data() : output.data);

  failure_ = success();
  Frame frame;
  frame.rt = &table;
  frame.symbols = symbols_.data();
  frame.inputs = inputs.data();
  frame.outputs = outputs.data();
  frame.constants = module_->constants();
  frame.arena = arena_.data();
  frame.session = this;
  backend_->beginRun();
  module_->artifact().run(programIndex_)(&frame);
  backend_->endRun();
  return failure_;
}
