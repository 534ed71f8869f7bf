//===- LowRankCommand.cpp - The subcommand lowrank ------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/CompileCommands.h"
#include "compiler/tools/lathe/CompileFlags.h"
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

using nlohmann::ordered_json;

namespace lathe::tool {
namespace {

struct LowRankFlags {
  Flags compile;
  std::string method, allocation;
  int64_t rank = 0, residualBits = 0, block = 0, cores = 0, seed = 0;
  double ratio = 0, energy = 0, alpha = 0;
  std::vector<std::string> tensors;
};

} // namespace

void addLowRankCommand(CLI::App &app, int &exitCode) {
  auto flags = std::make_shared<LowRankFlags>();
  CLI::App *command = app.add_subcommand("lowrank", "Store weights as products of thin factors, and multiply by these");
  command->add_option("-o,--output", flags->compile.output, "the .lathe or .onnx file")->required();
  addCompileOptions(*command, flags->compile);
  command->add_option(
      "--method", flags->method,
      "of two factors, what the error is measured by: svd (weights), asvd (magnitudes of inputs), svd-llm (outputs); or "
      "kronecker, tensor-train, circulant; of convolutions tucker, cp (svd; asvd and svd-llm need --calib)");
  command->add_option("--rank", flags->rank, "of the factors of each weight");
  command->add_option("--ratio", flags->ratio, "share of the bytes that is removed, such as 0.2");
  command->add_option("--energy", flags->energy, "share of the squares of singular values that is kept, such as 0.99");
  command->add_option("--allocation", flags->allocation,
                      "of a ratio: uniform (of each weight), auto (of all weights together) (uniform)");
  command->add_option("--alpha", flags->alpha, "of asvd: the power of mean magnitudes (0.5)");
  command->add_option("--block", flags->block, "of circulant: extent of blocks; of kronecker: of the second factors");
  command->add_option("--cores", flags->cores, "of tensor-train: how many (3)");
  command->add_option("--seed", flags->seed, "of cp: of the numbers that it begins with (1)");
  command
      ->add_option("--tensors", flags->tensors,
                   "weights to factorize: names of initializers or nodes, with * and ? (all)")
      ->take_all();
  command->add_option("--residual-bits", flags->residualBits,
                      "keep what factors leave, too, in so many bits in groups of 32: 2, 3, 4 or 8; by GPTQ with "
                      "--calib, else by rounding");
  addCacheOption(*command, flags->compile);
  addCalibrationOptions(*command, flags->compile);
  command->callback([=, &exitCode] {
    ordered_json step = {{"step", "lowrank"}};
    auto add = [&](const char *field, const auto &value) {
      if (command->count("--" + std::string(field)))
        step[field] = value;
    };
    add("method", flags->method);
    add("rank", flags->rank);
    add("ratio", flags->ratio);
    add("energy", flags->energy);
    add("allocation", flags->allocation);
    add("alpha", flags->alpha);
    add("block", flags->block);
    add("cores", flags->cores);
    add("seed", flags->seed);
    add("tensors", flags->tensors);
    add("exclude", flags->compile.exclude);
    ordered_json steps = ordered_json::array({step});
    if (flags->residualBits) {
      steps[0]["residual"] = true;
      // By the names that factors leave it under.
      steps.push_back({{"step", "quantize"},
                       {"bits", flags->residualBits},
                       {"group_size", 32},
                       {"method", flags->compile.calibration.empty() ? "rtn" : "gptq"},
                       {"tensors", {"*.r"}}});
    }
    flags->compile.recipe = ordered_json{{"version", 1}, {"steps", std::move(steps)}}.dump();
    const std::string &output = flags->compile.output, ending = ".onnx";
    if (flags->compile.emit == "artifact" && output.size() > ending.size() &&
        output.compare(output.size() - ending.size(), ending.size(), ending) == 0)
      flags->compile.emit = "onnx";
    exitCode = compile(flags->compile);
  });
}

} // namespace lathe::tool
