//===- CompressionReport.h - What became of a model's weights ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_COMPRESSIONREPORT_H
#define LATHE_COMPILER_COMPRESSIONREPORT_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lathe {

/// What a product takes with its weight stored in some way, on this machine.
struct TimedWay {
  std::string name;   ///< such as "f32" and "int4 g32"
  std::string kernel; ///< such as "matmul int8 x int8"; of several the slowest first
  double microseconds = 0;
};

/// What became of one weight.
struct CompressedLayer {
  std::string weight, node; ///< names of the initializer and of the first operation that reads it
  std::string kind;         ///< "matmul", "table" or both, "matmul+table"
  int64_t inputs = 0, outputs = 0;
  std::string format;       ///< such as "int4 g32 f16 scales"; empty where it stayed as it was
  std::string method;
  std::string activations;  ///< of a product: "none", "token" or "tensor"
  uint64_t bytesBefore = 0, bytesAfter = 0;
  double snrDb = 0, cosine = 1; ///< of the layer's output over the calibration data, or of the weight itself without any
  bool onOutputs = false;       ///< which of the two
  int64_t rank = 0;         ///< of factors in its place; 0: it has none
  double energyKept = 1;    ///< of factors: the share of the squares of singular values, as the method measures them
  std::vector<std::string> factors; ///< names of what stands in its place, which later steps may compress
  size_t apart = 0;         ///< inputs that are multiplied in f32, as outliers
  bool isBiasCorrected = false; ///< what codes change in the mean of its outputs is taken back
  std::string reason;           ///< why it stayed as it was
  std::vector<TimedWay> ways;   ///< in which its product was timed, the first as it was before; empty where it was not
  size_t way = 0;               ///< the one that was taken
  int64_t rows = 0;             ///< of the product's left side when it was timed
};

/// Weights that a step has changed together, so that the model computes what it did, or why it has not.
struct TransformedWeights {
  std::string step;                 ///< "rotate" or "equalize"
  std::string node;                 ///< of the model, that tells where it is
  int64_t channels = 0;             ///< that were rotated or scaled
  std::vector<std::string> weights; ///< names of initializers
  size_t productsAdded = 0;         ///< of channels x channels, at what begins and ends there
  std::string reason;               ///< why they stayed as they were
};

/// What a step that prunes has made of one weight.
struct PrunedLayer {
  std::string weight, node; ///< names of the initializer and of the first operation that reads it
  int64_t inputs = 0, outputs = 0;
  std::string pattern, method;
  double sparsityBefore = 0, sparsity = 0; ///< share of zeros
  double snrDb = 0, cosine = 1; ///< of the layer's output over the calibration data, or of the weight itself without any
  bool onOutputs = false;       ///< which of the two
  std::string reason;           ///< why it stayed as it was
};

/// Parts of one place of the model that a step took away: heads, neurons, channels or layers.
struct ShrunkPart {
  std::string pattern, method, node; ///< node: of the model, that reads what is left
  int64_t before = 0, after = 0;     ///< how many parts there are
  std::vector<int64_t> removed;      ///< which of them went
  double cost = 0;                   ///< of those that went, by the method, as a share of that of all
  std::vector<std::string> weights;  ///< names of initializers that have less
  std::vector<std::string> readers;  ///< nodes of the model that sum over them: inputs that went count as zero
  std::vector<std::string> interface; ///< inputs and outputs whose shapes changed
  uint64_t bytesBefore = 0, bytesAfter = 0; ///< of the constants that belong to them
  double microsecondsBefore = 0, microsecondsAfter = 0; ///< of their products together; 0 where these were not timed
  int64_t rows = 0;                  ///< of the first product's left side when they were
  std::string reason;                ///< why all stayed
};

/// A weight of products, and whether its zeros are stored.
struct SparseLayer {
  std::string weight, node; ///< names of the initializer and of the first product that reads it
  int64_t inputs = 0, outputs = 0;
  double zeros = 0;         ///< share of its elements
  std::string pattern;      ///< such as "2:4" and "blocks of 4 x 16"; empty for none
  std::string format;       ///< such as "csr"; empty where it stays dense
  uint64_t bytesBefore = 0, bytesAfter = 0; ///< in an artifact, or in ONNX where that is written
  std::string reason;         ///< why it stays dense
  std::vector<TimedWay> ways; ///< in which its product was timed, the first dense; empty where it was not
  size_t way = 0;             ///< the one that was taken
  int64_t rows = 0;           ///< of the product's left side when it was timed
};

/// Keys or values that are kept in fewer bits.
struct CompressedCache {
  std::string name, format; ///< such as "keys.0" and "int4 g32 asymmetric"
  int64_t heads = 0, size = 0;
  uint64_t bytesBefore = 0, bytesAfter = 0; ///< of a token
};

/// What was tried for one layer, and what it got.
struct ChosenLayer {
  struct Option {
    std::string format;      ///< "as it was" for the first one
    uint64_t bytes = 0;
    double loss = 0;         ///< that it alone brings, as measured or estimated
    bool isEstimate = false; ///< by its noise, as time was up
    TimedWay way = TimedWay(); ///< what its product takes; 0 microseconds where it was not timed
  };
  std::string weight, node;
  std::vector<Option> options;
  size_t chosen = 0;
  int64_t rows = 0; ///< of the product's left side when it was timed
};

/// One step `choose`.
struct WeightChoice {
  std::string measure;              ///< of losses: "kl_divergence", or "relative_squared_error"
  size_t samples = 0;               ///< that layers were tried on
  bool isComplete = true;           ///< else time was up before all that was to be tried
  std::vector<ChosenLayer> layers;
  uint64_t bytesBefore = 0, bytesAfter = 0; ///< of all weights of the model
  std::optional<uint64_t> targetBytes;
  std::optional<double> targetSpeedup, maxDrop;
  // What products of the step's layers take together, where they were timed.
  double microsecondsBefore = 0, microsecondsAfter = 0;
  // What the whole model takes on samples of the calibration data, where a speed was asked for.
  double modelMicrosecondsBefore = 0, modelMicrosecondsAfter = 0;
  struct Point {
    uint64_t bytes = 0;
    double loss = 0, drop = 0; ///< as measured on all layers together
    bool isChosen = false;
  };
  std::vector<Point> curve; ///< of sizes and what they cost, from large to small
};

struct CompressionReport {
  std::vector<WeightChoice> choices;
  std::string qualityMeasure;          ///< of the next: "perplexity", or "relative_error"; empty where nothing was measured
  double qualityBefore = 0, qualityAfter = 0, drop = 0; ///< on the calibration data
  std::vector<TransformedWeights> transforms;
  std::vector<PrunedLayer> pruned;
  std::vector<ShrunkPart> shrunk;
  std::vector<CompressedLayer> layers;
  std::vector<SparseLayer> sparse;
  std::vector<CompressedCache> caches;
  size_t samples = 0;
  uint64_t bytesBefore = 0, bytesAfter = 0; ///< of all layers
  std::string whyNotTimed; ///< where times were wanted, and there are none
  /// The recipe with what was decided by times and by what layers lose, as JSON, which does the same on any machine and without trying; empty where nothing was.
  std::string recipe;

  bool isEmpty() const {
    return layers.empty() && transforms.empty() && pruned.empty() && shrunk.empty() &&
           sparse.empty() && caches.empty() && choices.empty();
  }
};

} // namespace lathe

#endif // LATHE_COMPILER_COMPRESSIONREPORT_H
