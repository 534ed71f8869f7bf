// RUN: split-file %s %t
// RUN: lathe-opt %t/named.mlir --cpu-select-kernels | FileCheck %t/named.mlir
// RUN: lathe-opt %t/unnamed.mlir --cpu-select-kernels | FileCheck %t/unnamed.mlir

// A kernel says which output of the model its result is, where its location names one: of several operations in it, the last. A launch has
// its result as the last argument; the product's is where the call says. `reads` are kernels that computed what it reads.

//--- named.mlir

// CHECK: kernel.kernels = [{kind = "matmul", name = "matmul_0", nodes = ["/product"], result = {node = "/product", shape = ["batch", 8], type = f32, value = "product"}},
// CHECK-SAME: {kind = "generated", name = "kernel_1", nodes = ["/sine", "/sum"], reads = array<i64: 0>, result = {argument = {{[0-9]+}} : i64, node = "/sum", rank = {{[12]}} : i64, shape = ["batch", 8], type = f32, value = "sum"}}]
module {
  func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", 4], lathe.name = "x"}, %w: tensor<4x8xf32> {lathe.name = "w"})
      -> (tensor<?x8xf32> {lathe.name = "product"}, tensor<?x8xf32> {lathe.name = "sum"}) {
    %0 = lathe.matmul %x, %w : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> loc("/product"("product":0:0))
    %1 = lathe.sin %0 : (tensor<?x8xf32>) -> tensor<?x8xf32> loc("/sine"("sine":0:0))
    %2 = lathe.add %0, %1 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32> loc("/sum"("sum":0:0))
    return %0, %2 : tensor<?x8xf32>, tensor<?x8xf32>
  }
}

//--- unnamed.mlir

// Locations that name nodes alone, several of which one is not said to be the result's, say nothing.
// CHECK: kernel.kernels = [{kind = "generated", name = "kernel_0", nodes = ["/sine"]}, {kind = "generated", name = "kernel_1", nodes = ["/a", "/b"]}]
module {
  func.func @main(%x: tensor<4xf32> {lathe.name = "x"}, %y: tensor<5xf32> {lathe.name = "y"})
      -> (tensor<4xf32> {lathe.name = "u"}, tensor<5xf32> {lathe.name = "v"}) {
    %0 = lathe.sin %x : (tensor<4xf32>) -> tensor<4xf32> loc("/sine")
    %1 = lathe.sin %y : (tensor<5xf32>) -> tensor<5xf32> loc(fused["/a"("a":0:0), "/b"("b":0:0)])
    return %0, %1 : tensor<4xf32>, tensor<5xf32>
  }
}
