//===- CApi.cpp - C interface of the runtime --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/ApiSupport.h"
#include "runtime/Session.h"

#include <cstddef>
#include <cstdlib>
#include <cstring>

using namespace lathe::runtime;

struct lathe_session {
  std::unique_ptr<Session> session;
};

namespace {

std::string &lastError() {
  thread_local std::string message;
  return message;
}

} // namespace

lathe_status lathe::runtime::report(const Status &status) {
  if (status.failed())
    lastError() = status.message();
  return status.code();
}

namespace {

lathe_status findTensor(const std::vector<Tensor> &tensors, const char *what, const char *name, size_t *index) {
  std::string names;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].name == name) {
      *index = i;
      return LATHE_OK;
    }
    names += (i ? ", '" : "'") + tensors[i].name + "'";
  }
  return report(
      failure(LATHE_NOT_FOUND, "the model has no ", what, " '", name, "'; it has: ", names.empty() ? "none" : names));
}

lathe_status findProgram(const lathe_module *module, size_t index, const Program **program) {
  if (!module)
    return nullArgument("module");
  const std::vector<Program> &programs = module->module->manifest().programs;
  if (index >= programs.size())
    return badArgument("program ", index, " does not exist: the artifact has ", programs.size());
  *program = &programs[index];
  return LATHE_OK;
}

lathe_status describeTensorOf(const lathe_module *module, size_t program, std::vector<Tensor> Program::*tensors,
                              const char *what, size_t index, lathe_tensor_info *info) {
  if (!info)
    return nullArgument("info");
  *info = {};
  const Program *found = nullptr;
  lathe_status status = findProgram(module, program, &found);
  return status == LATHE_OK ? describeTensor(found->*tensors, what, index, info) : status;
}

lathe_status findTensorOf(const lathe_module *module, size_t program, std::vector<Tensor> Program::*tensors,
                          const char *what, const char *name, size_t *index) {
  if (!index)
    return nullArgument("index");
  *index = 0;
  if (!module || !name)
    return nullArgument(module ? "name" : "module");
  const Program *found = nullptr;
  lathe_status status = findProgram(module, program, &found);
  return status == LATHE_OK ? findTensor(found->*tensors, what, name, index) : status;
}

} // namespace

//===----------------------------------------------------------------------===//
// Library
//===----------------------------------------------------------------------===//

const char *lathe_version(void) { return LATHE_VERSION_TEXT; }

const char *lathe_status_string(lathe_status status) {
  switch (status) {
  case LATHE_OK:
    return "ok";
  case LATHE_INVALID_ARGUMENT:
    return "invalid argument";
  case LATHE_NOT_FOUND:
    return "not found";
  case LATHE_INVALID_ARTIFACT:
    return "invalid artifact";
  case LATHE_UNSUPPORTED_VERSION:
    return "unsupported version";
  case LATHE_UNSUPPORTED_DEVICE:
    return "unsupported device";
  case LATHE_OUT_OF_MEMORY:
    return "out of memory";
  case LATHE_OVER_BUDGET:
    return "over budget";
  case LATHE_IO_ERROR:
    return "input/output error";
  case LATHE_EXECUTION_ERROR:
    return "execution error";
  case LATHE_INTERNAL:
    return "internal error";
  case LATHE_DEVICE_LOST:
    return "device lost";
  }
  return "unknown status";
}

const char *lathe_last_error(void) { return lastError().c_str(); }

const char *lathe_dtype_name(lathe_dtype dtype) {
  const DataType *type = dataType(dtype);
  return type ? type->name : nullptr;
}

size_t lathe_dtype_size(lathe_dtype dtype) {
  const DataType *type = dataType(dtype);
  return type ? type->size : 0;
}

//===----------------------------------------------------------------------===//
// Modules
//===----------------------------------------------------------------------===//

void lathe_load_options_init(lathe_load_options *options) {
  if (!options)
    return;
  *options = {};
  options->struct_size = sizeof(*options);
}

lathe_status lathe_module_load(const char *path, const lathe_load_options *options, lathe_module **module) {
  if (!module)
    return nullArgument("module");
  *module = nullptr;
  if (!path)
    return nullArgument("path");
  lathe_load_options given;
  lathe_load_options_init(&given);
  if (!readOptions(options, &given))
    return badOptions("lathe_load_options_init");
  Artifact::Options load;
  load.verify = given.verify != 0;
  load.device = given.device ? given.device : "";
  load.memoryBudget = given.memory_budget;
  load.allowsTf32 = given.tf32 != 0;
  const char *isa = given.isa ? given.isa : getenv("LATHE_ISA");
  load.isa = isa ? isa : "";
  auto result = std::make_unique<lathe_module>();
  if (Status status = Module::load(path, load, &result->module); status.failed())
    return report(status);
  *module = result.release();
  return LATHE_OK;
}

void lathe_module_release(lathe_module *module) { delete module; }

void lathe_module_info_init(lathe_module_info *info) {
  if (!info)
    return;
  *info = {};
  info->struct_size = sizeof(*info);
}

lathe_status lathe_module_get_info(const lathe_module *module, lathe_module_info *info) {
  if (!info)
    return nullArgument("info");
  size_t size = info->struct_size;
  if (size < sizeof(size_t) || size > 4096)
    return badOptions("lathe_module_info_init");
  memset(info, 0, size);
  info->struct_size = size;
  if (!module)
    return nullArgument("module");
  const Artifact &artifact = module->module->artifact();
  const Manifest &manifest = artifact.manifest();
  lathe_module_info full = {};
  full.struct_size = size;
  full.input_count = manifest.main().inputs.size();
  full.output_count = manifest.main().outputs.size();
  full.symbol_count = manifest.main().dimensionSymbols;
  full.device_count = manifest.devices.size();
  full.kernel_count = manifest.main().kernels.size();
  full.device = artifact.device().c_str();
  full.isa = artifact.isa().c_str();
  full.manifest = artifact.manifestText().c_str();
  full.manifest_size = artifact.manifestText().size();
  full.file_bytes = artifact.fileSize();
  full.constants_bytes = artifact.constantsSize();
  full.private_bytes = module->module->privateBytes();
  memcpy(info, &full, size < sizeof(full) ? size : sizeof(full));
  return LATHE_OK;
}

void lathe_program_info_init(lathe_program_info *info) {
  if (!info)
    return;
  *info = {};
  info->struct_size = sizeof(*info);
}

lathe_status lathe_module_program_count(const lathe_module *module, size_t *count) {
  if (!count)
    return nullArgument("count");
  *count = 0;
  if (!module)
    return nullArgument("module");
  *count = module->module->manifest().programs.size();
  return LATHE_OK;
}

lathe_status lathe_module_program_info(const lathe_module *module, size_t index, lathe_program_info *info) {
  if (!info)
    return nullArgument("info");
  size_t size = info->struct_size;
  if (size < sizeof(size_t) || size > 4096)
    return badOptions("lathe_program_info_init");
  memset(info, 0, size);
  info->struct_size = size;
  if (!module)
    return nullArgument("module");
  const Program *program = nullptr;
  if (lathe_status status = findProgram(module, index, &program); status != LATHE_OK)
    return status;
  lathe_program_info full = {size,
                             program->name.c_str(),
                             program->inputs.size(),
                             program->outputs.size(),
                             program->dimensionSymbols,
                             program->kernels.size()};
  memcpy(info, &full, size < sizeof(full) ? size : sizeof(full));
  return LATHE_OK;
}

lathe_status lathe_module_find_program(const lathe_module *module, const char *name, size_t *index) {
  if (!index)
    return nullArgument("index");
  *index = 0;
  if (!module || !name)
    return nullArgument(module ? "name" : "module");
  return report(module->module->manifest().findProgram(name, index));
}

lathe_status lathe_module_document_count(const lathe_module *module, size_t *count) {
  if (!count)
    return nullArgument("count");
  *count = 0;
  if (!module)
    return nullArgument("module");
  *count = module->module->manifest().documents.size();
  return LATHE_OK;
}

lathe_status lathe_module_document(const lathe_module *module, size_t index, lathe_document *document) {
  if (!document)
    return nullArgument("document");
  *document = {};
  if (!module)
    return nullArgument("module");
  const std::vector<Document> &documents = module->module->manifest().documents;
  if (index >= documents.size())
    return badArgument("document ", index, " does not exist: the artifact has ", documents.size());
  std::string_view bytes;
  if (Status status = module->module->artifact().document(index, &bytes); status.failed())
    return report(status);
  *document = {documents[index].name.c_str(), documents[index].format.c_str(), bytes.data(), bytes.size()};
  return LATHE_OK;
}

lathe_status lathe_module_find_document(const lathe_module *module, const char *name, size_t *index) {
  if (!index)
    return nullArgument("index");
  *index = 0;
  if (!module || !name)
    return nullArgument(module ? "name" : "module");
  return report(module->module->manifest().findDocument(name, index));
}

lathe_status lathe_module_program_input(const lathe_module *module, size_t program, size_t index,
                                        lathe_tensor_info *info) {
  return describeTensorOf(module, program, &Program::inputs, "input", index, info);
}

lathe_status lathe_module_program_output(const lathe_module *module, size_t program, size_t index,
                                         lathe_tensor_info *info) {
  return describeTensorOf(module, program, &Program::outputs, "output", index, info);
}

lathe_status lathe_module_program_find_input(const lathe_module *module, size_t program, const char *name,
                                             size_t *index) {
  return findTensorOf(module, program, &Program::inputs, "input", name, index);
}

lathe_status lathe_module_program_find_output(const lathe_module *module, size_t program, const char *name,
                                              size_t *index) {
  return findTensorOf(module, program, &Program::outputs, "output", name, index);
}

lathe_status lathe_module_program_symbol(const lathe_module *module, size_t program, size_t index,
                                         lathe_symbol_info *info) {
  if (!info)
    return nullArgument("info");
  *info = {};
  const Program *found = nullptr;
  if (lathe_status status = findProgram(module, program, &found); status != LATHE_OK)
    return status;
  if (index >= found->dimensionSymbols)
    return badArgument("symbol ", index, " does not exist: the model has ", found->dimensionSymbols);
  const Symbol &symbol = found->symbols[index];
  *info = {symbol.name.c_str(), symbol.min, symbol.max};
  return LATHE_OK;
}

lathe_status lathe_module_input(const lathe_module *module, size_t index, lathe_tensor_info *info) {
  return lathe_module_program_input(module, 0, index, info);
}

lathe_status lathe_module_output(const lathe_module *module, size_t index, lathe_tensor_info *info) {
  return lathe_module_program_output(module, 0, index, info);
}

lathe_status lathe_module_find_input(const lathe_module *module, const char *name, size_t *index) {
  return lathe_module_program_find_input(module, 0, name, index);
}

lathe_status lathe_module_find_output(const lathe_module *module, const char *name, size_t *index) {
  return lathe_module_program_find_output(module, 0, name, index);
}

lathe_status lathe_module_symbol(const lathe_module *module, size_t index, lathe_symbol_info *info) {
  return lathe_module_program_symbol(module, 0, index, info);
}

lathe_status lathe_module_device(const lathe_module *module, size_t index, const char **name) {
  if (!name)
    return nullArgument("name");
  *name = nullptr;
  if (!module)
    return nullArgument("module");
  const std::vector<std::string> &devices = module->module->manifest().devices;
  if (index >= devices.size())
    return badArgument("device ", index, " does not exist: the artifact is for ", devices.size());
  *name = devices[index].c_str();
  return LATHE_OK;
}

//===----------------------------------------------------------------------===//
// Sessions
//===----------------------------------------------------------------------===//

void lathe_session_options_init(lathe_session_options *options) {
  if (!options)
    return;
  *options = {};
  options->struct_size = sizeof(*options);
}

lathe_status lathe_session_create(lathe_module *module, const lathe_session_options *options, lathe_session **session) {
  if (!session)
    return nullArgument("session");
  *session = nullptr;
  if (!module)
    return nullArgument("module");
  lathe_session_options given;
  lathe_session_options_init(&given);
  if (!readOptions(options, &given))
    return badOptions("lathe_session_options_init");
  Session::Options create;
  create.threads = given.threads;
  create.profile = given.profile != 0;
  create.memoryBudget = given.memory_budget;
  create.maxDimension = given.max_dimension;
  create.program = given.program ? given.program : "";
  auto result = std::make_unique<lathe_session>();
  if (Status status = Session::create(module->module, create, &result->session); status.failed())
    return report(status);
  *session = result.release();
  return LATHE_OK;
}

void lathe_session_release(lathe_session *session) { delete session; }

lathe_status lathe_session_set_input(lathe_session *session, size_t index, lathe_dtype dtype, size_t rank,
                                     const int64_t *dims, const void *data) {
  if (!session)
    return nullArgument("session");
  return report(session->session->setInput(index, dtype, rank, dims, data));
}

lathe_status lathe_session_set_output(lathe_session *session, size_t index, void *data, size_t capacity) {
  if (!session)
    return nullArgument("session");
  return report(session->session->setOutput(index, data, capacity));
}

lathe_status lathe_session_output_shape(lathe_session *session, size_t index, size_t *rank, const int64_t **dims) {
  if (rank)
    *rank = 0;
  if (dims)
    *dims = nullptr;
  if (!session || !rank || !dims)
    return nullArgument(!session ? "session" : !rank ? "rank" : "dims");
  size_t count = session->session->program().outputs.size();
  if (index >= count)
    return badArgument("output ", index, " does not exist: the model has ", count);
  if (Status status = session->session->bind(); status.failed())
    return report(status);
  const Session::Output &output = session->session->output(index);
  const std::vector<int64_t> &shape = session->session->hasResult() ? output.dims : output.planned;
  *rank = shape.size();
  *dims = shape.data();
  return LATHE_OK;
}

lathe_status lathe_session_run(lathe_session *session) {
  if (!session)
    return nullArgument("session");
  return report(session->session->run());
}

lathe_status lathe_session_prepare(lathe_session *session) {
  if (!session)
    return nullArgument("session");
  return report(session->session->prepare());
}

lathe_status lathe_session_output(lathe_session *session, size_t index, lathe_output *output) {
  if (!output)
    return nullArgument("output");
  *output = {};
  if (!session)
    return nullArgument("session");
  const std::vector<Tensor> &tensors = session->session->program().outputs;
  if (index >= tensors.size())
    return badArgument("output ", index, " does not exist: the model has ", tensors.size());
  if (!session->session->hasResult())
    return badArgument("output '", tensors[index].name,
                       "' has no value: the session has not run, or its inputs have changed since");
  const Session::Output &value = session->session->output(index);
  *output = {value.data, tensors[index].type->dtype, value.dims.size(), value.dims.data(),
             static_cast<size_t>(value.size)};
  return LATHE_OK;
}

lathe_status lathe_session_memory(const lathe_session *session, uint64_t *bytes) {
  if (!bytes)
    return nullArgument("bytes");
  *bytes = 0;
  if (!session)
    return nullArgument("session");
  *bytes = session->session->memory();
  return LATHE_OK;
}

void lathe_memory_info_init(lathe_memory_info *info) {
  if (info)
    *info = {sizeof(lathe_memory_info), 0, 0, 0};
}

lathe_status lathe_session_get_memory_info(const lathe_session *session, lathe_memory_info *info) {
  if (!info)
    return nullArgument("info");
  if (info->struct_size != sizeof(lathe_memory_info))
    return badOptions("lathe_memory_info_init");
  lathe_memory_info_init(info);
  if (!session)
    return nullArgument("session");
  const Session &held = *session->session;
  info->arena_bytes = held.arenaMemory();
  info->output_bytes = held.outputMemory();
  info->scratch_bytes = held.memory() - info->arena_bytes - info->output_bytes;
  return LATHE_OK;
}

lathe_status lathe_session_program(const lathe_session *session, size_t *index) {
  if (!index)
    return nullArgument("index");
  *index = 0;
  if (!session)
    return nullArgument("session");
  *index = session->session->programIndex();
  return LATHE_OK;
}

lathe_status lathe_session_threads(const lathe_session *session, int32_t *threads) {
  if (!threads)
    return nullArgument("threads");
  *threads = 0;
  if (!session)
    return nullArgument("session");
  *threads = session->session->threads();
  return LATHE_OK;
}

lathe_status lathe_session_set_profiling(lathe_session *session, int32_t enabled) {
  if (!session)
    return nullArgument("session");
  session->session->setProfiling(enabled != 0);
  return LATHE_OK;
}

lathe_status lathe_session_profile(const lathe_session *session, size_t index, lathe_kernel_profile *profile) {
  if (!profile)
    return nullArgument("profile");
  *profile = {};
  if (!session)
    return nullArgument("session");
  const std::vector<Kernel> &kernels = session->session->program().kernels;
  if (index >= kernels.size())
    return badArgument("kernel ", index, " does not exist: the model has ", kernels.size());
  const Session::KernelTime &time = static_cast<const Session &>(*session->session).profile()[index];
  *profile = {kernels[index].name.c_str(), kernels[index].kind.c_str(), time.nanoseconds, time.calls};
  return LATHE_OK;
}

lathe_status lathe_session_set_trace(lathe_session *session, lathe_trace_fn trace, void *context) {
  if (!session)
    return nullArgument("session");
  session->session->setTrace(trace, context);
  return LATHE_OK;
}

lathe_status lathe_session_set_observer(lathe_session *session, lathe_observe_fn observe, void *context) {
  if (!session)
    return nullArgument("session");
  session->session->setObserver(observe, context);
  return LATHE_OK;
}

lathe_status lathe_session_reset_profile(lathe_session *session) {
  if (!session)
    return nullArgument("session");
  for (Session::KernelTime &time : session->session->profile())
    time = {};
  return LATHE_OK;
}
