// RUN: lathe-opt %s --pass-pipeline='builtin.module(func.func(quantize-caches))' | FileCheck %s --check-prefix=ALL
// RUN: lathe-opt %s --pass-pipeline='builtin.module(func.func(quantize-caches{codes=ui4 group-size=32 rotate names=values.0,values.1}))' | FileCheck %s --check-prefix=SOME
// RUN: not lathe-opt %s --pass-pipeline='builtin.module(func.func(quantize-caches{codes=i3}))' 2>&1 | FileCheck %s --check-prefix=CODES
// RUN: not lathe-opt %s --pass-pipeline='builtin.module(func.func(quantize-caches{group-size=24}))' 2>&1 | FileCheck %s --check-prefix=GROUP

// CODES: error: expects codes of i8, ui8, i4 or ui4, got 'i3'
// GROUP: error: expects a group size of 0 or a multiple of 16, got 24

// Rows of f32 are rounded; what has codes, and what is of another type, stays.
// ALL-LABEL: func.func @main
// ALL: lathe.cache "keys.0" {{.*}} {codes = i8} : tensor<?x4x?x64xf32>
// ALL: lathe.cache "values.0" {{.*}} {codes = i8} : tensor<?x4x?x64xf32>
// ALL: lathe.cache "values.1" {{.*}} {codes = i4, group_size = 16 : i64} : tensor<?x4x?x64xf32>
// ALL: lathe.cache "values.2"[
// ALL-NOT: codes
// ALL: return

// SOME-LABEL: func.func @main
// SOME: lathe.cache "keys.0"
// SOME-NOT: codes
// SOME: lathe.cache "values.0" {{.*}} {codes = ui4, group_size = 32 : i64, rotated} : tensor<?x4x?x64xf32>
// SOME: lathe.cache "values.1" {{.*}} {codes = i4, group_size = 16 : i64} : tensor<?x4x?x64xf32>
func.func @main(%n: tensor<?x4x?x64xf32> {lathe.dims = ["b", "", "s", ""]}, %p: tensor<?xi64> {lathe.dims = ["t"]}) -> (tensor<?x4x?x64xf32>, tensor<?x4x?x64xf32>, tensor<?x4x?x64xf32>, tensor<?x4x?x64xf16>) {
  %c4 = arith.constant 4 : index
  %c64 = arith.constant 64 : index
  %b = lathe.symbol "b"
  %t = lathe.symbol "t"
  %k = lathe.cache "keys.0" %n : tensor<?x4x?x64xf32> [%b, %c4, %t, %c64] : tensor<?x4x?x64xf32>
  %v = lathe.cache "values.0" %n : tensor<?x4x?x64xf32> [%b, %c4, %t, %c64] : tensor<?x4x?x64xf32>
  %w = lathe.cache "values.1" %n : tensor<?x4x?x64xf32> [%b, %c4, %t, %c64] {codes = i4, group_size = 16 : i64} : tensor<?x4x?x64xf32>
  %h = lathe.cache "values.2" [%b, %c4, %t, %c64] : tensor<?x4x?x64xf16>
  return %k, %v, %w, %h : tensor<?x4x?x64xf32>, tensor<?x4x?x64xf32>, tensor<?x4x?x64xf32>, tensor<?x4x?x64xf16>
}
