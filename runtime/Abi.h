//===- Abi.h - Contract between generated code and the runtime --*- C -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A code image is a flat, position-independent block of machine code without relocations, undefined symbols or
// writable data. It reaches the outside only through the frame it is handed. This header is what both halves of a
// backend agree on: `backends/*/compiler` emits code against these layouts, `runtime` and `backends/*/runtime`
// implement them. A change of any layout here raises LATHE_ABI_VERSION.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_ABI_H
#define LATHE_RUNTIME_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LATHE_ABI_VERSION 9

typedef struct lathe_frame lathe_frame;

/// A chunk of a generated kernel: executes work items [begin, end). `args` is what the host program passed to
/// parallel_for; it outlives the call. May be called from several threads at once on disjoint ranges.
typedef void (*lathe_task_fn)(lathe_frame *frame, const void *args, int64_t begin, int64_t end);

/// What is applied to a matmul's result (after alpha and bias), in this order: bias, activation, multiplier, residual.
typedef enum lathe_activation {
  LATHE_ACT_NONE = 0,
  LATHE_ACT_RELU = 1,
  LATHE_ACT_GELU_ERF = 2,
  LATHE_ACT_GELU_TANH = 3,
  LATHE_ACT_TANH = 4,
  LATHE_ACT_SILU = 5,
  LATHE_ACT_SIGMOID = 6,
} lathe_activation;

/// How the left side of a product with quantized integers, or 8-bit floats, becomes such itself, which are then multiplied.
typedef enum lathe_quantization {
  LATHE_QUANTIZE_NONE = 0,   ///< it stays f32
  LATHE_QUANTIZE_ROWS = 1,   ///< each row by its own scale: its largest magnitude / 127, with round(x / scale)
  LATHE_QUANTIZE_STATIC = 2, ///< by a_scale and a_zero: round(x / a_scale) + a_zero, bounded to [-128, 127]
  /// Each row by its own scale, its largest magnitude / 448: the number of E4M3 nearest to x / scale. On devices, with
  /// weights of 8-bit floats ("e4m3", "e5m2").
  LATHE_QUANTIZE_ROWS_E4M3 = 3,
} lathe_quantization;

/// How the elements of a side of a product lie where they are of another type than the rest.
typedef enum lathe_bytes {
  LATHE_BYTES_NONE = 0,     ///< they are of the product's dtype
  LATHE_BYTES_SIGNED = 1,   ///< i8
  LATHE_BYTES_UNSIGNED = 2, ///< u8, 128 more than what zero points count
  LATHE_BYTES_F16 = 3,      ///< f16 where the product's dtype is f32, on devices; of a result, numbers beyond f16 are its largest
  LATHE_BYTES_BF16 = 4,     ///< bf16 likewise
} lathe_bytes;

/// One (batched, strided) matrix product:
/// out[b][m][n] = act(alpha * sum_k a[b][m][k] * b[b][k][n] + bias[n]) * multiplier + residual.
/// All strides are in elements; a batch stride of 0 broadcasts. Every extent may be 0 (then, if out is not empty and
/// k == 0, out is act(bias) * multiplier + residual). Laid out without padding surprises: only 8-byte members.
typedef struct lathe_matmul_call {
  int64_t kernel;          ///< index into the manifest's "kernels": names, for profiles and errors
  int64_t dtype;           ///< lathe_dtype of a, b, bias, multiplier, residual and out; but see a_bytes and out_bytes
  int64_t weight;          ///< index into the manifest's "constants" when b is a constant, else -1; a constant that is
                           ///< neither packed nor quantized is read through b_row and b_col, and packed into private memory once
  int64_t activation;      ///< lathe_activation
  double alpha;            ///< scale of the product
  const void *a;           ///< base address of a
  const void *b;           ///< base address of b; NULL when `weight` >= 0 (the runtime knows where its packed form is)
  const void *bias;        ///< n contiguous elements, or NULL
  const void *multiplier;  ///< same strides as out, or NULL, as it is where b is not a constant
  const void *residual;    ///< same strides as out, or NULL
  void *out;               ///< must not overlap a, b or bias; may equal multiplier or residual
  int64_t m, n, k;
  int64_t a_row, a_col;    ///< strides of a along m and k
  int64_t b_row, b_col;    ///< strides of b along k and n
  int64_t out_row;         ///< stride of out along m; along n it is 1
  int64_t batch[3];        ///< batch extents, outermost first; 1 where unused
  int64_t a_batch[3], b_batch[3], out_batch[3];
  int64_t a_quantization;  ///< lathe_quantization; other than none only where `weight` is of the codes that it goes with: integers ("integer"), or 8-bit floats
  double a_scale;          ///< with LATHE_QUANTIZE_STATIC; above 0
  int64_t a_zero;          ///< likewise, from -128 to 127: of unsigned integers 128 less than their zero point
  int64_t a_again;         ///< not 0: a has not changed since the product before that read it, of what it left something may be left
  int64_t a_bytes;         ///< lathe_bytes: a has been rounded, to integers with LATHE_QUANTIZE_STATIC or, where there is a_scales, with a
                           ///< sign by rows, to floats of the weight's type
  int64_t out_bytes;       ///< lathe_bytes: what out would be is rounded, to integers by out_scale and out_zero, as a is; those only with
                           ///< quantized weights, floats only with weights of 16-bit floats
  double out_scale;        ///< above 0
  int64_t out_zero;        ///< as a_zero
  const float *a_scales;   ///< with bytes that LATHE_QUANTIZE_ROWS has made, else NULL: of each row of a, which is dense
  const int32_t *a_sums;   ///< likewise, what the bytes of each row add up to, or NULL
  int64_t arithmetic;      ///< LATHE_F16 or LATHE_BF16, with a quantized weight and a_quantization none: devices may round operands to
                           ///< it, with sums in f32; else LATHE_F32
} lathe_matmul_call;

/// Rows of the transpose of a quantized weight [k, n], such as a table of embeddings: out[i] = weight[:, indices[i]].
/// Laid out without padding surprises: only 8-byte members.
typedef struct lathe_rows_call {
  int64_t kernel;          ///< index into the manifest's "kernels"
  int64_t weight;          ///< index into the manifest's "constants", of one that is quantized
  int64_t check;           ///< index into the manifest's "checks": what fails where an index is not from -n to n - 1; out's
                           ///< row is then zeros
  int64_t index_type;      ///< lathe_dtype of indices: i64 or i32; negative ones count from the end
  const void *indices;
  int64_t count;           ///< of indices
  int64_t index_stride;    ///< in elements
  void *out;               ///< f32 [count, k]
  int64_t out_row;         ///< stride of out along its rows; along k it is 1
} lathe_rows_call;

/// A strided tensor that an attention reads or writes. Strides are in elements; 0 broadcasts.
typedef struct lathe_attention_view {
  void *data;
  int64_t batch[3];        ///< of the leading axes; of a key and a value the last is that of their own heads
  int64_t row, col;
} lathe_attention_view;

/// Attention of b queries [s, d] to keys [t, d] and values [t, e]:
/// out = softmax(cap(scale * query * key^T) + bias[0] + bias[1]) * value, where cap(x) = softcap * tanh(x / softcap).
/// Every extent may be 0. Laid out without padding surprises: only 8-byte members.
typedef struct lathe_attention_call {
  int64_t kernel;          ///< index into the manifest's "kernels"
  int64_t dtype;           ///< lathe_dtype of all tensors
  int64_t zero_masked;     ///< not 0: rows all of whose scores are minus infinity are 0, not NaN
  int64_t zero_nan;        ///< not 0: these, and rows with a score that is NaN
  int64_t biases;          ///< how many of `bias` there are
  double scale;
  double softcap;          ///< 0: none
  int64_t batch[3];        ///< extents of the leading axes; the last are the heads of queries
  int64_t key_heads;       ///< divides batch[2]; query head h reads head h / (batch[2] / key_heads)
  int64_t s, t, d, e;
  lathe_attention_view query, key, value;
  lathe_attention_view bias[2]; ///< [s, t], of the heads of queries
  lathe_attention_view out;     ///< must not overlap the others
  int64_t key_cache;       ///< index into the manifest's "caches" where keys are rows of it, which `key` then does not tell, else -1
  int64_t value_cache;     ///< likewise; with either, batch[1] counts the run's sequences, batch[0] is 1 and t is not read
  const int64_t *positions; ///< of each query the last key that it sees, less than 2^24; NULL: all keys
  int64_t position_batch, position_row; ///< strides of positions along batch[1] and queries
  int64_t window;          ///< not 0: of the keys up to its position a query sees as many as this; goes with positions
  int64_t arithmetic;      ///< lathe_dtype that products may round their operands to: LATHE_F32, LATHE_BF16, LATHE_F16 or LATHE_I8
} lathe_attention_call;

/// Rows [b, h, n, d] that a session keeps for the b sequences of a run. Laid out without padding surprises: only 8-byte
/// members.
typedef struct lathe_cache_call {
  int64_t kernel;          ///< index into the manifest's "kernels"
  int64_t cache;           ///< index into the manifest's "caches"
  int64_t dtype;           ///< lathe_dtype of the rows
  int64_t read;            ///< 0: puts the rows behind those that the cache has; else copies its first n, zeros behind its last
  void *data;
  int64_t sizes[4];        ///< b, h, n, d
  int64_t strides[4];      ///< of these, in elements
} lathe_cache_call;

/// One launch of a generated kernel on a device (docs/design/0024-cuda.md). Laid out without padding surprises: only 8-byte members.
typedef struct lathe_launch_call {
  int64_t kernel;          ///< index into the manifest's "kernels", which names the device's function
  const void *args;        ///< on the host, 8-byte aligned; copied by the call
  int64_t args_bytes;      ///< at most 4064
  int64_t count;           ///< of work items; with 0 nothing is launched
  int64_t grid, block;     ///< blocks of the grid and threads of a block, of one dimension
  int64_t shared_bytes;    ///< dynamic shared memory of a block
} lathe_launch_call;

/// The functions that the loader hands to generated code. All but fail are called from the thread that
/// entered `run`, outside of tasks; fail from any thread.
typedef struct lathe_runtime_table {
  uint64_t abi_version;
  /// Runs `task` over [0, count) in chunks of at least `grain` items, on the session's threads; returns when all
  /// are done. count <= 0 does nothing. `kernel` indexes the manifest's "kernels".
  void (*parallel_for)(lathe_frame *frame, int64_t kernel, lathe_task_fn task, const void *args, int64_t count,
                       int64_t grain);
  void (*matmul)(lathe_frame *frame, const lathe_matmul_call *call);
  /// Records that check `check` (an index into the manifest's "checks") failed; the first one wins; may be called
  /// from any thread. The run goes on (generated code never dereferences what a failed check guards) and then
  /// returns an error with the check's message.
  void (*fail)(lathe_frame *frame, int64_t check);
  /// Memory for a value whose size `plan` did not know: 64-byte aligned, valid until the run ends or the same `slot` is
  /// asked for again. NULL when there is none, after recording why; `run` then returns.
  void *(*allocate)(lathe_frame *frame, int64_t slot, int64_t bytes);
  /// Memory for an output for which `plan` gave -1 as a dimension. NULL as for `allocate`.
  void *(*output)(lathe_frame *frame, int64_t index, const int64_t *dims);
  void (*attention)(lathe_frame *frame, const lathe_attention_call *call);
  void (*cache)(lathe_frame *frame, const lathe_cache_call *call);
  void (*dequantize_rows)(lathe_frame *frame, const lathe_rows_call *call);
  /// Puts a kernel behind what the device does; `parallel_for` of programs that run on one.
  void (*launch)(lathe_frame *frame, const lathe_launch_call *call);
  /// The address of a copy, valid until the next call, of `bytes` (at most 4096) of device memory after all that was put behind it;
  /// NULL after recording why, where that failed; `run` then returns.
  const void *(*read)(lathe_frame *frame, const void *address, int64_t bytes);
} lathe_runtime_table;

/// What generated code sees of one run. Private state of the runtime may follow these members.
struct lathe_frame {
  const lathe_runtime_table *rt;
  int64_t *symbols;              ///< values of the manifest's "symbols", in order; `run` writes the computed ones
  const void *const *inputs;     ///< dense row-major, in the order of the manifest's "inputs"
  void *const *outputs;          ///< dense row-major, at least the size that `plan` gave
  const void *const *constants;  ///< in the order of the manifest's "constants", as they are stored
  unsigned char *arena;          ///< 64-byte aligned, at least the size that `plan` gave
};

/// Entry point "plan": from the symbols, computes the dimensions of every input and then of every output (in the
/// order of the manifest, concatenated; -1 for one that depends on what `run` computes) and the arena's size in bytes.
/// Computed symbols have no value yet. Returns 0, or 1 + an index into "checks" when
/// the symbols violate a condition of the model.
typedef int64_t (*lathe_plan_fn)(const int64_t *symbols, int64_t *dims, int64_t *arena_bytes);

/// Entry point "run": executes the model once. Checks that fail are reported through rt->fail.
typedef void (*lathe_run_fn)(lathe_frame *frame);

#ifdef __cplusplus
}
#endif

#endif // LATHE_RUNTIME_ABI_H
