//===- Kernels.cpp - Launches of the hand-written kernels -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/kernels/LaunchSupport.h"

#include <algorithm>
#include <iterator>

namespace lathe::cuda {
namespace {

/// Threads of 256 for `count` elements, of which each may take several.
void setElements(int64_t count, KernelLaunch *launch) {
  launch->block = 256;
  launch->grid = static_cast<uint32_t>(std::min<int64_t>(divideUp(count, 256), 1 << 16));
}

/// A block of 128 threads for each row, or for several of very many.
void setRows(int64_t count, KernelLaunch *launch) {
  launch->block = 128;
  launch->grid = static_cast<uint32_t>(std::min<int64_t>(count, 1 << 20));
}

int64_t elements(const EpilogueArgs &args) { return args.batch[0] * args.batch[1] * args.batch[2] * args.m * args.n; }

void copyView(const lathe_attention_view &from, ViewArgs *to) {
  to->data = from.data;
  std::copy(from.batch, from.batch + 3, to->batch);
  to->row = from.row;
  to->col = from.col;
}

} // namespace

AttentionArgs attentionArgs(const lathe_attention_call &call) {
  AttentionArgs args = {};
  copyView(call.query, &args.query);
  copyView(call.key, &args.key.view);
  copyView(call.value, &args.value.view);
  copyView(call.out, &args.out);
  args.biases = call.biases;
  for (int64_t i = 0; i < call.biases; ++i)
    copyView(call.bias[i], &args.bias[i]);
  std::copy(call.batch, call.batch + 3, args.batch);
  args.key_heads = call.key_heads;
  args.s = call.s;
  args.t = call.t;
  args.d = call.d;
  args.e = call.e;
  args.positions = call.positions;
  args.position_batch = call.position_batch;
  args.position_row = call.position_row;
  args.window = call.window;
  args.scale = call.scale;
  args.softcap = call.softcap;
  args.zero_masked = call.zero_masked;
  args.zero_nan = call.zero_nan;
  args.parts = 1;
  return args;
}

CodesArgs codesArgs(const runtime::CacheLayout &layout) {
  CodesArgs args = {};
  args.bits = layout.bits;
  args.symmetric = layout.symmetric;
  args.group_columns = layout.groupColumns();
  args.row_bytes = layout.rowBytes();
  args.scales_at = layout.scalesAt();
  args.lowest_at = layout.lowestAt();
  return args;
}

EpilogueArgs epilogueArgs(const lathe_matmul_call &call) {
  EpilogueArgs args = {};
  args.out = call.out;
  args.bias = call.bias;
  args.multiplier = call.multiplier;
  args.residual = call.residual;
  args.m = call.m;
  args.n = call.n;
  args.out_row = call.out_row;
  std::copy(call.batch, call.batch + 3, args.batch);
  std::copy(call.out_batch, call.out_batch + 3, args.out_batch);
  args.activation = call.activation;
  args.alpha = call.alpha;
  return args;
}

MatmulArgs matmulArgs(const lathe_matmul_call &call) {
  MatmulArgs args = {};
  args.epilogue = epilogueArgs(call);
  args.a = call.a;
  args.b = call.b;
  args.k = call.k;
  args.a_row = call.a_row;
  args.a_col = call.a_col;
  args.b_row = call.b_row;
  args.b_col = call.b_col;
  std::copy(call.a_batch, call.a_batch + 3, args.a_batch);
  std::copy(call.b_batch, call.b_batch + 3, args.b_batch);
  return args;
}

RoundArgs roundArgs(const lathe_matmul_call &call, float *out) {
  RoundArgs args = {};
  args.a = call.a;
  args.m = call.m;
  args.k = call.k;
  args.a_row = call.a_row;
  args.a_col = call.a_col;
  std::copy(call.batch, call.batch + 3, args.batch);
  std::copy(call.a_batch, call.a_batch + 3, args.a_batch);
  args.out = out;
  args.quantization = call.a_quantization;
  args.scale = call.a_scale;
  args.zero = call.a_zero;
  args.flip = call.a_bytes == LATHE_BYTES_UNSIGNED ? 128 : 0;
  return args;
}

QuantizedArgs quantizedArgs(const runtime::QuantizedLayout &layout, const void *weight) {
  QuantizedArgs args = {};
  args.weight = weight;
  args.k = layout.k;
  args.n = layout.n;
  args.bits = layout.bits;
  args.values = static_cast<int64_t>(layout.values);
  args.dimension = layout.dimension;
  args.group = layout.group;
  args.panel = layout.panel;
  args.scale = static_cast<int64_t>(layout.scale);
  args.zeros = static_cast<int64_t>(layout.zeros);
  args.zero = layout.zero;
  args.table_bytes = layout.tableBytes();
  args.panel_bytes = layout.panelBytes();
  args.group_bytes = layout.groupBytes(0);
  args.head_bytes = layout.headBytes();
  args.unit_bytes = layout.unitBytes();
  return args;
}

void AttentionLaunches::setScratch(void *scratch) {
  for (KernelLaunch *launch : {&attention, &combine}) {
    if (launch->function.empty())
      continue;
    AttentionArgs args;
    std::memcpy(&args, launch->args, sizeof args);
    args.scratch = static_cast<float *>(scratch);
    setArgs(args, launch);
  }
}

bool attentionLaunches(const AttentionArgs &call, int64_t dtype, int64_t mostKeys, int64_t multiprocessors,
                       AttentionLaunches *launches, std::string *why) {
  *launches = AttentionLaunches();
  const char *suffix = nullptr;
  if (!suffixOf(dtype, &suffix, why))
    return false;
  AttentionArgs args = call;
  if (dtype != LATHE_F32 &&
      ((args.key.pages && hasCodes(args.key.codes)) || (args.value.pages && hasCodes(args.value.codes)))) {
    *why = runtime::join("the cuda backend has attention to caches of codes for type f32 only; found ", suffix);
    return false;
  }
  int64_t heads = args.batch[0] * args.batch[1] * args.key_heads;
  if (heads == 0 || args.batch[2] == 0 || args.s == 0 || args.e == 0)
    return true;
  int64_t rows = args.batch[2] / args.key_heads * args.s, blockRows = rows <= 8 ? 8 : 32;
  // Matrix instructions where there is enough to multiply.
  bool mma = dtype != LATHE_F32 && rows > 8 && args.d <= 128 && args.e <= 128;
  if (mma)
    blockRows = 64;
  args.row_blocks = divideUp(rows, blockRows);
  int64_t widest = std::max(args.e, mma ? args.d : 0), columns = widest <= 64 ? 64 : widest <= 128 ? 128 : 256;
  if (dtype != LATHE_F32 && blockRows == 32)
    columns = 256;
  int64_t chunks = divideUp(args.e, columns);
  // Parts of at least 128 keys, as long as there are not two blocks for each multiprocessor.
  int64_t blocks = heads * args.row_blocks, wanted = divideUp(2 * multiprocessors, blocks * chunks);
  args.parts = std::max<int64_t>(1, std::min({wanted, mostKeys / 128, int64_t(256)}));
  if (chunks > 65535) {
    *why = runtime::join("expected at most ", 65535 * columns, " columns of values, got ", args.e);
    return false;
  }
  KernelLaunch &attention = launches->attention;
  if (!setGrid(blocks, &attention, why))
    return false;
  attention.function = runtime::join("lathe_attention_", suffix, "_r", blockRows, "_e", columns);
  attention.grid_y = static_cast<uint32_t>(args.parts);
  attention.grid_z = static_cast<uint32_t>(chunks);
  attention.block = 128;
  attention.shared_bytes = mma ? attentionMmaSharedBytes(columns) : attentionSharedBytes(blockRows);
  setArgs(args, &attention);
  if (args.parts == 1)
    return true;
  KernelLaunch &combine = launches->combine;
  combine.function = runtime::join("lathe_attention_combine_", suffix, "_r", blockRows);
  combine.grid = attention.grid;
  combine.block = 128;
  setArgs(args, &combine);
  launches->scratch_bytes = blocks * args.parts * blockRows * (args.e + 2) * 4;
  return true;
}

bool epilogueLaunch(const EpilogueArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  const char *suffix = nullptr;
  if (!suffixOf(dtype, &suffix, why))
    return false;
  int64_t count = elements(args);
  if (count == 0)
    return true;
  launch->function = runtime::join("lathe_epilogue_", suffix);
  setElements(count, launch);
  setArgs(args, launch);
  return true;
}

bool finishLaunch(const FinishArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why) {
  const char *suffix = nullptr;
  if (!suffixOf(dtype, &suffix, why) || !epilogueLaunch(args.epilogue, dtype, launch, why))
    return false;
  if (launch->function.empty())
    return true;
  launch->function = runtime::join("lathe_finish_", suffix);
  setArgs(args, launch);
  return true;
}

/// As suffixOf, of what f32 is rounded to.
static bool narrowSuffix(int64_t dtype, const char **suffix, std::string *why) {
  if (!suffixOf(dtype, suffix, why))
    return false;
  if (dtype == LATHE_F32)
    *why = "expected to make f16 or bf16 of f32, got f32";
  return dtype != LATHE_F32;
}

bool finishNarrowLaunch(const FinishArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why) {
  const char *suffix = nullptr;
  if (!narrowSuffix(dtype, &suffix, why) || !finishLaunch(args, LATHE_F32, launch, why))
    return false;
  if (!launch->function.empty())
    launch->function = runtime::join("lathe_finish_narrow_", suffix);
  return true;
}

bool finishHalfLaunch(const FinishHalfArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why) {
  const char *suffix = nullptr;
  if (!narrowSuffix(dtype, &suffix, why) || !epilogueLaunch(args.epilogue, dtype, launch, why))
    return false;
  if (launch->function.empty())
    return true;
  launch->function = runtime::join("lathe_finish_half_", suffix);
  setArgs(args, launch);
  return true;
}

bool narrowLaunch(const CopyArgs &copy, int64_t dtype, KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  const char *suffix = nullptr;
  if (!narrowSuffix(dtype, &suffix, why))
    return false;
  NarrowArgs args = {copy, 1};
  int64_t count = 1;
  for (int axis = 4; axis >= 0; --axis) {
    bool same = copy.from_strides[axis] == count && copy.to_strides[axis] == count;
    if (copy.sizes[axis] != 1 && !same)
      args.dense = 0;
    count *= copy.sizes[axis];
  }
  auto aligned = [](const void *address, uint64_t bytes) { return reinterpret_cast<uint64_t>(address) % bytes == 0; };
  if (!aligned(copy.from, 8) || !aligned(copy.to, 4)) // two numbers are read and written together
    args.dense = 0;
  if (count == 0)
    return true;
  launch->function = runtime::join("lathe_narrow_", suffix);
  setElements(args.dense ? divideUp(count, 2) : count, launch);
  setArgs(args, launch);
  return true;
}

/// Whether rows of a tensor are moved two numbers at a time.
static bool movesPairs(const CopyArgs &copy, bool widen) {
  auto isEven = [](const void *address, const int64_t(&strides)[5], uint64_t bytes) {
    for (int axis = 0; axis < 4; ++axis)
      if (strides[axis] % 2 != 0)
        return false;
    return strides[4] == 1 && reinterpret_cast<uint64_t>(address) % bytes == 0;
  };
  return copy.sizes[4] % 2 == 0 && isEven(copy.from, copy.from_strides, widen ? 4 : 8) &&
         isEven(copy.to, copy.to_strides, widen ? 8 : 4);
}

bool convertRowsLaunch(const CopyArgs *tensors, int64_t count, int64_t dtype, bool widen, KernelLaunch *launch,
                       std::string *why) {
  *launch = KernelLaunch();
  const char *suffix = nullptr;
  if (!suffixOf(dtype, &suffix, why))
    return false;
  ConvertRowsArgs args = {};
  if (dtype == LATHE_F32 || count < 1 || count > static_cast<int64_t>(std::size(args.tensors))) {
    *why = runtime::join("expected 1 to 3 tensors of f16 or bf16, got ", count, " of ", suffix);
    return false;
  }
  int64_t most = 0;
  for (int64_t i = 0; i < count; ++i) {
    int64_t rows = 1;
    for (int axis = 0; axis < 4; ++axis)
      rows *= tensors[i].sizes[axis];
    most = std::max(most, tensors[i].sizes[4] == 0 ? 0 : rows);
    args.tensors[i] = tensors[i];
    args.pairs[i] = movesPairs(tensors[i], widen);
  }
  args.count = count;
  if (most == 0)
    return true;
  launch->function = runtime::join(widen ? "lathe_widen_rows_" : "lathe_narrow_rows_", suffix);
  launch->block = 128; // four rows
  launch->grid = static_cast<uint32_t>(std::min<int64_t>(divideUp(most, 4), 1 << 16));
  setArgs(args, launch);
  return true;
}

/// A launch of `name` with a warp to each row, which the last of `sizes` is.
template <typename Args>
static bool rowsLaunch(const char *name, const Args &args, const int64_t (&sizes)[5], int64_t dtype,
                       KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  const char *suffix = nullptr;
  if (!suffixOf(dtype, &suffix, why))
    return false;
  int64_t rows = sizes[0] * sizes[1] * sizes[2] * sizes[3];
  if (rows == 0 || sizes[4] == 0)
    return true;
  launch->function = runtime::join(name, suffix);
  launch->block = 128; // four rows
  launch->grid = static_cast<uint32_t>(std::min<int64_t>(divideUp(rows, 4), 1 << 16));
  setArgs(args, launch);
  return true;
}

bool biasRowsLaunch(const BiasRowsArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why) {
  if (args.count < 1 || args.count > 2) {
    *why = runtime::join("expected 1 or 2 biases, got ", args.count);
    return false;
  }
  return rowsLaunch("lathe_bias_rows_", args, args.sizes, dtype, launch, why);
}

bool finishAttentionLaunch(const FinishAttentionArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why) {
  return rowsLaunch("lathe_finish_attention_", args, args.sizes, dtype, launch, why);
}

bool matmulLaunch(const MatmulArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  const char *suffix = nullptr;
  if (!suffixOf(dtype, &suffix, why))
    return false;
  const EpilogueArgs &end = args.epilogue;
  if (elements(end) == 0)
    return true;
  if (!setGrid(divideUp(end.n, 64) * divideUp(end.m, 64) * end.batch[0] * end.batch[1] * end.batch[2], launch, why))
    return false;
  launch->function = runtime::join("lathe_matmul_", suffix);
  launch->block = 256;
  launch->shared_bytes = kMatmulSharedBytes;
  setArgs(args, launch);
  return true;
}

bool copyLaunch(const CopyArgs &args, int64_t elementBytes, KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  if (elementBytes != 1 && elementBytes != 2 && elementBytes != 4 && elementBytes != 8) {
    *why = runtime::join("expected elements of 1, 2, 4 or 8 bytes, got ", elementBytes);
    return false;
  }
  int64_t count = 1;
  for (int64_t size : args.sizes)
    count *= size;
  if (count == 0)
    return true;
  launch->function = runtime::join("lathe_copy_", elementBytes);
  setElements(count, launch);
  setArgs(args, launch);
  return true;
}

bool cacheLaunch(const CacheArgs &args, int64_t elementBytes, bool read, KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  if (elementBytes != 2 && elementBytes != 4) {
    *why = runtime::join("expected a cache of elements of 2 or 4 bytes, got ", elementBytes);
    return false;
  }
  int64_t count = args.sizes[0] * args.sizes[1] * args.sizes[2] * args.sizes[3];
  if (count == 0)
    return true;
  if (hasCodes(args.codes)) {
    launch->function = read ? "lathe_cache_read_codes" : "lathe_cache_append_codes";
    setRows(count / args.sizes[3], launch);
    launch->shared_bytes = (args.sizes[3] + 2 * divideUp(args.sizes[3], args.codes.group_columns)) * 4;
    setArgs(args, launch);
    return true;
  }
  launch->function = runtime::join("lathe_cache_", read ? "read_" : "append_", elementBytes);
  setElements(count, launch);
  setArgs(args, launch);
  return true;
}

bool cacheNarrowLaunch(const CacheArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  const char *suffix = nullptr;
  if (!suffixOf(dtype, &suffix, why))
    return false;
  if (dtype == LATHE_F32 || hasCodes(args.codes)) {
    *why = runtime::join("expected to make f16 or bf16 of a cache of f32, got ", suffix, " of ",
                         hasCodes(args.codes) ? "codes" : "f32");
    return false;
  }
  int64_t rows = args.sizes[0] * args.sizes[1] * args.sizes[2];
  if (rows == 0 || args.sizes[3] == 0)
    return true;
  launch->function = runtime::join("lathe_cache_narrow_", suffix);
  launch->block = 128; // four rows
  launch->grid = static_cast<uint32_t>(std::min<int64_t>(divideUp(rows, 4), 1 << 16));
  setArgs(args, launch);
  return true;
}

bool rotateLaunch(const RotateArgs &args, KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  if (args.rotation < 1 || (args.rotation & (args.rotation - 1)) != 0 || args.columns % args.rotation != 0) {
    *why = runtime::join("expected a power of two of columns to rotate that divides ", args.columns, ", got ",
                         args.rotation);
    return false;
  }
  int64_t rows = args.batch[0] * args.batch[1] * args.batch[2] * args.rows;
  if (rows == 0 || args.columns == 0)
    return true;
  launch->function = "lathe_rotate_f32";
  setRows(rows, launch);
  launch->shared_bytes = args.columns * 4;
  setArgs(args, launch);
  return true;
}

bool stepRowsLaunch(const StepRowsArgs &args, KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  if (args.count < 1 || args.count > kMostStepRows) {
    *why = runtime::join("expected rows of 1 to ", kMostStepRows, " tensors, got ", args.count);
    return false;
  }
  int64_t rows = 0;
  for (int64_t i = 0; i < args.count; ++i) {
    const StepRowsPart &part = args.parts[i];
    if (part.cosine && part.sizes[3] % 2 != 0) {
      *why = runtime::join("expected an even number of columns to rotate, got ", part.sizes[3]);
      return false;
    }
    rows += part.sizes[0] * part.sizes[1] * part.sizes[2];
  }
  if (rows == 0)
    return true;
  launch->function = "lathe_step_rows_f32";
  launch->block = 128;
  launch->grid = static_cast<uint32_t>(std::min<int64_t>(divideUp(rows, 4), 1 << 20));
  setArgs(args, launch);
  return true;
}

bool roundLaunch(const RoundArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  bool isKnown = dtype == LATHE_F32
                     ? args.quantization >= LATHE_QUANTIZE_ROWS && args.quantization <= LATHE_QUANTIZE_ROWS_E4M3
                     : dtype == LATHE_U8 && args.quantization == LATHE_QUANTIZE_STATIC;
  if (!isKnown) {
    *why = runtime::join(
        "the cuda backend rounds numbers of type f32 by rows or by a scale, and reads bytes of one scale; found type ",
        dtype, " and rounding ", args.quantization);
    return false;
  }
  int64_t rows = args.batch[0] * args.batch[1] * args.batch[2] * args.m;
  if (rows == 0 || args.k == 0)
    return true;
  launch->function = dtype == LATHE_U8 ? "lathe_round_u8" : "lathe_round_f32";
  launch->grid = static_cast<uint32_t>(std::min<int64_t>(rows, 1 << 20));
  launch->block = 256;
  launch->shared_bytes = 8 * 4;
  setArgs(args, launch);
  return true;
}

bool roundBytesLaunch(const RoundBytesArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why) {
  if (!roundLaunch(args.round, dtype, launch, why))
    return false;
  if (args.codes_row % 4 != 0 || args.codes_row < args.round.k) {
    *why = runtime::join("expected rows of a multiple of 4 codes for ", args.round.k, " numbers, got ", args.codes_row);
    return false;
  }
  if (launch->function.empty())
    return true;
  launch->function = dtype == LATHE_U8 ? "lathe_round_bytes_u8" : "lathe_round_bytes_f32";
  setArgs(args, launch);
  return true;
}

bool expandBytesLaunch(const ExpandBytesArgs &args, KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  const QuantizedArgs &weight = args.weight;
  bool isInteger = weight.values == 0 && weight.zeros <= 1;
  bool isFloat =
      weight.values == static_cast<int64_t>(runtime::CodeValues::e4m3) && weight.zeros == 0 && weight.zero == 0;
  if ((!isInteger && !isFloat) || weight.bits != 8 || weight.group < weight.k || args.codes_row % 4 != 0 ||
      args.codes_row < weight.k || args.rows < weight.n) {
    *why = runtime::join("expected integers of 8 bits or e4m3 in one group of rows, got ", formatOf(weight),
                         " in groups of ", weight.group, " of ", weight.k);
    return false;
  }
  if (args.rows == 0 || args.codes_row == 0)
    return true;
  launch->function = isFloat ? "lathe_expand_floats" : "lathe_expand_bytes";
  launch->grid = static_cast<uint32_t>(std::min<int64_t>(args.rows, 1 << 16));
  launch->block = 256;
  launch->shared_bytes = 8 * 4;
  setArgs(args, launch);
  return true;
}

bool finishIntegersLaunch(const IntegerFinishArgs &args, KernelLaunch *launch, std::string *) {
  *launch = KernelLaunch();
  int64_t count = elements(args.epilogue);
  if (count == 0)
    return true;
  launch->function = "lathe_finish_integers";
  setElements(count, launch);
  setArgs(args, launch);
  return true;
}

bool finishScaledLaunch(const ScaledFinishArgs &args, KernelLaunch *launch, std::string *) {
  *launch = KernelLaunch();
  int64_t count = elements(args.epilogue);
  if (count == 0)
    return true;
  launch->function = "lathe_finish_scaled";
  setElements(count, launch);
  setArgs(args, launch);
  return true;
}

bool toBytesLaunch(const ToBytesArgs &args, KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  if (!(args.bytes.scale > 0)) {
    *why = runtime::join("expected a scale of bytes above 0, got ", args.bytes.scale);
    return false;
  }
  int64_t count = elements(args.shape);
  if (count == 0)
    return true;
  launch->function = "lathe_to_bytes";
  setElements(count, launch);
  setArgs(args, launch);
  return true;
}

bool expandLaunch(const QuantizedArgs &weight, int64_t first, int64_t count, void *out, int64_t dtype, int64_t row,
                  KernelLaunch *launch, std::string *why) {
  QuantizedRowsArgs args = {};
  args.weight = weight;
  args.index_bytes = 8;
  args.first = first;
  args.count = count;
  args.out = out;
  args.dtype = dtype;
  args.out_row = row;
  return quantizedRowsLaunch(args, launch, why);
}

bool quantizedRowsLaunch(const QuantizedRowsArgs &args, KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  if (args.index_bytes != 4 && args.index_bytes != 8) {
    *why = runtime::join("expected indices of 4 or 8 bytes, got ", args.index_bytes);
    return false;
  }
  if (args.count == 0)
    return true;
  launch->function = "lathe_quantized_rows_" + formatOf(args.weight);
  launch->grid = static_cast<uint32_t>(std::min<int64_t>(args.count, 1 << 16));
  launch->block = 256;
  setArgs(args, launch);
  return true;
}

} // namespace lathe::cuda
