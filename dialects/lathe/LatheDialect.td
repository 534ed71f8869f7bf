//===- LatheDialect.td - The lathe dialect -----------------*- tablegen -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_LATHE_LATHEDIALECT_TD
#define LATHE_DIALECTS_LATHE_LATHEDIALECT_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Lathe_Dialect : Dialect {
  let name = "lathe";
  let cppNamespace = "::lathe";
  let summary = "What a Transformer computes: values on tensors, neutral of target and of exporter";
  let description = [{
    A program is a `func.func` over ranked tensors. Its arguments and results carry `lathe.name` (the model's name of
    the value) and arguments carry `lathe.dims`, one string a dimension: a number, the name of a symbolic dimension,
    or an expression over such names:

    ```mlir
    func.func @main(%ids: tensor<?x?xi64> {lathe.name = "input_ids", lathe.dims = ["batch", "sequence"]})
        -> (tensor<?x?x384xf32> {lathe.name = "hidden"})
    ```

    Operations take axes and the like as attributes, and extents that are not static as operands of type `index`.
    Elementwise operations broadcast as numpy does. Every operation infers the shape of its result over symbolic
    dimensions (`SymbolicShapeOpInterface`); its verifier runs the same code on what the types alone tell.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::func::FuncDialect"];
  let useDefaultAttributePrinterParser = 1;
  let hasConstantMaterializer = 1;
  let extraClassDeclaration = [{
    /// Argument and result attribute: the name of the value in the model (StringAttr).
    static constexpr llvm::StringLiteral kNameAttr = "lathe.name";
    /// Argument attribute: the dimensions as text (ArrayAttr of StringAttr).
    static constexpr llvm::StringLiteral kDimsAttr = "lathe.dims";
    /// Module attribute: declared ranges of symbols, name -> [min, max] (DictionaryAttr of DenseI64ArrayAttr; max -1: none).
    static constexpr llvm::StringLiteral kSymbolsAttr = "lathe.symbols";
    /// Module attribute: folder that file names of `lathe.weight` are relative to (StringAttr).
    static constexpr llvm::StringLiteral kModelDirAttr = "lathe.model_dir";
  }];
}

def Lathe_SymbolicShapeOpInterface : OpInterface<"SymbolicShapeOpInterface"> {
  let cppNamespace = "::lathe";
  let description = [{
    Shape inference over symbolic dimensions. One implementation serves the frontend (which types results with it),
    the verifiers (which run it on what types alone tell), refinement of types, and the plan of memory.
  }];
  let methods = [
    InterfaceMethod<[{
        The shape of the only result. Emits an error on the operation and fails where operands can't fit together
        whatever the values of the symbols; conditions that depend on symbols are recorded in the context.
      }],
      "::mlir::FailureOr<::lathe::SymShape>", "inferSymbolicShape", (ins "::lathe::ShapeContext &":$context)>,
  ];
  let verify = [{ return ::lathe::detail::verifySymbolicShape($_op); }];
}

def Lathe_RegionShapeOpInterface : OpInterface<"RegionShapeOpInterface"> {
  let cppNamespace = "::lathe";
  let description = [{
    Shape inference of operations with regions. As `inferSymbolicShape`, for any tensor among the results, and among the arguments
    of the regions.
  }];
  let methods = [
    InterfaceMethod<"The shape of a result.", "::mlir::FailureOr<::lathe::SymShape>", "inferResultShape",
      (ins "::lathe::ShapeContext &":$context, "unsigned":$result)>,
    InterfaceMethod<"The shape of an argument of a region.", "::mlir::FailureOr<::lathe::SymShape>", "inferArgumentShape",
      (ins "::lathe::ShapeContext &":$context, "unsigned":$argument)>,
  ];
}

class Lathe_Op<string mnemonic, list<Trait> traits = []> : Op<Lathe_Dialect, mnemonic, traits>;

/// An operation on tensors without side effects and with one tensor result whose shape follows from its operands.
class Lathe_TensorOp<string mnemonic, list<Trait> traits = []> :
    Lathe_Op<mnemonic, !listconcat([Pure, DeclareOpInterfaceMethods<Lathe_SymbolicShapeOpInterface>], traits)> {
  let results = (outs AnyRankedTensor:$result);
}

#endif // LATHE_DIALECTS_LATHE_LATHEDIALECT_TD
