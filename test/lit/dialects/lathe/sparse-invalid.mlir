// RUN: lathe-opt %s -verify-diagnostics -split-input-file

// What the verifier of lathe.sparse_to_dense refuses, a constraint (Cn) each.

func.func @c1(%v: tensor<5xf32>, %i: tensor<5xi8>, %p: tensor<5xi32>) {
  // expected-error @below {{expects format 'csr', 'bsr', 'bitmap' or 'n_of_m', got 'coo'}}
  %0 = lathe.sparse_to_dense "coo" %v, %i, %p {shape = array<i64: 4, 9>} : (tensor<5xf32>, tensor<5xi8>, tensor<5xi32>) -> tensor<4x9xf32>
  return
}

// -----

func.func @c2(%v: tensor<?xf32>, %i: tensor<?xi8>, %p: tensor<5xi32>) {
  // expected-error @below {{expects a shape of two extents, none negative or above 2^31, and operands of static shape, got [4, 9]}}
  %0 = lathe.sparse_to_dense "csr" %v, %i, %p {shape = array<i64: 4, 9>} : (tensor<?xf32>, tensor<?xi8>, tensor<5xi32>) -> tensor<4x9xf32>
  return
}

// -----

func.func @c2_extents(%v: tensor<5xf32>, %i: tensor<5xi8>, %p: tensor<5xi32>) {
  // expected-error @below {{expects a shape of two extents}}
  %0 = lathe.sparse_to_dense "csr" %v, %i, %p {shape = array<i64: 4>} : (tensor<5xf32>, tensor<5xi8>, tensor<5xi32>) -> tensor<4x9xf32>
  return
}

// -----

func.func @c3(%v: tensor<5xf64>, %i: tensor<5xi8>, %p: tensor<5xi32>) {
  // expected-error @below {{expects values of f32, f16, bf16 or i8, got 'f64'}}
  %0 = lathe.sparse_to_dense "csr" %v, %i, %p {shape = array<i64: 4, 9>} : (tensor<5xf64>, tensor<5xi8>, tensor<5xi32>) -> tensor<4x9xf64>
  return
}

// -----

func.func @c4(%v: tensor<5xf32>, %i: tensor<4x2xi16>, %p: tensor<5xi32>) {
  // expected-error @below {{expects indices of integers of 8 bits with format 'bitmap', got 'i16'}}
  %0 = lathe.sparse_to_dense "bitmap" %v, %i, %p {shape = array<i64: 4, 9>} : (tensor<5xf32>, tensor<4x2xi16>, tensor<5xi32>) -> tensor<4x9xf32>
  return
}

// -----

func.func @c5_indices(%v: tensor<5xf32>, %i: tensor<4xi8>, %p: tensor<5xi32>) {
  // expected-error @below {{expects indices of shape [5], got 'tensor<4xi8>'}}
  %0 = lathe.sparse_to_dense "csr" %v, %i, %p {shape = array<i64: 4, 9>} : (tensor<5xf32>, tensor<4xi8>, tensor<5xi32>) -> tensor<4x9xf32>
  return
}

// -----

func.func @c5_pointers(%v: tensor<5xf32>, %i: tensor<5xi8>) {
  // expected-error @below {{expects pointers of shape [5], got none}}
  %0 = lathe.sparse_to_dense "csr" %v, %i {shape = array<i64: 4, 9>} : (tensor<5xf32>, tensor<5xi8>) -> tensor<4x9xf32>
  return
}

// -----

func.func @c5_groups(%v: tensor<4x3xf32>, %i: tensor<4x3xi8>) {
  // expected-error @below {{expects values of shape [4, 2], got 'tensor<4x3xf32>'}}
  %0 = lathe.sparse_to_dense "n_of_m" %v, %i {shape = array<i64: 4, 8>, m = 4 : i64, axis = 1 : i64} : (tensor<4x3xf32>, tensor<4x3xi8>) -> tensor<4x8xf32>
  return
}

// -----

func.func @c6_block(%v: tensor<5xf32>, %i: tensor<5xi8>, %p: tensor<5xi32>) {
  // expected-error @below {{expects no block with format 'csr'}}
  %0 = lathe.sparse_to_dense "csr" %v, %i, %p {shape = array<i64: 4, 9>, block = array<i64: 1, 4>} : (tensor<5xf32>, tensor<5xi8>, tensor<5xi32>) -> tensor<4x9xf32>
  return
}

// -----

func.func @c6_groups(%v: tensor<4x4xf32>, %i: tensor<4x4xi8>) {
  // expected-error @below {{expects groups of m = 2 to 16 elements along axis 0 or 1 with format 'n_of_m'}}
  %0 = lathe.sparse_to_dense "n_of_m" %v, %i {shape = array<i64: 4, 8>, m = 4 : i64, axis = 2 : i64} : (tensor<4x4xf32>, tensor<4x4xi8>) -> tensor<4x8xf32>
  return
}
