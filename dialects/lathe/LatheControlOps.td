//===- LatheControlOps.td - Branches and loops of lathe ----*- tablegen -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_LATHE_LATHECONTROLOPS_TD
#define LATHE_DIALECTS_LATHE_LATHECONTROLOPS_TD

include "dialects/lathe/LatheDialect.td"

class Lathe_ControlOp<string mnemonic, list<Trait> traits = []> :
    Lathe_Op<mnemonic, !listconcat([RecursiveMemoryEffects, RecursivelySpeculatable,
        DeclareOpInterfaceMethods<Lathe_RegionShapeOpInterface>], traits)> {
  let hasRegionVerifier = 1;
}

def Lathe_IfOp : Lathe_ControlOp<"if", [NoRegionArguments]> {
  let summary = "One of two branches";
  let description = [{
    The first region where the condition is not 0, else the second; only that one is run. Each ends in a `lathe.yield` of as many
    tensors as there are results (C1), of their element types and ranks, and of their extents where both are static (C2). Extents
    that differ between the branches are chosen by the condition.

    ```mlir
    %r = lathe.if %c -> (tensor<?x4xf32>) {
      lathe.yield %a : tensor<2x4xf32>
    } else {
      lathe.yield %b : tensor<3x4xf32>
    }
    ```
  }];
  let arguments = (ins Index:$condition);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let regions = (region SizedRegion<1>:$thenRegion, SizedRegion<1>:$elseRegion);
  let assemblyFormat = "$condition (`->` `(` type($results)^ `)`)? $thenRegion `else` $elseRegion attr-dict";
}

def Lathe_LoopOp : Lathe_ControlOp<"loop"> {
  let summary = "A body that is run again and again";
  let description = [{
    The body is run for the iterations 0, 1, … below `limit`, as long as the condition before it is not 0: at first `condition`, then
    what the body yields first. Its arguments are the number of the iteration and the state (C1), which is at first `init`; it yields
    the condition, the next state and any number of tensors (C2). Results are the number of iterations that were run, the last
    state, and each of those tensors of all iterations along a new first axis of extent max(`limit`, 0), whose entries from the
    number of iterations on are undefined (C3). States keep their types and extents (C4).

    ```mlir
    %count, %last, %all = lathe.loop %n, %c (%init) : (tensor<4xf32>) -> (index, tensor<4xf32>, tensor<?x4xf32>) {
    ^bb0(%i: index, %state: tensor<4xf32>):
      %next = lathe.mul %state, %state : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
      lathe.yield %c, %next, %next : index, tensor<4xf32>, tensor<4xf32>
    }
    ```
  }];
  let arguments = (ins Index:$limit, Index:$condition, Variadic<AnyRankedTensor>:$init);
  let results = (outs Index:$count, Variadic<AnyRankedTensor>:$tensors);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$limit `,` $condition `(` $init `)` `:` functional-type($init, results) $body attr-dict";
  let extraClassDeclaration = [{
    unsigned getNumStates() { return getInit().size(); }
    /// Argument of the body for a state.
    ::mlir::BlockArgument getState(unsigned state) { return getBody().getArgument(state + 1); }
    /// What the body yields for one of the tensors.
    ::mlir::Value getYielded(unsigned tensor) { return getBody().front().getTerminator()->getOperand(tensor + 1); }
    ::mlir::Value getNextCondition() { return getBody().front().getTerminator()->getOperand(0); }
  }];
}

def Lathe_YieldOp : Lathe_Op<"yield", [Pure, Terminator, ParentOneOf<["::lathe::IfOp", "::lathe::LoopOp"]>]> {
  let summary = "Ends a region with what it computes";
  let description = [{
    ```mlir
    lathe.yield %a : tensor<4xf32>
    ```
  }];
  let arguments = (ins Variadic<AnyTypeOf<[Index, AnyRankedTensor]>>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

#endif // LATHE_DIALECTS_LATHE_LATHECONTROLOPS_TD
