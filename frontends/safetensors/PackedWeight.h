//===- PackedWeight.h - Codes as quantizers pack them -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A layer of a quantized checkpoint is tensors of its name: 'qweight' and 'qzeros' of i32, in which codes of 2, 3, 4 or
// 8 bits lie one behind the other, 'scales', and of GPTQ 'g_idx'. Of k inputs and n outputs they are
//
//            GPTQ (AutoGPTQ, GPTQModel)          AWQ (AutoAWQ, version gemm)
//   qweight  [k * bits / 32, n], along inputs    [k, n * bits / 32], along outputs
//   qzeros   [groups, n * bits / 32]             [groups, n * bits / 32]
//   scales   [groups, n]                         [groups, n]
//   g_idx    [k], the group of each input
//
// Of compressed-tensors ('pack-quantized', by llm-compressor) the names are 'weight_packed', 'weight_zero_point',
// 'weight_scale', 'weight_g_idx', and 'weight_shape' with n and k:
//
//   codes    [n, k * bits / 32], along inputs      zero points  [n * bits / 32, groups], along outputs, or none
//   scales   [n, groups]
//
// AWQ has eight codes of a word in the order 0, 2, 4, 6, 1, 3, 5, 7. The first format of GPTQ has zero points minus
// one, modulo 2^bits, 'gptq_v2' as they are.
//
// AWQ's version gemv has all by outputs, in the natural order of codes, and so many columns of groups that words are
// full and aligned:
//
//   qweight  [n, k / 8]      qzeros  [n, words]      scales  [n, 8 * words]
//
// 'marlin', of GPTQ ('B', 's') and of AWQ ('qweight', 'scales'), has 4 bits without zero points: tiles of 16 inputs and
// 16 outputs, of which four are permuted as the kernel's threads read them, [k / 16, 2 * n], and scales [groups, n]
// permuted in runs of 64, or of 32 where there is one group.
//
// Codes of a byte ('int-quantized' and 'float-quantized' of compressed-tensors; 'fp8') are the 'weight' itself, [n, k]
// of I8, F8_E4M3 or F8_E5M2, beside 'weight_scale' or 'weight_scale_inv': one, [n, 1], [n, groups], or one for each
// block of outputs and inputs.
//
// Sources: Frantar et al. 2022, "GPTQ"; Lin et al. 2023, "AWQ"; Frantar et al. 2024, "MARLIN"; and what these programs
// write.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_SAFETENSORS_PACKEDWEIGHT_H
#define LATHE_FRONTENDS_SAFETENSORS_PACKEDWEIGHT_H

#include "frontends/safetensors/QuantizationConfig.h"
#include "frontends/safetensors/Safetensors.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include <optional>
#include <string>
#include <vector>

namespace lathe::safetensors {

/// The tensors of a quantized layer, of which the shapes fit, where they lie in their files.
class PackedWeight {
public:
  /// A tensor with its bytes.
  struct Part {
    const Tensor *tensor = nullptr;
    llvm::StringRef bytes;
  };
  /// How the codes are stored, as far as names tell.
  enum class Storage {
    words,  ///< of GPTQ and AWQ
    packed, ///< words of compressed-tensors
    marlin,
    bytes
  };
  /// Which may be left out: `groupIndex`; `shape`, but of `packed`; zero points, but of `words`.
  struct Parts {
    Part codes, zeros, scales, groupIndex, shape;
    Storage storage = Storage::words;
  };
  /// Returns what is wrong, or an empty string.
  static std::string make(const Parts &parts, const QuantizationConfig &config, PackedWeight &weight);

  int64_t inputs() const { return k; }
  int64_t outputs() const { return n; }
  int64_t bits() const { return width; }
  int64_t groups() const { return groupCount; }
  /// Inputs of a group; the last one may have fewer.
  int64_t groupSize() const { return group; }
  const Tensor &codeTensor() const { return *codePart.tensor; }
  const Tensor &scaleTensor() const { return *scalePart.tensor; } ///< of F16, BF16 or F32
  /// What codes are: integers, or the bits of a float of a byte.
  enum class Kind { integer, e4m3, e5m2 };
  Kind kind() const { return codeKind; }
  /// Whether inputs of a group are no neighbours (GPTQ with act-order).
  bool isReordered() const { return !order.empty(); }
  /// Where it is reordered: the inputs, those of the first group first.
  llvm::ArrayRef<int64_t> inputOrder() const { return order; }
  /// Whether all zero points are the middle of the codes: then a code less 2^(bits-1) is a signed integer. Of floats,
  /// too.
  bool isSymmetric() const { return symmetric; }

  /// Whether the bytes of codes, less the middle, or of scales lie in the file as codes() and scales() have them.
  bool codesLie(bool transposed) const;
  bool scalesLie(bool transposed) const;
  /// Codes, a byte each, [n][k] where `transposed`, else [k][n]; inputs in the order of groups.
  std::vector<uint8_t> codes(bool transposed) const;
  /// Zero points, a byte each, [n][groups] where `transposed`, else [groups][n].
  std::vector<uint8_t> zeros(bool transposed) const;
  /// Scales in their type, [n][groups] where `transposed`, else [groups][n].
  std::vector<uint8_t> scales(bool transposed) const;
  /// One weight in f32, of an input as the layer has it.
  float at(int64_t input, int64_t output) const;

private:
  enum class Layout { Gptq, Awq, AwqGemv, Marlin, Compressed, Bytes };
  /// What programs call a layout: methods and formats.
  struct LayoutNames;
  static LayoutNames namesOf(Layout layout);
  std::string checkTypes();
  std::string checkShapes(Storage storage, const QuantizationConfig &config);
  std::string checkWords(const QuantizationConfig &config);
  std::string checkGemv(const QuantizationConfig &config);
  std::string checkMarlin();
  std::string checkCompressed();
  std::string checkBytes(const QuantizationConfig &config);
  std::string checkConfig(const QuantizationConfig &config);
  std::string readGroups();
  unsigned codeAt(int64_t input, int64_t output) const;
  unsigned zeroAt(int64_t g, int64_t output) const;
  int64_t scalePlace(int64_t g, int64_t output) const;
  float scaleAt(int64_t g, int64_t output) const;

  Part codePart, zeroPart, scalePart, groupPart, shapePart;
  int64_t k = 0, n = 0, width = 0, group = 0, groupCount = 0;
  int64_t rowsTogether = 1; ///< outputs that share scales, of bytes
  Layout layout = Layout::Gptq;
  Kind codeKind = Kind::integer;
  unsigned zeroOffset = 0; ///< what is missing from zero points as they are stored
  bool symmetric = false;
  std::vector<int32_t> groupOf; ///< of each input, where it is reordered
  std::vector<int64_t> order;
};

/// A quantized layer of a file: what its tensors are.
struct LayerTensors {
  std::string layer; ///< its name
  PackedWeight::Parts parts;
  std::string missing;            ///< what there has to be beside the codes, and is not; empty for nothing
  std::vector<std::string> taken; ///< names of all that belongs to it, with what says how activations were rounded
};

/// The layer of which the tensor of this name has the codes; nothing where it has none.
std::optional<LayerTensors> findLayerTensors(const Tensors &tensors, const std::string &name,
                                             llvm::function_ref<llvm::StringRef(const Tensor &)> bytes);

/// The layer that a tensor of this name is a part of, beside codes that it needs; empty for none.
std::string codesBeside(llvm::StringRef name);

} // namespace lathe::safetensors

#endif // LATHE_FRONTENDS_SAFETENSORS_PACKEDWEIGHT_H
