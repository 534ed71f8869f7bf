//===- LatheOps.td - Operations of the lathe dialect -------*- tablegen -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_LATHE_LATHEOPS_TD
#define LATHE_DIALECTS_LATHE_LATHEOPS_TD

include "dialects/lathe/LatheControlOps.td"
include "dialects/lathe/LatheDialect.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/IR/OpAsmInterface.td"

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

/// MLIR's trait of the same name allows no broadcasting.
def Lathe_Elementwise : NativeOpTrait<"BroadcastingElementwise">;

def Lathe_AnyFloatTensor : RankedTensorOf<[AnyFloat]>;
def Lathe_AnyIntTensor : RankedTensorOf<[AnyInteger]>;
def Lathe_AnyNumberTensor : RankedTensorOf<[AnyFloat, AnyInteger]>;
def Lathe_BoolTensor : RankedTensorOf<[I1]>;

class Lathe_Unary<string mnemonic, Type type, string formula, string domain, list<Trait> traits = []> :
    Lathe_TensorOp<mnemonic, !listconcat([Lathe_Elementwise, SameOperandsAndResultElementType], traits)> {
  let summary = "Elementwise " # formula;
  let description = "Computes `" # formula # "` for each element x. " # domain # [{

    ```mlir
    %y = lathe.}] # mnemonic # [{ %x : (tensor<?x4x}] # !cond(!eq(mnemonic, "not") : "i1", true : "f32") # [{>) -> tensor<?x4x}] # !cond(!eq(mnemonic, "not") : "i1", true : "f32") # [{>
    ```
  }];
  let arguments = (ins type:$input);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_NegOp : Lathe_Unary<"neg", Lathe_AnyNumberTensor, "-x", "Integers wrap.">;
def Lathe_AbsOp : Lathe_Unary<"abs", Lathe_AnyNumberTensor, "|x|", "The smallest integer stays as it is.">;
def Lathe_SignOp : Lathe_Unary<"sign", Lathe_AnyNumberTensor, "sign(x)", "-1, 0 or 1; NaN stays NaN.">;
def Lathe_SqrtOp : Lathe_Unary<"sqrt", Lathe_AnyFloatTensor, "sqrt(x)", "NaN below zero.">;
def Lathe_RsqrtOp : Lathe_Unary<"rsqrt", Lathe_AnyFloatTensor, "1 / sqrt(x)", "Infinity at zero, NaN below.">;
def Lathe_ReciprocalOp : Lathe_Unary<"reciprocal", Lathe_AnyFloatTensor, "1 / x", "Infinity at zero.">;
def Lathe_ExpOp : Lathe_Unary<"exp", Lathe_AnyFloatTensor, "exp(x)", "">;
def Lathe_LogOp : Lathe_Unary<"log", Lathe_AnyFloatTensor, "log(x)", "Natural logarithm; NaN below zero.">;
def Lathe_ErfOp : Lathe_Unary<"erf", Lathe_AnyFloatTensor, "erf(x)", "">;
def Lathe_TanhOp : Lathe_Unary<"tanh", Lathe_AnyFloatTensor, "tanh(x)", "">;
def Lathe_SinOp : Lathe_Unary<"sin", Lathe_AnyFloatTensor, "sin(x)", "x in radians.">;
def Lathe_CosOp : Lathe_Unary<"cos", Lathe_AnyFloatTensor, "cos(x)", "x in radians.">;
def Lathe_SigmoidOp : Lathe_Unary<"sigmoid", Lathe_AnyFloatTensor, "1 / (1 + exp(-x))", "">;
def Lathe_ReluOp : Lathe_Unary<"relu", Lathe_AnyNumberTensor, "max(x, 0)", "NaN stays NaN.">;
def Lathe_FloorOp : Lathe_Unary<"floor", Lathe_AnyFloatTensor, "floor(x)", "">;
def Lathe_CeilOp : Lathe_Unary<"ceil", Lathe_AnyFloatTensor, "ceil(x)", "">;
def Lathe_RoundOp : Lathe_Unary<"round", Lathe_AnyFloatTensor, "round(x)", "To nearest, ties to even.">;
def Lathe_AtanOp : Lathe_Unary<"atan", Lathe_AnyFloatTensor, "atan(x)", "In radians, between -pi/2 and pi/2.">;
def Lathe_NotOp : Lathe_Unary<"not", Lathe_AnyIntTensor, "not x", "Of integers every bit.">;

def Lathe_GeluApproximation : I32EnumAttr<"GeluApproximation", "how gelu is computed", [
    I32EnumAttrCase<"erf", 0>, I32EnumAttrCase<"tanh", 1>]> {
  let cppNamespace = "::lathe";
  let genSpecializedAttr = 0;
}
def Lathe_GeluApproximationAttr : EnumAttr<Lathe_Dialect, Lathe_GeluApproximation, "gelu_approximation"> {
  let assemblyFormat = "`<` $value `>`";
}

def Lathe_GeluOp : Lathe_TensorOp<"gelu", [Lathe_Elementwise, SameOperandsAndResultElementType]> {
  let summary = "Gaussian error linear unit";
  let description = [{
    Exactly (`erf`): `x/2 * (1 + erf(x / sqrt(2)))`; by `tanh`: `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`.
    Source: Hendrycks and Gimpel, Gaussian Error Linear Units (2016).

    ```mlir
    %y = lathe.gelu %x {approximation = #lathe.gelu_approximation<erf>} : (tensor<?x4xf32>) -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins Lathe_AnyFloatTensor:$input,
      DefaultValuedAttr<Lathe_GeluApproximationAttr, "::lathe::GeluApproximation::erf">:$approximation);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_SwishOp : Lathe_TensorOp<"swish", [Lathe_Elementwise, SameOperandsAndResultElementType]> {
  let summary = "Sigmoid-weighted linear unit";
  let description = [{
    `x / (1 + exp(-beta x))`: silu where `beta` is 1, the quick form of gelu where it is 1.702. `beta` is finite (C1).
    Source: Ramachandran, Zoph, Le, Searching for Activation Functions (2017).

    ```mlir
    %y = lathe.swish %x {beta = 1.702 : f64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins Lathe_AnyFloatTensor:$input, DefaultValuedAttr<F64Attr, "1.0">:$beta);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

class Lathe_Test<string mnemonic, string formula> : Lathe_TensorOp<mnemonic, [Lathe_Elementwise]> {
  let summary = "Elementwise test: " # formula;
  let description = "True where x " # formula # [{.

    ```mlir
    %y = lathe.}] # mnemonic # [{ %x : (tensor<?x4xf32>) -> tensor<?x4xi1>
    ```
  }];
  let arguments = (ins Lathe_AnyFloatTensor:$input);
  let results = (outs Lathe_BoolTensor:$result);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Lathe_IsNanOp : Lathe_Test<"is_nan", "is not a number">;
def Lathe_IsInfOp : Lathe_Test<"is_inf", "is plus or minus infinity">;

class Lathe_Binary<string mnemonic, Type type, string formula, string domain, list<Trait> traits = []> :
    Lathe_TensorOp<mnemonic, !listconcat([Lathe_Elementwise, SameOperandsAndResultElementType], traits)> {
  let summary = "Elementwise " # formula # ", with numpy's broadcasting";
  let description = "Computes `" # formula # "` for each pair of elements. " # domain # [{

    ```mlir
    %r = lathe.}] # mnemonic # [{ %a, %b : (tensor<?x1x}] # !cond(!eq(type, Lathe_AnyIntTensor) : "i32", true : "f32") # [{>, tensor<4x}] # !cond(!eq(type, Lathe_AnyIntTensor) : "i32", true : "f32") # [{>) -> tensor<?x4x}] # !cond(!eq(type, Lathe_AnyIntTensor) : "i32", true : "f32") # [{>
    ```
  }];
  let arguments = (ins type:$lhs, type:$rhs);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_AddOp : Lathe_Binary<"add", Lathe_AnyNumberTensor, "a + b", "Integers wrap.", [Commutative]>;
def Lathe_SubOp : Lathe_Binary<"sub", Lathe_AnyNumberTensor, "a - b", "Integers wrap.">;
def Lathe_MulOp : Lathe_Binary<"mul", Lathe_AnyNumberTensor, "a * b", "Integers wrap.", [Commutative]>;
def Lathe_DivOp : Lathe_Binary<"div", Lathe_AnyNumberTensor, "a / b", "Integers round towards zero; an integer divided by zero gives 0.">;
def Lathe_PowOp : Lathe_Binary<"pow", Lathe_AnyNumberTensor, "a ^ b", "">;
def Lathe_MinOp : Lathe_Binary<"min", Lathe_AnyNumberTensor, "min(a, b)", "NaN if either is.", [Commutative]>;
def Lathe_MaxOp : Lathe_Binary<"max", Lathe_AnyNumberTensor, "max(a, b)", "NaN if either is.", [Commutative]>;
def Lathe_AndOp : Lathe_Binary<"and", Lathe_AnyIntTensor, "a and b", "Of integers bit by bit.", [Commutative]>;
def Lathe_OrOp : Lathe_Binary<"or", Lathe_AnyIntTensor, "a or b", "Of integers bit by bit.", [Commutative]>;
def Lathe_XorOp : Lathe_Binary<"xor", Lathe_AnyIntTensor, "a xor b", "Of integers bit by bit.", [Commutative]>;
def Lathe_ShiftLeftOp : Lathe_Binary<"shift_left", Lathe_AnyIntTensor, "a * 2^b",
    "b is taken as unsigned; from the width of the type on the result is 0.">;
def Lathe_ShiftRightOp : Lathe_Binary<"shift_right", Lathe_AnyIntTensor, "floor(a / 2^b)",
    "b is taken as unsigned; from the width of the type on the result is 0, or -1 for a below 0.">;

def Lathe_ModOp : Lathe_TensorOp<"mod", [Lathe_Elementwise, SameOperandsAndResultElementType]> {
  let summary = "Elementwise remainder, with numpy's broadcasting";
  let description = [{
    The remainder has the sign of b, or of a where `truncated` is given (C's `fmod`). An integer modulo zero gives 0.

    ```mlir
    %r = lathe.mod %a, %b : (tensor<?x1xi64>, tensor<4xi64>) -> tensor<?x4xi64>
    ```
  }];
  let arguments = (ins Lathe_AnyNumberTensor:$lhs, Lathe_AnyNumberTensor:$rhs, UnitAttr:$truncated);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_Comparison : I32EnumAttr<"Comparison", "predicate of a comparison", [
    I32EnumAttrCase<"eq", 0>, I32EnumAttrCase<"ne", 1>, I32EnumAttrCase<"lt", 2>, I32EnumAttrCase<"le", 3>,
    I32EnumAttrCase<"gt", 4>, I32EnumAttrCase<"ge", 5>]> {
  let cppNamespace = "::lathe";
  let genSpecializedAttr = 0;
}
def Lathe_ComparisonAttr : EnumAttr<Lathe_Dialect, Lathe_Comparison, "comparison"> {
  let assemblyFormat = "$value";
}

def Lathe_CompareOp : Lathe_TensorOp<"compare", [Lathe_Elementwise, AllElementTypesMatch<["lhs", "rhs"]>]> {
  let summary = "Elementwise comparison, with numpy's broadcasting";
  let description = [{
    Comparisons with NaN are false, but for `ne`.

    ```mlir
    %r = lathe.compare lt %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xi1>
    ```
  }];
  let arguments = (ins Lathe_ComparisonAttr:$predicate, Lathe_AnyNumberTensor:$lhs, Lathe_AnyNumberTensor:$rhs);
  let results = (outs Lathe_BoolTensor:$result);
  let assemblyFormat = "$predicate operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_SelectOp : Lathe_TensorOp<"select",
    [Lathe_Elementwise, AllElementTypesMatch<["true_value", "false_value", "result"]>]> {
  let summary = "Elementwise choice, with numpy's broadcasting";
  let description = [{
    ```mlir
    %r = lathe.select %c, %a, %b : (tensor<?x1xi1>, tensor<4xf32>, tensor<f32>) -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins Lathe_BoolTensor:$condition, AnyRankedTensor:$true_value, AnyRankedTensor:$false_value);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_CastOp : Lathe_TensorOp<"cast", [Lathe_Elementwise]> {
  let summary = "Elementwise conversion of type";
  let description = [{
    Float to integer rounds towards zero, and saturates at the bounds of the type (NaN gives 0); to `i1` it is `x != 0`; integer to
    narrower integer wraps, and so does float to an integer below 8 bits, by way of i32. To an 8-bit float it rounds to the nearest, ties to even, and saturates at the largest finite
    value, infinity too; with `overflows` what is beyond becomes infinity, or NaN in a type without infinities.

    ```mlir
    %y = lathe.cast %x : (tensor<?x4xi64>) -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, UnitAttr:$overflows);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
  let hasFolder = 1;
}

//===----------------------------------------------------------------------===//
// Quantization
//===----------------------------------------------------------------------===//

class Lathe_Quantization<string mnemonic> : Lathe_TensorOp<mnemonic> {
  let arguments = (ins AnyRankedTensor:$input, Lathe_AnyFloatTensor:$scale, Optional<AnyRankedTensor>:$zero_point,
      OptionalAttr<I64Attr>:$axis, OptionalAttr<I64Attr>:$block_size);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_QuantizeOp : Lathe_Quantization<"quantize"> {
  let summary = "Values as multiples of a scale";
  let description = [{
    To integers: `round(x / scale) + zero_point`, ties to even, saturated at the bounds of the type; to 8-bit floats:
    `x / scale + zero_point`, rounded and saturated as by `lathe.cast`, whose `overflows` is one here, too. The quotient is of
    the type of the scale. Scale and zero point are as for `lathe.dequantize`, of whose constraints (C1) to (C5) hold;
    (C6) the input's type is the scale's; (C7) the zero point's type is the result's, an integer of at most 16 bits but no
    `i1`, or an 8-bit float.

    ```mlir
    %q = lathe.quantize %x, %s, %z {axis = 1 : i64} : (tensor<?x4xf32>, tensor<4xf32>, tensor<4xui8>) -> tensor<?x4xui8>
    ```
  }];
  let arguments = (ins Lathe_AnyFloatTensor:$input, Lathe_AnyFloatTensor:$scale, Optional<AnyRankedTensor>:$zero_point,
      OptionalAttr<I64Attr>:$axis, OptionalAttr<I64Attr>:$block_size, UnitAttr:$overflows);
}

def Lathe_DequantizeOp : Lathe_Quantization<"dequantize"> {
  let summary = "The values that quantized ones stand for";
  let description = [{
    `(q - zero_point) * scale`, in f32 at least. Per tensor (no `axis`), the scale is a scalar; per axis, it has rank 1 and the
    extent of `axis`; in blocks of `block_size` elements along `axis`, it has the input's dimensions, but for
    `ceil(extent / block_size)` along `axis`. Constraints: (C1) `axis` is within the rank; (C2) `block_size` is at least 1
    and comes with an `axis`; (C3) the rank of the scale is as said; (C4) so are its dimensions; (C5) the zero point has the
    scale's shape; (C6) the result is of floats; (C7) the input is of integers of at most 32 bits but no `i1`, of 8-bit
    floats, or of f32, as `lathe.codebook_lookup` gives it; (C8) the zero point's type is the input's, or the scale's: a zero
    point between two integers.

    ```mlir
    %x = lathe.dequantize %q, %s {axis = 1 : i64, block_size = 32 : i64} : (tensor<?x64xi4>, tensor<?x2xf32>) -> tensor<?x64xf32>
    ```
  }];
}

def Lathe_CodebookLookupOp : Lathe_TensorOp<"codebook_lookup"> {
  let summary = "The values that codes stand for in a codebook";
  let description = [{
    Of a codebook [entries] the entry of each code; of one [entries, d] each code gives d elements along `axis`, whose extent is
    d times the codes'. Codes are unsigned; one that is not less than the number of entries stands for the last. Constraints: (C1) codes
    are integers of at most 16 bits; (C2) the codebook has rank 1, or rank 2 and there is an `axis`; (C3) `axis` is within the rank of
    the codes; (C4) the codebook has at least one entry, of at least one element, and its extents are static; (C5) the result is of the
    codebook's type. Source: Gersho and Gray, Vector Quantization and Signal Compression (1992), chapter 10.

    ```mlir
    %x = lathe.codebook_lookup %c, %t : (tensor<?x64xui4>, tensor<16xf32>) -> tensor<?x64xf32>
    %y = lathe.codebook_lookup %d, %v {axis = 1 : i64} : (tensor<?x16xui8>, tensor<256x4xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Lathe_AnyIntTensor:$codes, Lathe_AnyFloatTensor:$codebook, OptionalAttr<I64Attr>:$axis);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_DequantizeLog2Op : Lathe_TensorOp<"dequantize_log2"> {
  let summary = "The values that codes of powers of two stand for";
  let description = [{
    A code of b bits is a sign, its highest bit, and a number m of b - 1 bits: 0 stands for 0, any other m for
    `2^(m - (2^(b-1) - 1))`, 1 at most, and that times the scale, negative where the sign is set, is the value. `scale`, `axis` and `block_size` are as for `lathe.dequantize`
    (C1 to C4); (C5) codes are unsigned integers of 2 to 8 bits; (C6) the result is of floats. Source: Miyashita, Lee, Murmann,
    Convolutional Neural Networks using Logarithmic Data Representation (2016).

    ```mlir
    %w = lathe.dequantize_log2 %c, %s {axis = 1 : i64} : (tensor<?x64xui4>, tensor<64xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, Lathe_AnyFloatTensor:$scale, OptionalAttr<I64Attr>:$axis,
      OptionalAttr<I64Attr>:$block_size);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

//===----------------------------------------------------------------------===//
// Matrix products, reductions, norms
//===----------------------------------------------------------------------===//

def Lathe_MatmulOp : Lathe_TensorOp<"matmul", [SameOperandsAndResultElementType]> {
  let summary = "Matrix product of the last two axes, the others broadcast";
  let description = [{
    Operands have rank 2 or more. `transpose_lhs` and `transpose_rhs` say that the operand's last two axes stand
    swapped. Constraints: (C1) ranks are at least 2; (C2) the inner dimensions are equal; (C3) the leading dimensions
    broadcast.

    ```mlir
    %r = lathe.matmul %a, %b {transpose_rhs} : (tensor<?x?x8xf32>, tensor<4x8xf32>) -> tensor<?x?x4xf32>
    ```
  }];
  let arguments = (ins Lathe_AnyNumberTensor:$lhs, Lathe_AnyNumberTensor:$rhs, UnitAttr:$transpose_lhs, UnitAttr:$transpose_rhs);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_Reduction : I32EnumAttr<"Reduction", "kind of a reduction", [
    I32EnumAttrCase<"sum", 0>, I32EnumAttrCase<"mean", 1>, I32EnumAttrCase<"max", 2>, I32EnumAttrCase<"min", 3>,
    I32EnumAttrCase<"prod", 4>, I32EnumAttrCase<"l1", 5>, I32EnumAttrCase<"l2", 6>,
    I32EnumAttrCase<"sum_square", 7>]> {
  let cppNamespace = "::lathe";
  let genSpecializedAttr = 0;
}
def Lathe_ReductionAttr : EnumAttr<Lathe_Dialect, Lathe_Reduction, "reduction"> {
  let assemblyFormat = "$value";
}

def Lathe_ReduceOp : Lathe_TensorOp<"reduce", [SameOperandsAndResultElementType]> {
  let summary = "Reduction over axes";
  let description = [{
    `axes` are sorted, distinct and within the rank (C1). Reduced axes stay with extent 1 under `keep_dims`, else they
    are dropped. Over no element `sum`, `l1`, `l2`, `sum_square` give 0, `prod` 1, `max` and `min` the lowest and highest value
    (infinities for floats), `mean` NaN. 

    ```mlir
    %r = lathe.reduce mean %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
    ```
  }];
  let arguments = (ins Lathe_ReductionAttr:$kind, Lathe_AnyNumberTensor:$input, DenseI64ArrayAttr:$axes, UnitAttr:$keep_dims);
  let assemblyFormat = "$kind operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_SoftmaxOp : Lathe_TensorOp<"softmax", [SameOperandsAndResultElementType]> {
  let summary = "Softmax along an axis";
  let description = [{
    `exp(x - max) / sum(exp(x - max))` along `axis`, which is within the rank (C1). A row of minus infinities gives NaN.

    ```mlir
    %r = lathe.softmax %x {axis = 1 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins Lathe_AnyFloatTensor:$input, I64Attr:$axis);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_LayerNormOp : Lathe_TensorOp<"layer_norm", [SameOperandsAndResultElementType]> {
  let summary = "Layer normalization";
  let description = [{
    `(x - mean) / sqrt(variance + epsilon) * scale + bias`, mean and (biased) variance over the axes from `axis` to the
    last, in f32 at least. `scale` and `bias` broadcast to the input (C1: without enlarging it); `axis` is within the rank (C2).
    Source: Ba, Kiros, Hinton, Layer Normalization (2016).

    ```mlir
    %r = lathe.layer_norm %x, %scale, %bias {axis = 1 : i64, epsilon = 1.0e-12 : f64}
       : (tensor<?x4xf32>, tensor<4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins Lathe_AnyFloatTensor:$input, Lathe_AnyFloatTensor:$scale, Optional<Lathe_AnyFloatTensor>:$bias,
      I64Attr:$axis, F64Attr:$epsilon);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_RmsNormOp : Lathe_TensorOp<"rms_norm", [SameOperandsAndResultElementType]> {
  let summary = "Root mean square normalization";
  let description = [{
    `x / sqrt(mean(x^2) + epsilon) * scale`, the mean over the axes from `axis` to the last. Constraints as for
    `lathe.layer_norm`. Source: Zhang and Sennrich, Root Mean Square Layer Normalization (2019).

    ```mlir
    %r = lathe.rms_norm %x, %scale {axis = 1 : i64, epsilon = 1.0e-6 : f64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins Lathe_AnyFloatTensor:$input, Lathe_AnyFloatTensor:$scale, I64Attr:$axis, F64Attr:$epsilon);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_CumSumOp : Lathe_TensorOp<"cumsum", [SameOperandsAndResultElementType]> {
  let summary = "Running sum along an axis";
  let description = [{
    `exclusive` leaves out the element itself, `reverse` sums from the end. `axis` is within the rank (C1).

    ```mlir
    %r = lathe.cumsum %x {axis = 1 : i64} : (tensor<?x4xi32>) -> tensor<?x4xi32>
    ```
  }];
  let arguments = (ins Lathe_AnyNumberTensor:$input, I64Attr:$axis, UnitAttr:$exclusive, UnitAttr:$reverse);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_TopKOp : Lathe_TensorOp<"top_k"> {
  let summary = "Indices of the largest or smallest elements along an axis";
  let description = [{
    The indices of the `k` largest elements along `axis`, or smallest under `smallest`, best first; of equal elements the
    first comes first. NaN counts as larger than any number. `lathe.gather_elements` gives the elements themselves.
    `axis` is within the rank (C1) and `k` at most its extent (C2).

    ```mlir
    %i = lathe.top_k %x, %k {axis = 1 : i64} : tensor<?x4xf32> -> tensor<?x2xi64>
    ```
  }];
  let arguments = (ins Lathe_AnyNumberTensor:$input, Index:$k, I64Attr:$axis, UnitAttr:$smallest);
  let results = (outs Lathe_AnyIntTensor:$result);
  let assemblyFormat = "operands attr-dict `:` type($input) `->` type($result)";
}

//===----------------------------------------------------------------------===//
// Movement
//===----------------------------------------------------------------------===//

def Lathe_TransposeOp : Lathe_TensorOp<"transpose", [SameOperandsAndResultElementType]> {
  let summary = "Permutation of axes";
  let description = [{
    Axis i of the result is axis `permutation[i]` of the input; `permutation` is one of the rank (C1).

    ```mlir
    %r = lathe.transpose %x {permutation = array<i64: 1, 0>} : (tensor<?x4xf32>) -> tensor<4x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, DenseI64ArrayAttr:$permutation);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
  let hasFolder = 1;
}

def Lathe_ReshapeOp : Lathe_TensorOp<"reshape", [AllElementTypesMatch<["input", "result"]>]> {
  let summary = "The same elements in row-major order under another shape";
  let description = [{
    One operand a dimension of the result. At most one may be the constant -1 (C1): it follows from the others. Under
    `zero_copies` a constant 0 copies the input's dimension at the same place (C2: which exists). The number of
    elements stays the same (C3).

    ```mlir
    %r = lathe.reshape %x [%batch, %c4] : tensor<?x2x2xf32> -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, Variadic<Index>:$dims, UnitAttr:$zero_copies);
  let assemblyFormat = "$input `[` $dims `]` attr-dict `:` type($input) `->` type($result)";
  let hasFolder = 1;
}

def Lathe_BroadcastOp : Lathe_TensorOp<"broadcast", [AllElementTypesMatch<["input", "result"]>]> {
  let summary = "Broadcast of a tensor and a shape";
  let description = [{
    The result's shape is numpy's broadcast of the input's shape and `dims` (C1: they fit), so that a 1 in `dims` leaves the input's
    dimension as it is.

    ```mlir
    %r = lathe.broadcast %x [%batch, %c4] : tensor<1x4xf32> -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, Variadic<Index>:$dims);
  let assemblyFormat = "$input `[` $dims `]` attr-dict `:` type($input) `->` type($result)";
  let hasFolder = 1;
}

def Lathe_ConcatOp : Lathe_TensorOp<"concat", [SameOperandsAndResultElementType]> {
  let summary = "Tensors one behind the other along an axis";
  let description = [{
    At least one operand (C1); equal ranks (C2); `axis` within the rank (C3); other dimensions equal (C4).

    ```mlir
    %r = lathe.concat %a, %b {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x3xf32>) -> tensor<?x7xf32>
    ```
  }];
  let arguments = (ins Variadic<AnyRankedTensor>:$inputs, I64Attr:$axis);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
  let hasFolder = 1;
}

def Lathe_SliceOp : Lathe_TensorOp<"slice", [AttrSizedOperandSegments, AllElementTypesMatch<["input", "result"]>]> {
  let summary = "Every step-th element from start up to end, along some axes";
  let description = [{
    As numpy's `x[start:end:step]`: negative bounds count from the end, and bounds are clamped. `axes` are distinct
    and within the rank (C1), one start, end and step each (C2); steps are not 0 (C3).

    ```mlir
    %r = lathe.slice %x from [%c0] to [%c2] {axes = array<i64: 1>, steps = array<i64: 1>} : tensor<?x4xf32> -> tensor<?x2xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, Variadic<Index>:$starts, Variadic<Index>:$ends, DenseI64ArrayAttr:$axes,
      DenseI64ArrayAttr:$steps);
  let assemblyFormat = "$input `from` `[` $starts `]` `to` `[` $ends `]` attr-dict `:` type($input) `->` type($result)";
}

def Lathe_GatherOp : Lathe_TensorOp<"gather", [AllElementTypesMatch<["input", "result"]>]> {
  let summary = "Slices of a tensor chosen by indices along an axis";
  let description = [{
    The result's shape is the input's with `axis` replaced by the shape of `indices`. Negative indices count from the end; an index out
    of bounds is an error of the run. `axis` is within the rank (C1).

    ```mlir
    %r = lathe.gather %x, %i {axis = 0 : i64} : (tensor<10x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, Lathe_AnyIntTensor:$indices, I64Attr:$axis);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_GatherElementsOp : Lathe_TensorOp<"gather_elements", [AllElementTypesMatch<["input", "result"]>]> {
  let summary = "One element for each index, along an axis";
  let description = [{
    `r[i][j] = x[index[i][j]][j]` for axis 0, and so on. Ranks are equal (C1), `axis` is within them (C2), and the indices'
    other dimensions are at most the input's (C3). Indices as for `lathe.gather`.

    ```mlir
    %r = lathe.gather_elements %x, %i {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, Lathe_AnyIntTensor:$indices, I64Attr:$axis);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_GatherNDOp : Lathe_TensorOp<"gather_nd", [AllElementTypesMatch<["input", "result"]>]> {
  let summary = "Slices of a tensor chosen by tuples of indices";
  let description = [{
    The last axis of `indices`, of static extent (C1), holds tuples that index the input's axes from `batch_dims` on;
    the first `batch_dims` dimensions of both are equal (C2). Indices as for `lathe.gather`.

    ```mlir
    %r = lathe.gather_nd %x, %i {batch_dims = 0 : i64} : (tensor<?x?xi1>, tensor<?x1x2xi64>) -> tensor<?x1xi1>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, Lathe_AnyIntTensor:$indices, I64Attr:$batch_dims);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_PadOp : Lathe_TensorOp<"pad", [AttrSizedOperandSegments, AllElementTypesMatch<["input", "value", "result"]>]> {
  let summary = "A tensor within a larger or smaller frame of one value";
  let description = [{
    `r[i] = x[i - low]` where that lies within the input, else `value`, a scalar (C1). One low pad and one extent of the
    result an axis (C2); extents are at least 0 (C3). What follows behind the input is told by the extents alone, and pads may be
    negative: they cut.

    ```mlir
    %r = lathe.pad %x with %zero low [%c0, %c1] extents [%batch, %c6]
       : tensor<?x4xf32>, tensor<f32> -> tensor<?x6xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, AnyRankedTensor:$value, Variadic<Index>:$low, Variadic<Index>:$extents);
  let assemblyFormat = [{$input `with` $value `low` `[` $low `]` `extents` `[` $extents `]` attr-dict `:`
    type($input) `,` type($value) `->` type($result)}];
}

def Lathe_WindowsOp : Lathe_TensorOp<"windows", [AttrSizedOperandSegments, AllElementTypesMatch<["input", "result"]>]> {
  let summary = "Windows that slide over the last axes";
  let description = [{
    What convolutions and pools read: `[b…, s1…sr]` becomes `[b…, o1…or, k1…kr]` with

        r[b…, o…, k…] = x'[b…, o * stride + k * dilation - low]

    where x' is the input with `base_dilation - 1` paddings between neighbours, and `padding` everywhere outside. So trailing
    pads and the rounding of extents are a matter of `extents` alone, a base dilation above 1 makes the windows of
    a transposed convolution, and a negative dilation reads a window backwards.

    A kernel size, a low pad, an extent, a stride, a dilation and a base dilation for each of the r axes, which are one
    or more and within the rank (C1). Strides and base dilations are from 1 to 2^31 - 1, dilations at most that
    in magnitude (C2); kernel sizes and extents are at least 0 (C3). `padding` is converted to the element type: for integers
    infinities are the lowest and highest value.

    ```mlir
    %r = lathe.windows %x kernel [%c3] low [%c1] extents [%n]
        {strides = array<i64: 1>, dilations = array<i64: 1>, base_dilations = array<i64: 1>, padding = 0.0 : f64}
        : tensor<?x80x?xf32> -> tensor<?x80x?x3xf32>
    ```
  }];
  let arguments = (ins Lathe_AnyNumberTensor:$input, Variadic<Index>:$kernel, Variadic<Index>:$low,
      Variadic<Index>:$extents, DenseI64ArrayAttr:$strides, DenseI64ArrayAttr:$dilations,
      DenseI64ArrayAttr:$base_dilations, F64Attr:$padding);
  let assemblyFormat = [{$input `kernel` `[` $kernel `]` `low` `[` $low `]` `extents` `[` $extents `]` attr-dict `:`
    type($input) `->` type($result)}];
}

def Lathe_ScatterKind : I32EnumAttr<"ScatterKind", "what a scattered element does to the one at its place", [
    I32EnumAttrCase<"assign", 0>, I32EnumAttrCase<"add", 1>, I32EnumAttrCase<"mul", 2>, I32EnumAttrCase<"max", 3>,
    I32EnumAttrCase<"min", 4>]> {
  let cppNamespace = "::lathe";
  let genSpecializedAttr = 0;
}
def Lathe_ScatterKindAttr : EnumAttr<Lathe_Dialect, Lathe_ScatterKind, "scatter"> {
  let assemblyFormat = "$value";
}

def Lathe_ScatterElementsOp : Lathe_TensorOp<"scatter_elements", [AllElementTypesMatch<["input", "updates", "result"]>]> {
  let summary = "A tensor with one element changed for each index, along an axis";
  let description = [{
    The input, after `r[index[i][j]][j] = u[i][j]` for axis 0, and so on, or after `+=`, `*=`, maximum and minimum for the other kinds; elements
    with the same index are taken in row-major order. Ranks are equal (C1), `axis` is within them (C2), `updates` has the shape of the
    indices (C3), whose other dimensions are at most the input's (C4). Indices as for `lathe.gather`.

    ```mlir
    %r = lathe.scatter_elements add %x, %i, %u {axis = 1 : i64}
       : (tensor<?x4xf32>, tensor<?x2xi64>, tensor<?x2xf32>) -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins Lathe_ScatterKindAttr:$kind, AnyRankedTensor:$input, Lathe_AnyIntTensor:$indices, AnyRankedTensor:$updates,
      I64Attr:$axis);
  let assemblyFormat = "$kind operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_ScatterNDOp : Lathe_TensorOp<"scatter_nd", [AllElementTypesMatch<["input", "updates", "result"]>]> {
  let summary = "A tensor with one slice changed for each tuple of indices";
  let description = [{
    The input, after the slice at each tuple of indices, which the last axis of `indices` holds (C1: its extent is static, from 1 to the
    input's rank), was replaced by, or combined with, a slice of `updates`; in row-major order. The shape of `updates` is that of the
    indices without the last axis, and then that of the slices (C2). Indices as for `lathe.gather`.

    ```mlir
    %r = lathe.scatter_nd assign %x, %i, %u : (tensor<?x4xf32>, tensor<?x1xi64>, tensor<?x4xf32>) -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins Lathe_ScatterKindAttr:$kind, AnyRankedTensor:$input, Lathe_AnyIntTensor:$indices, AnyRankedTensor:$updates);
  let assemblyFormat = "$kind operands attr-dict `:` functional-type(operands, results)";
}

def Lathe_RangeOp : Lathe_TensorOp<"range"> {
  let summary = "start, start + step, … below limit";
  let description = [{
    The element type is an integer. A step of 0 is an error of the run (C1: a constant step is not 0).

    ```mlir
    %r = lathe.range %start, %limit, %step : tensor<?xi64>
    ```
  }];
  let arguments = (ins Index:$start, Index:$limit, Index:$step);
  let results = (outs Lathe_AnyIntTensor:$result);
  let assemblyFormat = "operands attr-dict `:` type($result)";
}

//===----------------------------------------------------------------------===//
// Constants
//===----------------------------------------------------------------------===//

def Lathe_ConstantOp : Lathe_Op<"constant", [Pure, ConstantLike, DeclareOpInterfaceMethods<Lathe_SymbolicShapeOpInterface>,
    AllTypesMatch<["value", "result"]>]> {
  let summary = "A small constant, kept in the IR";
  let description = [{
    ```mlir
    %c = lathe.constant dense<[1.0, 2.0]> : tensor<2xf32>
    ```
  }];
  let arguments = (ins ElementsAttr:$value);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "attr-dict $value";
  let hasFolder = 1;
}

def Lathe_WeightOp : Lathe_Op<"weight", [Pure, DeclareOpInterfaceMethods<Lathe_SymbolicShapeOpInterface>]> {
  let summary = "A constant that is a range of bytes of a file";
  let description = [{
    `file` is relative to the module's `lathe.model_dir`; the bytes are row-major, little-endian, and as many as the type takes
    (C1), of integers below 8 bits one for each. The bytes are mapped when they are needed and never enter the IR. `name` is the model's name of it.

    ```mlir
    %w = lathe.weight "layer.0.weight" in "model.safetensors" at 128 : tensor<4x8xf32>
    ```
  }];
  let arguments = (ins StrAttr:$name, StrAttr:$file, I64Attr:$offset);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$name `in` $file `at` $offset attr-dict `:` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Shapes as values
//===----------------------------------------------------------------------===//

def Lathe_SymbolOp : Lathe_Op<"symbol", [Pure]> {
  let summary = "Value of a symbolic dimension";
  let description = [{
    ```mlir
    %b = lathe.symbol "batch"
    ```
  }];
  let arguments = (ins StrAttr:$name);
  let results = (outs Index:$result);
  let assemblyFormat = "$name attr-dict";
}

def Lathe_DimOp : Lathe_Op<"dim", [Pure]> {
  let summary = "Extent of an axis";
  let description = [{
    `axis` is within the rank (C1).

    ```mlir
    %d = lathe.dim %x {axis = 0 : i64} : tensor<?x4xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, I64Attr:$axis);
  let results = (outs Index:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Lathe_ShapeOfOp : Lathe_TensorOp<"shape_of"> {
  let summary = "The shape as a tensor of integers";
  let description = [{
    ```mlir
    %s = lathe.shape_of %x : tensor<?x4xf32> -> tensor<2xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input);
  let results = (outs RankedTensorOf<[I64]>:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}

def Lathe_FromIndexOp : Lathe_TensorOp<"from_index"> {
  let summary = "Index values as a tensor";
  let description = [{
    One index value makes a scalar or a tensor of one element, more (or none) a tensor of rank 1 (C1).

    ```mlir
    %t = lathe.from_index %a, %b : tensor<2xi64>
    ```
  }];
  let arguments = (ins Variadic<Index>:$values);
  let results = (outs Lathe_AnyIntTensor:$result);
  let assemblyFormat = "($values^)? attr-dict `:` type($result)";
}

def Lathe_ToIndexOp : Lathe_Op<"to_index", [Pure]> {
  let summary = "An element of an integer tensor as an index value";
  let description = [{
    The tensor's rank is 0 or 1 (C1); `position` lies within a static extent (C2).

    ```mlir
    %i = lathe.to_index %t {position = 1 : i64} : tensor<2xi64>
    ```
  }];
  let arguments = (ins Lathe_AnyIntTensor:$input, I64Attr:$position);
  let results = (outs Index:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Lathe_RequireOp : Lathe_Op<"require"> {
  let summary = "A condition that a run must satisfy";
  let description = [{
    Where `condition` is 0, the run ends with the message, the expressions of `values`, and the node that the operation's
    location names. It is tested when inputs are bound or, if the condition is computed from what the run computes, as soon as
    that is known, and before a buffer whose size depends on that is used.

    ```mlir
    lathe.require %c1, "expects an axis within rank 3" got %axis
    ```
  }];
  let arguments = (ins Index:$condition, StrAttr:$message, Variadic<Index>:$values);
  let assemblyFormat = "$condition `,` $message (`got` $values^)? attr-dict";
}

#endif // LATHE_DIALECTS_LATHE_LATHEOPS_TD
