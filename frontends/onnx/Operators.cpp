//===- Operators.cpp - The operators that are imported --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Node.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;

namespace lathe::frontend {

static llvm::StringMap<const Operator *> tableOf(std::initializer_list<ArrayRef<Operator>> families) {
  llvm::StringMap<const Operator *> result;
  for (ArrayRef<Operator> family : families)
    for (const Operator &op : family)
      result[op.name] = &op;
  return result;
}

bool isOnnxDomain(StringRef domain) { return domain.empty() || domain == "ai.onnx"; }

const Operator *findOperator(const onnx::NodeProto &node) {
  static const auto onnx =
      tableOf({activationOperators(),    attentionOperators(),     boxOperators(),        contribOnnxOperators(),
               controlFlowOperators(),   convolutionOperators(),   deformConvOperators(), einsumOperators(),
               elementwiseOperators(),   linearAlgebraOperators(), matmulOperators(),     movementOperators(),
               normalizationOperators(), padOperators(),           poolOperators(),       quantizationOperators(),
               recurrentOperators(),     reductionOperators(),     resizeOperators(),     samplingOperators(),
               scatterOperators(),       shapeOperators(),         signalOperators(),     sliceOperators(),
               trigonometryOperators(),  uniqueOperators()});
  static const auto contrib =
      tableOf({contribAttentionOperators(), contribExpertOperators(), contribGroupedAttentionOperators(),
               contribImageOperators(), contribLinearAlgebraOperators(), contribLinearAttentionOperators(),
               contribOperators(), contribPackedAttentionOperators(), contribPositionOperators(),
               contribRecurrentOperators(), contribSamplingOperators(), contribSignalOperators(),
               contribTensorOperators(), contribUniqueOperators(), quantizedContribOperators()});
  if (isOnnxDomain(node.domain()))
    return onnx.lookup(node.op_type());
  return node.domain() == kContribDomain ? contrib.lookup(node.op_type()) : nullptr;
}

} // namespace lathe::frontend
