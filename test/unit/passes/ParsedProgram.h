//===- ParsedProgram.h - A program from text, for tests ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_PASSES_PARSEDPROGRAM_H
#define LATHE_TEST_UNIT_PASSES_PARSEDPROGRAM_H

#include "dialects/lathe/Lathe.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"

#include <string>

namespace lathe::test {

/// A module with a function `main`.
class ParsedProgram {
public:
  explicit ParsedProgram(const std::string &text) {
    context.loadDialect<LatheDialect, mlir::func::FuncDialect, mlir::arith::ArithDialect>();
    module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  }
  mlir::func::FuncOp main() { return module->lookupSymbol<mlir::func::FuncOp>("main"); }
  bool isGood() const { return static_cast<bool>(module); }

private:
  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
};

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_PASSES_PARSEDPROGRAM_H
