//===- CudaKernels.cpp - Code for devices in an artifact ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/CudaKernels.h"
#include "backends/cuda/compiler/Passes.h"
#include "mlir/Pass/PassManager.h"
#include <atomic>
#include <thread>

using namespace mlir;
using nlohmann::ordered_json;

namespace lathe {

static constexpr const char *kDevice = "cuda";

bool CudaKernels::take(Program &program, ordered_json &description) {
  PassManager passes(program.module->getContext());
  passes.addPass(cuda::createCudaThreadLoopsPass());
  if (failed(passes.run(*program.module)))
    return false;
  llvm::StringMap<std::string> functions = device.take(*program.module, program.name);
  program.module->walk([&](kernel::DeviceLaunchOp launch) {
    int64_t &bytes = shared[launch.getFunction().str()];
    bytes = std::max<int64_t>(bytes, launch.getShared());
  });
  for (ordered_json &kernel : description["kernels"])
    if (auto it = functions.find(kernel["name"].get<std::string>()); it != functions.end())
      kernel["function"] = it->second;
  return true;
}

bool CudaKernels::linkCubins(const CompileOptions &options, std::string &error) {
  std::vector<std::string> archs = options.cudaArchs;
  if (archs.empty())
    for (StringRef arch : cuda::architectures())
      if (arch != "sm_89") // which runs the code of sm_80
        archs.push_back(arch.str());
  struct Result {
    std::optional<cuda::Cubin> cubin;
    bool isMissing = false;
    std::string error;
  };
  std::vector<Result> results(archs.size());
  std::atomic<size_t> next{0};
  auto work = [&] {
    for (size_t i = next++; i < archs.size(); i = next++)
      results[i].cubin = cuda::linkCubin(ptx, archs[i], results[i].isMissing, results[i].error);
  };
  std::vector<std::thread> threads;
  while (threads.size() + 1 < std::min<size_t>(options.jobs, archs.size()))
    threads.emplace_back(work);
  work();
  for (std::thread &thread : threads)
    thread.join();
  std::string missing;
  for (Result &result : results) {
    if (result.cubin) {
      cubins.push_back(std::move(*result.cubin));
    } else if (!result.isMissing) {
      error = result.error;
      return false;
    } else if (missing.find(result.error) == std::string::npos) {
      missing += (missing.empty() ? "" : "; ") + result.error;
    }
  }
  if (!missing.empty() && options.note)
    options.note((cubins.empty() ? "the artifact has no cubins, only PTX, which the driver compiles: "
                                 : "cubins of some architectures are left out: ") +
                 missing);
  return true;
}

bool CudaKernels::compile(const CompileOptions &options, bool all, std::string &error) {
  if (device.isEmpty())
    return true;
  PassManager passes(device.module().getContext());
  device.addLoweringPasses(passes);
  if (failed(passes.run(device.module())))
    return false;
  ptx = cuda::emitPtx(device.module(), options.level, error);
  if (ptx.empty())
    return false;
  if (!all)
    return true;
  emulation = cuda::emitEmulation(device.module(), cpu::instructionSets().front(), options.level, error);
  return emulation && linkCubins(options, error);
}

void CudaKernels::describe(ordered_json &manifest, std::vector<artifact::SectionSource> &sections) const {
  manifest["device_code"] = ordered_json::array();
  if (ptx.empty())
    return;
  auto add = [&](ordered_json entry, const std::string &section, const char *data, size_t size,
                 artifact::SectionKind kind) {
    entry["section"] = section;
    manifest["device_code"].push_back(std::move(entry));
    sections.push_back({section, data, size, kind});
  };
  // With the zero behind it, which drivers want.
  add({{"device", kDevice}, {"kind", "ptx"}, {"arch", cuda::architectures().front().str()}}, "cuda.ptx", ptx.c_str(),
      ptx.size() + 1, artifact::SectionKind::device);
  for (const cuda::Cubin &cubin : cubins)
    add({{"device", kDevice}, {"kind", "cubin"}, {"arch", cubin.arch}}, "cuda." + cubin.arch, cubin.bytes.data(),
        cubin.bytes.size(), artifact::SectionKind::device);
  ordered_json offsets = ordered_json::object();
  for (const auto &[function, offset] : emulation->entries)
    offsets[function] = offset;
  add({{"device", kDevice},
       {"kind", "emulation"},
       {"isa", cpu::instructionSets().front().name},
       {"kernels", std::move(offsets)}},
      "cuda.emulation", emulation->bytes.data(), emulation->bytes.size(), artifact::SectionKind::code);
}

void CudaKernels::describeProducts(ordered_json &kernels, const ordered_json &constants) {
  for (ordered_json &kernel : kernels) {
    if (kernel["kind"] != "matmul")
      continue;
    std::string operands = "f32";
    if (kernel.contains("weight")) {
      const ordered_json &weight = constants[kernel["weight"].get<size_t>()];
      if (weight.contains("quantized")) {
        // Of a scale for each column; others are expanded to what products may round to.
        operands = kernel.value("arithmetic", operands);
        const ordered_json &layout = weight["quantized"];
        std::string values = layout.value("values", "integer");
        bool isInteger = values == "integer" && layout.value("bits", 8) == 8;
        bool isColumn = layout.value("group", int64_t(0)) >= weight["shape"][0].get<int64_t>();
        if (isInteger && isColumn && kernel.contains("rounds"))
          operands = "int8";
        if (values == "e4m3" && isColumn && kernel.contains("rounds"))
          operands = "fp8";
      } else {
        std::string stored = weight.contains("sparse") ? weight["sparse"]["values"] : weight["type"];
        if (stored == "f16" || stored == "bf16")
          operands = stored;
      }
    }
    // Where it is found and faster.
    kernel["library"] = (kernel.contains("zeros") ? "cusparselt-" : "cublaslt-") + operands;
  }
}

void CudaKernels::describeResources(ordered_json &kernels) const {
  for (ordered_json &kernel : kernels) {
    if (!kernel.contains("function"))
      continue;
    std::string function = kernel["function"];
    auto it = shared.find(function);
    int64_t registers = 0, dynamic = it == shared.end() ? 0 : it->second, most = dynamic, spills = 0;
    for (const cuda::Cubin &cubin : cubins)
      for (const cuda::KernelResources &of : cubin.kernels)
        if (of.function == function) {
          registers = std::max(registers, of.registers);
          most = std::max(most, dynamic + of.sharedBytes);
          spills = std::max(spills, of.spillBytes);
          kernel["resources"][cubin.arch] = {{"registers", of.registers},
                                             {"shared_bytes", dynamic + of.sharedBytes},
                                             {"stack_bytes", of.stackBytes},
                                             {"spills", of.spillBytes}};
        }
    kernel["shared_bytes"] = most;
    if (!cubins.empty()) {
      kernel["registers"] = registers;
      kernel["spills"] = spills;
    }
  }
}

} // namespace lathe
