// RUN: lathe-opt %s -split-input-file --cpu-vectorize-loops --canonicalize --cse | FileCheck %s

// A loop over whole vectors, and a masked one for what is left of a length that is not known.
// CHECK-LABEL: func.func private @elementwise
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C16:.*]] = arith.constant 16 : index
// CHECK-DAG: %[[STEPS:.*]] = arith.constant dense<[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]> : vector<16xi32>
// CHECK: scf.for %[[I:.*]] =
// CHECK:   scf.for %[[J:.*]] = %[[C0]] to %[[WHOLE:.*]] step %[[C16]] {
// CHECK:     %[[X:.*]] = vector.load %{{.*}}[%[[I]], %[[J]]] : memref<?x?xf32>, vector<16xf32>
// CHECK:     %[[S:.*]] = memref.load %{{.*}}[%[[I]]]
// CHECK:     %[[V:.*]] = vector.broadcast %[[S]] : f32 to vector<16xf32>
// CHECK:     %[[Y:.*]] = arith.addf %[[X]], %[[V]] : vector<16xf32>
// CHECK:     vector.store %[[Y]], %{{.*}}[%[[I]], %[[J]]]
// CHECK:   scf.for %[[K:.*]] = %[[WHOLE]] to %[[N:.*]] step %[[C16]] {
// CHECK:     %[[LEFT:.*]] = arith.subi %[[N]], %[[K]]
// CHECK:     %[[MASK:.*]] = arith.cmpi sgt, %{{.*}}, %[[STEPS]] : vector<16xi32>
// CHECK:     vector.maskedload %{{.*}}[%[[I]], %[[K]]], %[[MASK]]
// CHECK:     vector.maskedstore %{{.*}}[%[[I]], %[[K]]], %[[MASK]]
func.func private @elementwise(%x: memref<?x?xf32>, %s: memref<?xf32>, %y: memref<?x?xf32>, %m: index, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %m step %c1 {
    scf.for %j = %c0 to %n step %c1 {
      %0 = memref.load %x[%i, %j] : memref<?x?xf32>
      %1 = memref.load %s[%i] : memref<?xf32>
      %2 = arith.addf %0, %1 : f32
      memref.store %2, %y[%i, %j] : memref<?x?xf32>
    }
  }
  return
}

// -----

// Four sums side by side, whose halves are added until one number is left. 144 = 2 * 64 + 16: nothing needs a mask.
// CHECK-LABEL: func.func private @sum
// CHECK-DAG: %[[NONE:.*]] = arith.constant dense<-0.000000e+00> : vector<16xf32>
// CHECK: %[[SUMS:.*]]:4 = scf.for {{.*}} iter_args(%{{.*}} = %[[NONE]], %{{.*}} = %[[NONE]], %{{.*}} = %[[NONE]], %{{.*}} = %[[NONE]])
// CHECK-COUNT-4: vector.load
// CHECK: %[[A:.*]] = arith.addf %[[SUMS]]#0, %[[SUMS]]#1
// CHECK: %[[B:.*]] = arith.addf %[[SUMS]]#2, %[[SUMS]]#3
// CHECK: arith.addf %[[A]], %[[B]]
// CHECK-NOT: maskedload
// CHECK: vector.load
// CHECK: vector.shuffle {{.*}} [8, 9, 10, 11, 12, 13, 14, 15]
// CHECK: %[[LAST:.*]] = vector.extract %{{.*}}[0]
// CHECK: arith.addf %[[LAST]], %{{.*}}
func.func private @sum(%x: memref<144xf32>, %y: memref<1xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c144 = arith.constant 144 : index
  %start = arith.constant 2.0 : f32
  %sum = scf.for %j = %c0 to %c144 step %c1 iter_args(%state = %start) -> (f32) {
    %0 = memref.load %x[%j] : memref<144xf32>
    %1 = arith.addf %state, %0 fastmath<reassoc> : f32
    scf.yield %1 : f32
  }
  memref.store %sum, %y[%c0] : memref<1xf32>
  return
}

// -----

// The greatest that is no NaN is a comparison and a choice, which processors have as one instruction.
// CHECK-LABEL: func.func private @maximum
// CHECK: scf.for
// CHECK: %[[GREATER:.*]] = arith.cmpf ogt, %[[X:.*]], %[[BEST:.*]] : vector<16xf32>
// CHECK: arith.select %[[GREATER]], %[[X]], %[[BEST]]
func.func private @maximum(%x: memref<?xf32>, %n: index, %y: memref<1xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %low = arith.constant 0xFF800000 : f32
  %best = scf.for %j = %c0 to %n step %c1 iter_args(%state = %low) -> (f32) {
    %0 = memref.load %x[%j] : memref<?xf32>
    %1 = arith.maxnumf %state, %0 : f32
    scf.yield %1 : f32
  }
  memref.store %best, %y[%c0] : memref<1xf32>
  return
}

// -----

// Both branches of a condition that differs from lane to lane are computed, each for its lanes; one element that only some of
// them may ask for is read where there are any.
// CHECK-LABEL: func.func private @branches
// CHECK: scf.for %[[J:.*]] =
// CHECK:   %[[FIRST:.*]] = arith.cmpi slt, %{{.*}}, %{{.*}} : vector<16xindex>
// CHECK:   %[[A:.*]] = vector.maskedload %{{.*}}[%[[J]]], %[[FIRST]]
// CHECK:   %[[OTHERS:.*]] = arith.xori %[[FIRST]]
// CHECK:   %[[ANY:.*]] = vector.reduction <or>, %[[OTHERS]]
// CHECK:   %[[ONE:.*]] = scf.if %[[ANY]]
// CHECK:     memref.load
// CHECK:   %[[B:.*]] = vector.broadcast %[[ONE]]
// CHECK:   arith.select %[[FIRST]], %[[A]], %[[B]]
func.func private @branches(%x: memref<?xf32>, %z: memref<?xf32>, %p: index, %at: index, %y: memref<160xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c160 = arith.constant 160 : index
  scf.for %j = %c0 to %c160 step %c1 {
    %0 = arith.cmpi slt, %j, %p : index
    %1 = scf.if %0 -> (f32) {
      %2 = memref.load %x[%j] : memref<?xf32>
      scf.yield %2 : f32
    } else {
      %2 = memref.load %z[%at] : memref<?xf32>
      scf.yield %2 : f32
    }
    memref.store %1, %y[%j] : memref<160xf32>
  }
  return
}

// -----

// The outer loop's iterations read what follows in memory: sums of columns are kept in one vector for all of the inner loop.
// CHECK-LABEL: func.func private @columns
// CHECK: scf.for %[[J:.*]] = {{.*}} step %c16
// CHECK:   scf.for %[[K:.*]] = {{.*}} iter_args(%{{.*}}) -> (vector<16xf32>)
// CHECK:     vector.load %{{.*}}[%[[K]], %[[J]]]
// CHECK:   vector.store
func.func private @columns(%x: memref<?x32xf32>, %n: index, %y: memref<32xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c32 = arith.constant 32 : index
  %zero = arith.constant 0.0 : f32
  scf.for %j = %c0 to %c32 step %c1 {
    %sum = scf.for %k = %c0 to %n step %c1 iter_args(%state = %zero) -> (f32) {
      %0 = memref.load %x[%k, %j] : memref<?x32xf32>
      %1 = arith.addf %state, %0 fastmath<reassoc> : f32
      scf.yield %1 : f32
    }
    memref.store %sum, %y[%j] : memref<32xf32>
  }
  return
}

// -----

// Where the inner loop's iterations do, it is the one.
// CHECK-LABEL: func.func private @rows
// CHECK: scf.for %[[J:.*]] = {{.*}} step %c1
// CHECK:   scf.for %[[K:.*]] = {{.*}} step %c64 iter_args({{.*}}) -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>)
// CHECK:     vector.load %{{.*}}[%[[J]], %[[K]]]
// CHECK:   memref.store
func.func private @rows(%x: memref<?x128xf32>, %n: index, %y: memref<?xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c128 = arith.constant 128 : index
  %zero = arith.constant 0.0 : f32
  scf.for %j = %c0 to %n step %c1 {
    %sum = scf.for %k = %c0 to %c128 step %c1 iter_args(%state = %zero) -> (f32) {
      %0 = memref.load %x[%j, %k] : memref<?x128xf32>
      %1 = arith.addf %state, %0 fastmath<reassoc> : f32
      scf.yield %1 : f32
    }
    memref.store %sum, %y[%j] : memref<?xf32>
  }
  return
}

// -----

// What the model demands of each element is demanded of those that there are.
// CHECK-LABEL: func.func private @check
// CHECK: scf.for
// CHECK:   %[[OK:.*]] = arith.cmpi sge, %{{.*}} : vector<8xi64>
// CHECK:   %[[ALL:.*]] = vector.reduction <and>, %[[OK]] : vector<8xi1> into i1
// CHECK:   kernel.check %{{.*}}, %[[ALL]]
// CHECK: scf.for
// CHECK:   %[[HERE:.*]] = arith.select %{{.*}}, %{{.*}}, %{{.*}} : vector<8xi1>, vector<8xi1>
// CHECK:   vector.reduction <and>, %[[HERE]]
func.func private @check(%frame: !llvm.ptr, %x: memref<?xi64>, %n: index, %y: memref<?xi64>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %zero = arith.constant 0 : i64
  scf.for %j = %c0 to %n step %c1 {
    %0 = memref.load %x[%j] : memref<?xi64>
    %1 = arith.cmpi sge, %0, %zero : i64
    kernel.check %frame, %1 {check = 0 : i64}
    memref.store %0, %y[%j] : memref<?xi64>
  }
  return
}

// -----

// What stays as it is tells why.
// CHECK-LABEL: func.func private @scalar
// CHECK: {kernel.scalar = "combines its state in an order that matters"}
// CHECK: {kernel.scalar = "divides by a number that is not known"}
// CHECK: {kernel.scalar = "reads elements that do not follow one another"}
// CHECK: {kernel.scalar = "reads what other iterations write"}
// CHECK: {kernel.scalar = "writes elements that do not follow one another"}
// CHECK: {kernel.scalar = "has at most two iterations"}
func.func private @scalar(%x: memref<?x?xf32>, %i: memref<?xi32>, %n: index, %y: memref<?xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %zero = arith.constant 0.0 : f32
  %in_order = scf.for %j = %c0 to %n step %c1 iter_args(%state = %zero) -> (f32) {
    %0 = memref.load %x[%c0, %j] : memref<?x?xf32>
    %1 = arith.addf %state, %0 : f32
    scf.yield %1 : f32
  }
  memref.store %in_order, %y[%c0] : memref<?xf32>
  scf.for %j = %c0 to %n step %c1 {
    %0 = memref.load %i[%j] : memref<?xi32>
    %1 = arith.divsi %0, %0 : i32
    memref.store %1, %i[%j] : memref<?xi32>
  }
  scf.for %j = %c0 to %n step %c1 {
    %0 = memref.load %x[%j, %c0] : memref<?x?xf32>
    memref.store %0, %y[%j] : memref<?xf32>
  }
  scf.for %j = %c0 to %n step %c1 {
    %next = arith.addi %j, %c1 : index
    %0 = memref.load %y[%next] : memref<?xf32>
    memref.store %0, %y[%j] : memref<?xf32>
  }
  scf.for %j = %c0 to %n step %c1 {
    memref.store %zero, %x[%j, %c0] : memref<?x?xf32>
  }
  scf.for %j = %c0 to %c2 step %c1 {
    %0 = memref.load %x[%c0, %j] : memref<?x?xf32>
    memref.store %0, %y[%j] : memref<?xf32>
  }
  return
}

// -----

// What is no kernel stays.
// CHECK-LABEL: func.func @run
// CHECK-NOT: vector
func.func @run(%x: memref<?xf32>, %n: index, %y: memref<?xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %j = %c0 to %n step %c1 {
    %0 = memref.load %x[%j] : memref<?xf32>
    memref.store %0, %y[%j] : memref<?xf32>
  }
  return
}
