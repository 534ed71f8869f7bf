// RUN: lathe-opt %s --narrow-attention | FileCheck %s
// RUN: lathe-opt %s --narrow-attention=type=f16 | FileCheck %s --check-prefix=F16
// RUN: not lathe-opt %s --narrow-attention=type=i8 2>&1 | FileCheck %s --check-prefix=ERROR
// ERROR: error: expects a type of bf16 or f16, got 'i8'

// CHECK-LABEL: func.func @single
// F16-LABEL: func.func @single
// F16: lathe.attention {{.*}} {arithmetic = f16, scale
// CHECK: lathe.attention {{.*}} {arithmetic = bf16, scale = 2.500000e-01 : f64}
func.func @single(%q: tensor<2x3x8xf32>) -> tensor<2x3x8xf32> {
  %0 = lathe.attention %q, %q, %q {scale = 0.25 : f64} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
  return %0 : tensor<2x3x8xf32>
}

// What was chosen for it before stays.
// CHECK-LABEL: func.func @bytes
// CHECK: lathe.attention {{.*}} {arithmetic = i8}
func.func @bytes(%q: tensor<2x3x8xf32>) -> tensor<2x3x8xf32> {
  %0 = lathe.attention %q, %q, %q {arithmetic = i8} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
  return %0 : tensor<2x3x8xf32>
}

// Other types have arithmetic of their own.
// CHECK-LABEL: func.func @half
// CHECK: lathe.attention %{{.*}}, %{{.*}}, %{{.*}} : (tensor<2x3x8xf16>
func.func @half(%q: tensor<2x3x8xf16>) -> tensor<2x3x8xf16> {
  %0 = lathe.attention %q, %q, %q : (tensor<2x3x8xf16>, tensor<2x3x8xf16>, tensor<2x3x8xf16>) -> tensor<2x3x8xf16>
  return %0 : tensor<2x3x8xf16>
}
