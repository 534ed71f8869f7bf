//===- Recipe.h - What is to be compressed, and how -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_RECIPE_H
#define LATHE_COMPILER_RECIPE_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lathe {

/// One step of a recipe: what it does, what it applies to, and its parameters. Members have the names of the JSON's
/// fields. What fields a kind of step has, and what they may be, is told in one table for each kind (Recipe.cpp).
struct RecipeStep {
  std::string step = "quantize";            ///< the kind of step
  std::vector<std::string> tensors = {"*"}; ///< globs on names of initializers, nodes that read them, or caches
  std::vector<std::string> exclude;         ///< likewise; what is excluded stays as it is

  // Of `rotate`.
  int64_t seed = 1; ///< of the signs of the Hadamard matrix; 0: all are positive

  // Of `quantize`.
  std::string mode = "weight-only"; ///< weight-only, dynamic, static, kv-cache
  std::string format = "int";       ///< of codes: int, nf4, fp4, fp8-e4m3, fp8-e5m2, mxfp4, mxfp8, log2, apot, codebook
  std::string method = "rtn";       ///< how codes are found: rtn, mse, gptq, awq, hqq
  int64_t bits = 8;                 ///< of a code
  int64_t groupSize = 0; ///< `group_size`: inputs, or columns of a head of a cache, that share a scale; 0: all
  bool symmetric = true; ///< else with zero points
  bool rotate = false;   ///< of caches: rounds products with Hadamard matrices
  std::string scaleType = "f16";    ///< `scale_type`: f32, f16, bf16
  std::string activations =
      "none"; ///< none, token (a scale for each row, found as it runs), tensor (one scale, from calibration)
  bool symmetricActivations = false; ///< `symmetric_activations`: of static ones; else with a zero point
  std::string range = "minmax";      ///< of static activations: minmax, moving-average, percentile, entropy, mse
  double damping = 0.01;             ///< of GPTQ, a share of the mean of the diagonal
  bool actOrder = true;              ///< `act_order`: GPTQ takes inputs in the order of their energy
  bool clip = true; ///< GPTQ chooses scales that clip a group's largest weights where that makes the error smaller
  std::optional<double> smooth;   ///< SmoothQuant's alpha, from 0 to 1; none: no scaling of activations
  std::optional<double> outliers; ///< inputs whose largest magnitude is so many times the median one are multiplied in
                                  ///< f32; none: no input
  bool biasCorrection =
      false; ///< `bias_correction`: what codes change in the mean of outputs over calibration data is taken back
  bool doubleQuantization =
      false; ///< `double_quantization`: scales are codes of 8 bits, with a scale for each 256 outputs
  int64_t stages = 1;             ///< of codebooks whose values are added: 1 or 2
  int64_t dimension = 4;          ///< of codebooks: weights that one code stands for

  // Of `choose`.
  std::vector<std::vector<RecipeStep>> from; ///< what a layer may get: steps in their order; to leave it as it is always is one more
  std::string targetSize;            ///< `target_size`: of all weights, such as 25MiB, or a part, such as 0.3; empty: any
  std::optional<double> maxDrop;     ///< `max_drop`: of quality that may be lost; none: any
  int64_t sensitivitySamples = 16;   ///< `samples`: of the calibration data, that single layers are tried on
  std::optional<double> timeBudget;  ///< `time_budget`: seconds for that; none: any
};

struct Recipe {
  std::vector<RecipeStep> steps;
};

/// Reads a recipe: {"version": 1, "steps": [{"step": "quantize", …}, …]}. On failure `error` names the field and what
/// was expected, with the nearest name that is valid.
std::optional<Recipe> parseRecipe(const std::string &json, std::string &error);

/// The recipe as canonical JSON: every field that its steps' kinds have.
std::string writeRecipe(const Recipe &whole);

/// Whether a step needs calibration data.
bool needsCalibration(const RecipeStep &step);
/// Whether it is better with some.
bool usesCalibration(const RecipeStep &step);

/// Whether a glob pattern (`*`, `?`) covers a name.
bool matchesGlob(const std::string &pattern, const std::string &name);

} // namespace lathe

#endif // LATHE_COMPILER_RECIPE_H
