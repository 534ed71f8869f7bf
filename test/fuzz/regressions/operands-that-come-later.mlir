// passes: 1
"builtin.module"() ({
  "func.func"() <{function_type = () -> (), sym_name = "main"}> ({
    %0 = "lathe.broadcast"(%1, %2, %3) : (tensor<f32>, index, index) -> tensor<?x?xf32>
    %1 = "lathe.constant"() <{value = dense<0.0> : tensor<f32>}> : () -> tensor<f32>
    %2 = "lathe.symbol"() : () -> index
    %3 = "arith.constant"() : () -> index
    "func.return"() : () -> ()
  }) : () -> ()
}) : () -> ()
