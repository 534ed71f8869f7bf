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

/// The fields of a step `prune`.
struct Pruning {
  std::string method = "magnitude";     ///< how weights are scored: magnitude, wanda, sparsegpt
  std::string pattern = "unstructured"; ///< unstructured, N:M, block:RxC
  std::optional<double> sparsity;       ///< share of zeros, from 0 up to, without, 1; none with a threshold
  std::optional<double> threshold;      ///< in place of `sparsity`: what scores less becomes zero
  std::string scope = "layer";          ///< what is compared with each other: global, layer, output, input
  std::string norm = "l2";              ///< of blocks: l1, l2
  std::optional<double> weightClip;     ///< `weight_clip`: quantile of magnitudes that weights count for at most
  bool actOrder = false;                ///< `act_order`: SparseGPT takes inputs in the order of their energy
  int64_t blockSize = 128;              ///< `block_size`: inputs whose zeros SparseGPT chooses together
  int64_t refinements = 0;              ///< steps that fit what stays to the layer's outputs on calibration data
};

/// The fields of `lowrank`.
struct LowRankFields {
  /// svd, asvd, svd-llm: what the error of two factors is measured by; kronecker, tensor-train, circulant: other forms;
  /// tucker, cp: of convolutions
  std::string method = "svd";
  // How large factors are, by one of these.
  std::optional<int64_t> rank;
  std::optional<double> ratio;  ///< share of the bytes that is removed
  std::optional<double> energy; ///< share of the squares of singular values that is kept
  std::string allocation = "uniform"; ///< of a ratio: uniform (the same of each layer), auto (where it costs least)
  double alpha = 0.5;                 ///< of asvd: the power of mean magnitudes
  std::optional<int64_t> block; ///< of circulant: extent of blocks; of kronecker: of the second factors; none: chosen
  std::optional<int64_t> cores; ///< of tensor-train: how many; none: 3
  std::optional<int64_t> seed;  ///< of cp: of the numbers that least squares begin with; none: 1
  bool residual = false; ///< what factors leave is added, a layer for a later step to compress
};

/// The fields of a step `prune` whose pattern takes parts away.
struct StructuredPruning {
  std::string pattern;              ///< heads, neurons, channels, layers; empty for steps that make weights zero
  std::string method = "magnitude"; ///< how parts are scored: magnitude, activation, reconstruction, taylor
  double sparsity = 0.25;           ///< share of the parts that go
  std::string scope = "layer";      ///< what is compared with each other: parts of a layer, or global, of all
  int64_t multiple = 0;             ///< that numbers of neurons and channels have afterwards; 0: 64 of 512 and more, else 16
  std::string groupedQueries = "alone"; ///< `grouped_queries`: whether key heads stay, or go together with their queries
  bool refit = false;               ///< what stays is fitted to the outputs on calibration data
};

/// The fields of a step `sparsify`.
struct Sparsifying {
  std::string format = "auto"; ///< auto, csr, bsr, bitmap, n_of_m
};

/// One step of a recipe: what it does, what it applies to, and its parameters. Members have the names of the JSON's
/// fields. What fields a kind of step has, and what they may be, is told in one object for each kind (StepKinds.h).
struct RecipeStep {
  std::string step = "quantize";            ///< the kind of step
  std::vector<std::string> tensors = {"*"}; ///< globs on names of initializers, nodes that read them, or caches
  std::vector<std::string> exclude;         ///< likewise; what is excluded stays as it is

  // Of `rotate`.
  int64_t seed = 1; ///< of the signs of the Hadamard matrix; 0: all are positive

  Pruning pruning; ///< of `prune`, with `damping`
  LowRankFields lowRank;
  StructuredPruning parts; ///< of `prune`, with `damping`
  Sparsifying sparsifying; ///< of `sparsify`

  // Of `quantize`.
  std::string mode = "weight-only"; ///< weight-only, dynamic, static, kv-cache
  std::string format = "int";       ///< of codes: int, nf4, fp4, fp8-e4m3, fp8-e5m2, mxfp4, mxfp8, log2, apot, codebook
  std::string method = "rtn";       ///< how codes are found: rtn, mse, gptq, awq, hqq
  int64_t bits = 8;                 ///< of a code
  int64_t groupSize = 0; ///< `group_size`: inputs, or columns of a head of a cache, that share a scale; 0: all
  bool symmetric = true; ///< else with zero points
  bool rotate = false;   ///< of caches: rounds products with Hadamard matrices
  std::string prefer = "auto";      ///< speed: layers whose product is slower stay as they were; size: none do; auto
  std::string scaleType = "f16";    ///< `scale_type`: f32, f16, bf16
  std::string activations =
      "none"; ///< none, token (a scale for each row, found as it runs), tensor (one scale, from calibration)
  bool symmetricActivations = false; ///< `symmetric_activations`: of static ones; else with a zero point
  std::string range = "minmax";      ///< of static activations: minmax, moving-average, percentile, entropy, mse
  double damping = 0.01;             ///< of GPTQ and SparseGPT, a share of the mean of the diagonal
  bool actOrder = true;              ///< `act_order`: GPTQ takes inputs in the order of their energy
  bool clip = true; ///< GPTQ chooses scales that clip a group's largest weights where that makes the error smaller
  std::optional<double> smooth;   ///< SmoothQuant's alpha, from 0 to 1; none: no scaling of activations
  std::optional<double> outliers; ///< inputs whose largest magnitude is so many times the median one are multiplied in
                                  ///< f32; none: no input
  bool biasCorrection =
      false; ///< `bias_correction`: what codes change in the mean of outputs over calibration data is taken back
  bool doubleQuantization =
      false; ///< `double_quantization`: scales are codes of 8 bits, with a scale for each 256 outputs
  bool sequential =
      false; ///< layers are calibrated one after another, with what those before them compute from their codes
  int64_t stages = 1;             ///< of codebooks whose values are added: 1 or 2
  int64_t dimension = 4;          ///< of codebooks: weights that one code stands for

  // Of `choose`.
  std::vector<std::vector<RecipeStep>> from; ///< what a layer may get: steps in their order; to leave it as it is always is one more
  std::string targetSize;            ///< `target_size`: of all weights, such as 25MiB, or a part, such as 0.3; empty: any
  std::optional<double> targetSpeedup; ///< `target_speedup`: how many times as fast products, and the model, are to be
  std::optional<double> maxDrop;     ///< `max_drop`: of quality that may be lost; none: any
  int64_t sensitivitySamples = 8;   ///< `samples`: of the calibration data, that single layers are tried on
  std::optional<double> timeBudget;  ///< `time_budget`: seconds for that; none: any
};

struct Recipe {
  bool requireKernel = false; ///< `require_kernel`: steps whose weights no kernel reads as they are stored are wrong
  std::string prefer = "auto"; ///< what steps do that have `auto`: speed, size, or auto, what their mode is for
  int64_t rows = 0;            ///< of left sides of products that are timed, where the model does not say; 0: auto
  std::vector<RecipeStep> steps;
};

/// Reads a recipe: {"version": 1, "steps": [{"step": "quantize", …}, …]}. On failure `error` names the field and what
/// was expected, with the nearest name that is valid.
std::optional<Recipe> parseRecipe(const std::string &json, std::string &error);

/// The recipe as canonical JSON: every field that its steps' kinds have.
std::string writeRecipe(const Recipe &whole);

/// What of a step needs calibration data, such as "method 'gptq'"; empty where nothing does.
std::string whatNeedsCalibration(const RecipeStep &step);
bool needsCalibration(const RecipeStep &step);
/// Whether it looks at some, if there are any.
bool usesCalibration(const RecipeStep &step);

/// Whether layers that a step would make slower are to stay as they were. `isPortable`: what is made is for other runtimes.
bool prefersSpeed(const Recipe &recipe, const RecipeStep &step, bool isPortable);

/// Why a recipe can't be carried out where ONNX is written; empty where it can.
std::string whyNotOnnx(const Recipe &recipe);

/// The pattern that covers a name alone.
std::string escapeGlob(const std::string &name);

/// Whether a glob pattern (`*`, `?`) covers a name.
bool matchesGlob(const std::string &pattern, const std::string &name);

} // namespace lathe

#endif // LATHE_COMPILER_RECIPE_H
