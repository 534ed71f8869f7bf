//===- LayerVariants.h - Layers as alternatives leave them ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// An alternative is steps of a recipe, tried on a copy of the program that runs on calibration data. Where all that it
// changes are weights, the values that its expressions have are computed once, by compiling them as a program of their
// own, and later stand in for the dense ones as inputs of one compiled model. So what is tried may be any step that
// there is.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_LAYERVARIANTS_H
#define LATHE_COMPILER_LAYERVARIANTS_H

#include "compiler/Compress.h"
#include "passes/quantization/Layers.h"

namespace lathe {

/// Carries out one step of a recipe, and appends to the report. False with `error` set, and `isUsage` where the recipe
/// is wrong.
using CarryOut = std::function<bool(const Compression &compression, const RecipeStep &step, CompressionReport &report,
                                    bool &isUsage, std::string &error)>;

/// A layer's name, or those of what stands in its place.
using Names = std::vector<std::string>;

/// Carries out the steps of an alternative on the layers of these names, one after another; `recipe` gets the steps
/// with what each is for. `keepsExpressions`: what the last one makes of a weight stays one value. False with `error`
/// set.
bool carryOutAlternative(const Compression &compression, llvm::ArrayRef<RecipeStep> steps, std::vector<Names> names,
                         bool keepsExpressions, const CarryOut &carryOut, Recipe &recipe, CompressionReport &report,
                         bool &isUsage, std::string &error);

/// Whether an alternative begins with a step that takes parts away, and so is one of several layers together.
bool takesParts(llvm::ArrayRef<RecipeStep> alternative);

/// One layer as an alternative leaves it.
struct LayerVariant {
  std::string format; ///< such as "int4 g32 f16 scales by gptq"
  std::string reason; ///< why the alternative leaves it as it was; empty where it does not
  uint64_t bytes = 0;
  double noise = 0;      ///< over the signal, as powers: of its output, or of the weight
  uint64_t values = 0;   ///< f32, where the compiler keeps what it made, as the weight lies
  bool isWeight = false; ///< there are such values, and nothing else is changed
  // Of alternatives that take parts away.
  std::vector<size_t> place;       ///< the layers that lose them together; empty for others
  int64_t inputs = 0, outputs = 0; ///< that are left
};

/// The program that alternatives are tried on.
class TrialProgram {
public:
  /// `layers` must outlive it, in the order in which they are meant later. Those that the program does not have are
  /// never changed.
  /// `isTimed`: whoever tries alternatives times them, too, so that steps need not leave out what is slower.
  TrialProgram(const Compression &compression, const std::vector<compression::Layer> &layers, const CarryOut &carryOut,
               bool isTimed);

  /// How alternatives are carried out.
  enum class Manner {
    all,     ///< one on all layers, to see what it makes of them; expressions stay whole
    trial,   ///< to be compiled, with what is known of the inputs of layers
    as_meant ///< as the recipe that comes of it does
  };
  /// A copy with alternatives carried out: `choice[i]` is that of layer i, from 1, or 0 for none. `recipe` gets the
  /// steps with the layers that each is for, `report` what became of them. Null with `error` set.
  mlir::OwningOpRef<mlir::ModuleOp> changed(const std::vector<std::vector<RecipeStep>> &alternatives,
                                            const std::vector<size_t> &choice, Manner manner, Recipe &recipe,
                                            CompressionReport &report, bool &isUsage, std::string &error) const;
  /// What an alternative makes of each layer. False with `error` set.
  bool tryAlternative(const std::vector<RecipeStep> &steps, std::vector<LayerVariant> &variants, bool &isUsage,
                      std::string &error) const;
  /// The model with its layers as inputs, called weight.0 and so on by their index, and the outputs that losses are of,
  /// in f32.
  mlir::OwningOpRef<mlir::ModuleOp> withInputs() const;
  /// A program with only the outputs that losses are of, in f32.
  static void keepOutputs(mlir::ModuleOp module);
  mlir::ModuleOp module() const { return *base; }
  /// Whether the program reads a layer.
  bool has(size_t layer) const { return isRead[layer]; }

private:
  bool evaluate(mlir::ModuleOp module, std::vector<LayerVariant> &variants, std::string &error) const;

  const Compression &compression;
  const std::vector<compression::Layer> &layers;
  const CarryOut &carryOut;
  mlir::OwningOpRef<mlir::ModuleOp> base; ///< with the index of a layer at what reads it
  std::vector<bool> isRead;
  bool isTimed;
};

} // namespace lathe

#endif // LATHE_COMPILER_LAYERVARIANTS_H
