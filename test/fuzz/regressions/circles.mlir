// passes: 31
func.func @main(%x: tensor<?xf32> {lathe.dims = ["n"], lathe.name = "x"}) -> (tensor<?xf32> {lathe.name = "y"}) {
  return %x : tensor<?xf32>
^bb1:
  %a = lathe.add %b, %b : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %b = lathe.add %a, %a : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %i = arith.addi %j, %j : index
  %j = arith.addi %i, %i : index
  %c = lathe.broadcast %b [%i] : tensor<?xf32> -> tensor<?xf32>
  %d = lathe.add %c, %c : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %s = lathe.add %t, %t : (tensor<2xi64>, tensor<2xi64>) -> tensor<2xi64>
  %t = lathe.add %s, %s : (tensor<2xi64>, tensor<2xi64>) -> tensor<2xi64>
  %k = lathe.to_index %t {position = 0 : i64} : tensor<2xi64>
  %e = lathe.broadcast %d [%k] : tensor<?xf32> -> tensor<?xf32>
  cf.br ^bb1
}
