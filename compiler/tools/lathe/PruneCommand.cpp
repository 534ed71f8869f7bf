//===- PruneCommand.cpp - lathe prune -------------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/CompileCommands.h"
#include "compiler/tools/lathe/CompressionText.h"
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

using nlohmann::ordered_json;

namespace lathe::tool {
namespace {

struct PruneFlags {
  Flags compile;
  std::string method, pattern, scope, norm, groupedQueries;
  double sparsity = 0, threshold = 0, weightClip = 0, damping = 0;
  int64_t blockSize = 0, refinements = 0, multiple = 0;
  bool actOrder = false, refit = false;
  std::vector<std::string> tensors;
};

/// The recipe of the flags; what is not said is the recipe's default.
std::string recipeOf(const CLI::App &command, const PruneFlags &flags) {
  ordered_json step = {{"step", "prune"}};
  auto add = [&](const char *flag, const char *field, const auto &value) {
    if (command.count(flag) > 0)
      step[field] = value;
  };
  add("--method", "method", flags.method);
  add("--pattern", "pattern", flags.pattern);
  add("--sparsity", "sparsity", flags.sparsity);
  add("--threshold", "threshold", flags.threshold);
  add("--scope", "scope", flags.scope);
  add("--norm", "norm", flags.norm);
  add("--weight-clip", "weight_clip", flags.weightClip);
  add("--damping", "damping", flags.damping);
  add("--act-order", "act_order", flags.actOrder);
  add("--block-size", "block_size", flags.blockSize);
  add("--refinements", "refinements", flags.refinements);
  add("--multiple", "multiple", flags.multiple);
  add("--grouped-queries", "grouped_queries", flags.groupedQueries);
  add("--refit", "refit", flags.refit);
  add("--tensors", "tensors", flags.tensors);
  add("--exclude", "exclude", flags.compile.exclude);
  return ordered_json{{"version", 1}, {"steps", {std::move(step)}}}.dump();
}

} // namespace

void addPruneCommand(CLI::App &app, int &exitCode) {
  auto flags = std::make_shared<PruneFlags>();
  CLI::App *command = app.add_subcommand(
      "prune", "Make weights zero, one by one, in groups or in blocks; or take heads, neurons, channels or layers away");
  command->add_option("-o,--output", flags->compile.output, "the .lathe or .onnx file")->required();
  addCompileOptions(*command, flags->compile);
  command->add_option("--method", flags->method,
                      "how weights are scored: magnitude, or, by --calib, wanda or sparsegpt; parts: magnitude, or, by --calib, "
                      "activation or reconstruction, or, by --gradients, taylor; layers: distance, by --calib (magnitude, of layers distance)");
  command->add_option("--sparsity", flags->sparsity,
                      "share of weights that become zero, below 1 (0.5, or what an N:M pattern says), or of parts that go (0.25)");
  command->add_option("--pattern", flags->pattern,
                      "unstructured, N:M (of M neighbouring inputs N stay), block:RxC (R outputs x C inputs), or what goes: heads, neurons, channels, layers");
  command->add_option("--scope", flags->scope, "what is compared with each other: global, layer, output or input");
  command->add_option("--threshold", flags->threshold, "in place of --sparsity: what scores less becomes zero");
  command->add_option("--norm", flags->norm, "how blocks are scored: l1 or l2 (l2)");
  command->add_option("--weight-clip", flags->weightClip,
                      "quantile of a layer's magnitudes that weights count for at most when they are scored (1)");
  command->add_option("--damping", flags->damping,
                      "of sparsegpt and refinements, a share of the mean of the diagonal (0.01)");
  command->add_flag("--act-order", flags->actOrder, "sparsegpt takes inputs in the order of their energy");
  command->add_option("--block-size", flags->blockSize, "inputs whose zeros sparsegpt chooses together (128)");
  command->add_option("--refinements", flags->refinements,
                      "steps that fit the weights that stay to the layer's outputs on --calib (0)");
  command->add_option("--multiple", flags->multiple, "that numbers of neurons and channels have afterwards (64 of 512 and more, else 16)");
  command->add_option("--grouped-queries", flags->groupedQueries,
                      "whether heads go alone, as many of each head of keys, or together with that (alone)");
  command->add_flag("--refit", flags->refit, "fit what reads the parts that stay to its outputs on --calib, by least squares");
  command
      ->add_option("--tensors", flags->tensors, "weights to prune: names of initializers or nodes, with * and ? (all)")
      ->take_all();
  addCacheOption(*command, flags->compile);
  addCalibrationOptions(*command, flags->compile);
  command->callback([=, &exitCode] {
    flags->compile.recipe = recipeOf(*command, *flags);
    exitCode = compress(flags->compile);
  });
}

} // namespace lathe::tool
