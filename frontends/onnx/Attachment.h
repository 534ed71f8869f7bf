//===- Attachment.h - A checkpoint's weights for a graph's ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_ATTACHMENT_H
#define LATHE_FRONTENDS_ONNX_ATTACHMENT_H

#include "frontends/onnx/ModelFile.h"
#include "frontends/onnx/WeightUses.h"
#include "frontends/safetensors/Checkpoint.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace lathe::frontend {

/// What takes the place of an initializer.
struct Attached {
  const safetensors::Parameter *parameter = nullptr;
  std::string name; ///< of the parameter
  /// The initializer lies as [outputs, inputs] (of codes), or has the axes of the checkpoint's matrix swapped.
  bool transposed = false;
  bool isLayer = false; ///< products read the initializer, or rows of it are looked up
};

/// Finds for each parameter of a checkpoint the initializer that it belongs to: the one of its name; or the one that
/// nodes of its module read (findWeightUses); or, of matrices, the only one whose values are about the same. All names
/// of a model may have a prefix that those of the checkpoint lack, or the other way round.
class Attachment {
public:
  using Report = llvm::function_ref<void(const std::string &problem)>;
  /// `skipped`: patterns of parameters that are left out. Reports every parameter that no initializer belongs to, but
  /// where the graph `isPart` of what the checkpoint is of, or one of another shape.
  void match(const safetensors::Checkpoint &checkpoint, const ModelFile &file, llvm::ArrayRef<std::string> skipped,
             bool isPart, Report report);

  const Attached *find(const onnx::TensorProto &tensor) const {
    auto it = attached.find(&tensor);
    return it == attached.end() ? nullptr : &it->second;
  }
  size_t packed = 0, dense = 0; ///< initializers that are replaced, by codes and by tensors as they are
  size_t kept = 0;              ///< weights of products that stay the model's own

private:
  void findPrefixes();
  const safetensors::Parameter *lookup(llvm::StringRef name, std::string &found) const;
  void matchNames(const WeightUses &uses, Report report);
  void matchValues(const std::string &name, const safetensors::Parameter &parameter, Report report);
  void matchTied(const WeightUses &uses);
  bool attach(const WeightUses &uses, const std::string &name, const safetensors::Parameter &parameter, bool byName,
              Report report);
  bool isNeedless(const std::string &name, const safetensors::Parameter &parameter) const;
  bool isThere(const safetensors::Tensor &tensor) const;
  std::string stripped(llvm::StringRef name) const;

  const safetensors::Checkpoint *checkpoint = nullptr;
  const ModelFile *file = nullptr;
  llvm::ArrayRef<std::string> skipped;
  std::vector<WeightUses> weights;
  std::string graphPrefix, ownPrefix; ///< what names of the graph, and of the checkpoint, have in front
  llvm::DenseMap<const onnx::TensorProto *, Attached> attached;
  std::map<std::string, size_t> used; ///< parameters, with how many initializers they replace
};

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_ATTACHMENT_H
