//===- QuantPlan.cpp - Products with quantized weights ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/QuantPlan.h"

#include "backends/cpu/runtime/Rounding.h"

#include <algorithm>
#include <cstring>

using namespace lathe;
using namespace lathe::cpu;
using runtime::CodeValues;
using runtime::QuantizedLayout;
using runtime::ScaleType;
using runtime::Status;
using runtime::success;
using runtime::ZeroType;

namespace {

/// Rows of a panel that few rows use, as f32 in the first cache.
constexpr int64_t kFewDepth = 64;
/// Bytes of a panel that stay in the second cache while all rows of a piece use them.
constexpr int64_t kBlockBytes = int64_t(256) << 10;
/// Code rows whose tables are made by a thread at once; and bytes of tables that stay in the first cache for the panels of a piece.
constexpr int64_t kSliceCodes = 256, kTableBytes = int64_t(32) << 10;
/// Numbers of the left side that are worth waking another thread for before the product.
constexpr int64_t kPreparedNumbers = int64_t(1) << 15;

static_assert(static_cast<int>(QuantNumber::e8m0) == static_cast<int>(ScaleType::e8m0) &&
              static_cast<int>(QuantFormat::codebook) == static_cast<int>(CodeValues::codebook));

QuantNumber numberType(ScaleType type) { return static_cast<QuantNumber>(type); }

QuantFormat formatOf(const QuantizedLayout &layout) {
  QuantFormat format;
  format.values = static_cast<QuantFormat::Values>(layout.values);
  format.bits = layout.bits;
  format.dimension = layout.dimension;
  return format;
}

/// `lookups`: small integers are looked up.
QuantWeight describeWeight(const QuantizedLayout &layout, const unsigned char *packed, bool lookups) {
  QuantWeight weight;
  weight.k = layout.k;
  weight.group = layout.group;
  weight.panel = layout.panel;
  weight.unitBytes = layout.unitBytes();
  weight.headBytes = layout.headBytes();
  weight.groupBytes = layout.groupBytes(0);
  weight.scaleBytes = layout.scaleBytes();
  weight.scale = numberType(layout.scale);
  if (layout.zeros != ZeroType::constant)
    weight.zeros = layout.zeros == ZeroType::u8 ? QuantNumber::u8 : numberType(layout.scale);
  weight.entries = layout.entries();
  weight.dimension = layout.dimension;
  if (layout.values == CodeValues::integer)
    weight.center = static_cast<float>(layout.entries() / 2);
  if (layout.zeros == ZeroType::constant)
    weight.zero = layout.zero - weight.center;
  if (layout.hasTable())
    weight.table = reinterpret_cast<const float *>(packed);
  bool isTable = layout.values == CodeValues::table;
  if (layout.bits > 4 || !(isTable || (layout.values == CodeValues::integer && lookups)))
    return weight;
  for (int64_t i = 0; i < 16; ++i) {
    int64_t entry = i % layout.entries();
    weight.lookup[i] = isTable ? weight.table[entry] - weight.zero : static_cast<float>(entry) - weight.center - weight.zero;
  }
  weight.zero = 0;
  return weight;
}

Status refuse(const PlanKey &key, const QuantizedLayout &layout) {
  using runtime::failure;
  if (layout.k != key.k || layout.n != key.n)
    return failure(LATHE_INTERNAL, "a quantized weight of [", layout.k, ", ", layout.n, "] is used as a [", key.k, ", ", key.n,
                   "] matrix");
  if (key.dtype != LATHE_F32)
    return failure(LATHE_INTERNAL, "the cpu backend has no matmul of this type; expected f32");
  bool isKnown = key.aBytes >= LATHE_BYTES_NONE && key.aBytes <= LATHE_BYTES_UNSIGNED && key.outBytes >= LATHE_BYTES_NONE &&
                 key.outBytes <= LATHE_BYTES_UNSIGNED;
  // Bytes of rows have a sign.
  if (!isKnown || (key.aBytes != LATHE_BYTES_NONE && key.aQuantization != LATHE_QUANTIZE_STATIC &&
                   (key.aBytes != LATHE_BYTES_SIGNED || key.aQuantization != LATHE_QUANTIZE_ROWS)))
    return failure(LATHE_INTERNAL, "a matmul from bytes ", key.aBytes, " of quantization ", key.aQuantization, " to bytes ",
                   key.outBytes);
  if (key.outBytes != LATHE_BYTES_NONE && (!(key.outScale > 0 && key.outScale < 1e30) || key.outZero < -128 || key.outZero > 127))
    return failure(LATHE_INTERNAL, "the result of a matmul has scale ", key.outScale, " and zero point ", key.outZero,
                   "; expected a scale above 0 and a zero point from -128 to 127");
  if (key.aQuantization == LATHE_QUANTIZE_NONE)
    return success();
  if (key.aQuantization != LATHE_QUANTIZE_ROWS && key.aQuantization != LATHE_QUANTIZE_STATIC)
    return failure(LATHE_INTERNAL, "unknown quantization ", key.aQuantization, " of a matmul's left side");
  if (layout.values != CodeValues::integer)
    return failure(LATHE_INTERNAL, "a product of integers needs a weight of integers, found values ", name(layout.values));
  if (!(key.aScale > 0 && key.aScale < 1e30) || key.aZero < -128 || key.aZero > 127)
    return failure(LATHE_INTERNAL, "the left side of a matmul has scale ", key.aScale, " and zero point ", key.aZero,
                   "; expected a scale above 0 and a zero point from -128 to 127");
  return success();
}

} // namespace

Status QuantPlan::create(const PlanKey &key, int threads, std::string_view isa, const QuantizedLayout &layout,
                         const unsigned char *packed, std::unique_ptr<Plan> *plan) {
  if (Status status = refuse(key, layout); status.failed())
    return status;
  std::unique_ptr<QuantPlan> result(new QuantPlan(key));
  QuantPlan &p = *result;
  p.blocks_ = &gemmKernels(isa);
  p.tiling_ = chooseGemmTiling(key.m, key.n, key.k, key.items(), threads);
  bool isInteger = key.aQuantization != LATHE_QUANTIZE_NONE;
  if (isInteger)
    p.integers_ = integerKernels(isa, layout.bits, layout.group, layout.k);
  else
    p.kernels_ = quantKernels(isa, formatOf(layout));
  p.weight_ = describeWeight(layout, packed, p.kernels_.lookups);
  p.mode_ = isInteger ? Mode::integer
            : p.tiling_.rows <= kTileRows && p.kernels_.multiply ? Mode::direct : Mode::widened;
  // A lookup for each row and code, where to make codes numbers takes one for each of these, once: of more rows that is sooner done.
  if (p.mode_ == Mode::widened && p.kernels_.multiplyLooked && key.m <= std::min(layout.dimension, kTileRows))
    p.mode_ = Mode::looked;
  p.panelData_ = packed + layout.tableBytes();
  p.panelBytes_ = layout.panelBytes();
  p.panels_ = layout.panels();
  if (p.mode_ == Mode::looked) // tables are read for each piece
    p.tiling_.panels = std::max<int64_t>(p.panels_ * ceilDiv(key.m, p.tiling_.rows) / (threads * 2), 1);
  p.grid_ = gridOf(p.tiling_, key.m, p.panels_, layout.bytes());
  p.stageA_ = key.aCol != 1;
  if (p.mode_ == Mode::widened)
    p.planWidened();
  else if (p.mode_ == Mode::looked)
    p.planLooked(layout);
  else
    p.planShared(layout);
  *plan = std::move(result);
  return success();
}

void QuantPlan::planWidened() {
  if (tiling_.rows <= kTileRows)
    tiling_.depth = std::min(tiling_.depth, kFewDepth);
  // What is widened at once starts and ends with units.
  constexpr int64_t kMostUnitRows = 32 * 8;
  tiling_.depth = ceilDiv(tiling_.depth, kMostUnitRows) * kMostUnitRows;
  if (stageA_)
    aBytes_ = aligned(static_cast<size_t>(tiling_.rows * key_.k) * 4);
  if (tiling_.depth < key_.k)
    sumBytes_ = aligned(static_cast<size_t>(tiling_.rows * weight_.panel) * 4);
  scratchBytes_ = aBytes_ + sumBytes_ + aligned(static_cast<size_t>(tiling_.depth * weight_.panel) * 4);
}

void QuantPlan::planShared(const QuantizedLayout &layout) {
  int64_t groups = layout.groups(), rows = rowsOfAll();
  bool isInteger = mode_ == Mode::integer;
  padded_ = ceilDiv(key_.k, 64) * 64;
  // Tiles read whole lines of a row.
  keepsBytes_ = isInteger && key_.aBytes == LATHE_BYTES_SIGNED && !stageA_ && key_.k == padded_ && key_.items() == 1;
  stageA_ = isInteger || stageA_ || key_.k % layout.unitRows() != 0;
  int64_t prepared = rows;
  blockParts_ = partCount_ = groups;
  unitRows_ = layout.unitRows();
  if (isInteger) {
    int64_t parts = partsOf(layout.group);
    partCount_ = (groups - 1) * parts + partsOf(key_.k - (groups - 1) * layout.group);
    int64_t partBytes = std::min(layout.group, kPartRows) * weight_.panel;
    isWide_ = tiling_.rows > kTileRows;
    blockParts_ = !isWide_ ? partCount_ : std::clamp<int64_t>(kBlockBytes / partBytes, 1, partCount_);
    expands_ = integers_.expand && isWide_;
    prepared += key_.aZero != 0;
  }
  readsAll_ = keepsBytes_ && key_.hasRowSums && partCount_ == 1 && key_.aRow == key_.k;
  if (isInteger && key_.aZero != 0) {
    columnSums_.resize(static_cast<size_t>(panels_ * weight_.panel));
    columnSumsState_ = std::vector<std::atomic<int>>(static_cast<size_t>(panels_));
  }
  bool sums = isInteger || weight_.hasZeros();
  if ((stageA_ || sums) && !readsAll_) {
    preparedRows_ = std::max<int64_t>(kPreparedNumbers / key_.k, 1);
    preparations_ = ceilDiv(prepared, preparedRows_);
  }
  auto count = static_cast<size_t>(prepared), copied = static_cast<size_t>(keepsBytes_ ? prepared - rows : prepared);
  partOffset_ = stageA_ ? aligned(copied * static_cast<size_t>(padded_) * (isInteger ? 1 : 4)) : 0;
  scaleOffset_ = partOffset_ + (sums ? aligned(count * static_cast<size_t>(partCount_) * 4) : 0);
  sharedBytes_ = readsAll_ ? 0 : scaleOffset_ + (isInteger ? aligned(count * 4) : 0);
  // Sums of all rows where their panel is read in parts, else of those of a tile; what goes to the bias.
  sumBytes_ = static_cast<size_t>((blockParts_ < partCount_ ? tiling_.rows : std::min(tiling_.rows, tileRows())) * weight_.panel) * 4;
  sumBytes_ = aligned(sumBytes_);
  scratchBytes_ = sumBytes_ + 2 * aligned(static_cast<size_t>(weight_.panel) * 4);
  if (expands_) // whole units, the last one of which may go beyond its part
    scratchBytes_ += aligned(static_cast<size_t>((blockParts_ * std::min(layout.group, kPartRows) + layout.unitRows()) * weight_.panel));
}

void QuantPlan::planLooked(const QuantizedLayout &layout) {
  unitRows_ = layout.unitRows();
  partCount_ = layout.groups();
  tableRow_ = ceilDiv(key_.k, unitRows_) * layout.unitCodes() * std::max<int64_t>(layout.entries(), 16);
  int64_t codeRows = ceilDiv(key_.k, unitRows_) * layout.unitCodes();
  slices_ = ceilDiv(codeRows, kSliceCodes);
  auto rows = static_cast<size_t>(rowsOfAll());
  preparations_ = rowsOfAll() * slices_;
  partOffset_ = aligned(rows * static_cast<size_t>(tableRow_) * 4);
  sharedBytes_ = partOffset_ + aligned(rows * static_cast<size_t>(partCount_) * 4);
  scratchBytes_ = static_cast<size_t>(tiling_.rows * weight_.panel * tiling_.panels) * 4;
}

/// Tables of a slice of a row's code rows; with the first one the sums of its groups.
void QuantPlan::prepareTables(const lathe_matmul_call &call, int64_t index, unsigned char *shared) const {
  int64_t row = index / slices_, slice = index % slices_;
  const float *a = leftSide(call, row / key_.m) + row % key_.m * key_.aRow;
  int64_t codeRows = ceilDiv(key_.k, unitRows_) * (unitRows_ / weight_.dimension);
  kernels_.tabulate(weight_, a, key_.aCol, slice * kSliceCodes, std::min(codeRows, (slice + 1) * kSliceCodes),
                    reinterpret_cast<float *>(shared) + row * tableRow_);
  auto *sums = reinterpret_cast<float *>(shared + partOffset_) + row * partCount_;
  for (int64_t g = 0; slice == 0 && weight_.hasZeros() && g < partCount_; ++g) {
    float sum = 0;
    for (int64_t k = g * weight_.group; k < std::min(key_.k, (g + 1) * weight_.group); ++k)
      sum += a[k * key_.aCol];
    sums[g] = sum;
  }
}

/// The panels of a piece, by as many rows of them as have tables that stay in the first cache.
void QuantPlan::multiplyLooked(GemmBlock &block, const lathe_matmul_call &call, int64_t outOffset, int64_t row, int64_t panel, int64_t panelEnd,
                               unsigned char *scratch, const unsigned char *shared) const {
  LookedTile tile;
  tile.tables = reinterpret_cast<const float *>(shared) + row * tableRow_;
  tile.tablesRow = tableRow_;
  tile.rows = block.rows;
  tile.groupSums = reinterpret_cast<const float *>(shared + partOffset_) + row * partCount_;
  tile.groupSumsRow = partCount_;
  const int64_t unitTables = tableRow_ / ceilDiv(key_.k, unitRows_) * 4 * block.rows;
  const int64_t depth = std::max<int64_t>(kTableBytes / unitTables, 1) * unitRows_, size = tiling_.rows * weight_.panel;
  auto *sums = reinterpret_cast<float *>(scratch);
  for (tile.begin = 0; tile.begin < key_.k; tile.begin = tile.end) {
    tile.end = std::min(key_.k, tile.begin + depth);
    for (int64_t i = panel; i < panelEnd; ++i) {
      placeBlock(block, call, outOffset, i * weight_.panel);
      tile.panel = panelData_ + i * panelBytes_;
      tile.columns = block.columns;
      tile.sums = sums + (i - panel) * size;
      kernels_.multiplyLooked(weight_, tile);
      if (tile.end == key_.k)
        blocks_->finish(block, tile.sums, block.rows, 0);
    }
  }
}

const float *QuantPlan::leftSide(const lathe_matmul_call &call, int64_t item) const {
  return static_cast<const float *>(call.a) + key_.offsetOf(item, key_.aBatch);
}

std::vector<int64_t> QuantPlan::preparation() const {
  if (mode_ != Mode::integer)
    return {};
  // The rest of a key is about the other side and the result.
  int64_t scale = 0;
  static_assert(sizeof key_.aScale == sizeof scale);
  memcpy(&scale, &key_.aScale, sizeof scale);
  std::vector<int64_t> words = {key_.m,        key_.k,      key_.aRow,      key_.aCol,  key_.aQuantization, scale,
                                key_.aZero,    key_.aBytes, weight_.group,  partCount_, padded_,            keepsBytes_};
  words.insert(words.end(), key_.batch, key_.batch + 3);
  words.insert(words.end(), key_.aBatch, key_.aBatch + 3);
  return words;
}

void QuantPlan::prepare(const lathe_matmul_call &call, int64_t index, unsigned char *shared) {
  if (mode_ == Mode::looked)
    return prepareTables(call, index, shared);
  int64_t end = std::min(rowsOfAll(), (index + 1) * preparedRows_);
  auto *sums = reinterpret_cast<float *>(shared + partOffset_);
  auto *parts = reinterpret_cast<int32_t *>(shared + partOffset_);
  auto *scales = reinterpret_cast<float *>(shared + scaleOffset_);
  for (int64_t row = index * preparedRows_; row < end; ++row) {
    if (mode_ == Mode::integer) {
      int64_t at = key_.offsetOf(row / key_.m, key_.aBatch) + row % key_.m * key_.aRow;
      QuantRow job;
      if (key_.aBytes != LATHE_BYTES_NONE) {
        job.bytes = static_cast<const unsigned char *>(call.a) + at;
        job.flip = key_.aBytes == LATHE_BYTES_UNSIGNED ? 0x80 : 0;
      } else {
        job.a = static_cast<const float *>(call.a) + at;
      }
      job.aCol = key_.aCol;
      job.k = key_.k;
      job.dynamic = key_.aQuantization == LATHE_QUANTIZE_ROWS && !job.bytes;
      job.scale = call.a_scales ? call.a_scales[at / key_.k] : static_cast<float>(key_.aScale);
      job.zero = static_cast<float>(key_.aZero);
      job.out = keepsBytes_ ? nullptr : reinterpret_cast<int8_t *>(shared) + row * padded_;
      job.padded = padded_;
      job.group = weight_.group;
      job.sums = parts + row * partCount_;
      integers_.quantize(job);
      scales[row] = job.scale;
      continue;
    }
    const float *a = leftSide(call, row / key_.m) + row % key_.m * key_.aRow;
    if (stageA_) {
      auto *staged = reinterpret_cast<float *>(shared) + row * padded_;
      for (int64_t k = 0; k < key_.k; ++k)
        staged[k] = a[k * key_.aCol];
      std::fill(staged + key_.k, staged + padded_, 0.0f);
      a = staged;
    }
    for (int64_t g = 0; weight_.hasZeros() && g < partCount_; ++g) {
      // Several at a time, since additions of floats wait for each other.
      float some[8] = {};
      int64_t k = g * weight_.group, last = std::min(key_.k, k + weight_.group);
      for (; k + 8 <= last; k += 8)
        for (int64_t i = 0; i < 8; ++i)
          some[i] += a[k + i];
      for (; k < last; ++k)
        some[0] += a[k];
      sums[row * partCount_ + g] =
          ((some[0] + some[1]) + (some[2] + some[3])) + ((some[4] + some[5]) + (some[6] + some[7]));
    }
  }
  if (mode_ == Mode::integer && key_.aZero != 0 && index == preparations_ - 1)
    prepareOnes(shared);
}

/// A row of ones behind the others, whose products tell what a zero adds.
void QuantPlan::prepareOnes(unsigned char *shared) const {
  auto *ones = reinterpret_cast<int8_t *>(shared) + (keepsBytes_ ? 0 : rowsOfAll() * padded_);
  std::fill(ones, ones + key_.k, int8_t(1));
  std::fill(ones + key_.k, ones + padded_, int8_t(0));
  int32_t *sum = reinterpret_cast<int32_t *>(shared + partOffset_) + rowsOfAll() * partCount_;
  for (int64_t k = 0; k < key_.k; k += weight_.group)
    for (int64_t rest = std::min(weight_.group, key_.k - k); rest > 0; rest -= kPartRows)
      *sum++ = static_cast<int32_t>(std::min(rest, kPartRows));
}

void QuantPlan::multiplyWidened(GemmBlock &block, const float *a, const unsigned char *panel, unsigned char *scratch) const {
  block.sums = reinterpret_cast<float *>(scratch + aBytes_);
  auto *wide = reinterpret_cast<float *>(scratch + aBytes_ + sumBytes_);
  block.b = wide;
  for (int64_t k = 0; k < key_.k; k += tiling_.depth) {
    block.depth = std::min(tiling_.depth, key_.k - k);
    block.first = k == 0;
    block.last = k + block.depth == key_.k;
    block.a = a + k;
    kernels_.widen(weight_, panel, k, block.depth, wide);
    blocks_->f32(block);
  }
}

/// `row` is that of the product's first one, among those of all items.
void QuantPlan::multiplyDirect(GemmBlock &block, const float *a, int64_t row, const unsigned char *panel,
                               unsigned char *scratch, const unsigned char *shared) const {
  QuantTile tile;
  tile.a = stageA_ ? reinterpret_cast<const float *>(shared) + row * padded_ : a;
  tile.aRow = stageA_ ? padded_ : key_.aRow;
  tile.rows = block.rows;
  if (weight_.hasZeros())
    tile.groupSums = reinterpret_cast<const float *>(shared + partOffset_) + row * partCount_;
  tile.groupSumsRow = partCount_;
  tile.panel = panel;
  tile.columns = block.columns;
  tile.sums = reinterpret_cast<float *>(scratch);
  kernels_.multiply(weight_, tile);
  blocks_->finish(block, tile.sums, block.rows, 0);
}

IntegerTile QuantPlan::integerTile(const lathe_matmul_call &call, int64_t row, const unsigned char *shared) const {
  IntegerTile tile;
  tile.a = reinterpret_cast<const int8_t *>(shared) + row * padded_;
  tile.aRow = padded_;
  if (keepsBytes_) {
    bool isOnes = row == rowsOfAll();
    tile.a = isOnes ? reinterpret_cast<const int8_t *>(shared) : static_cast<const int8_t *>(call.a) + row * key_.aRow;
    tile.aRow = isOnes ? padded_ : key_.aRow;
  }
  tile.partSums =
      readsAll_ ? call.a_sums + row : reinterpret_cast<const int32_t *>(shared + partOffset_) + row * partCount_;
  tile.partSumsRow = partCount_;
  return tile;
}

void QuantPlan::multiplyIntegers(const lathe_matmul_call &call, GemmBlock &block, int64_t row, const unsigned char *panel,
                                 const unsigned char *nextPanel, unsigned char *scratch, const unsigned char *shared) const {
  auto *sums = reinterpret_cast<float *>(scratch);
  block.rowScales = (readsAll_ ? call.a_scales : reinterpret_cast<const float *>(shared + scaleOffset_)) + row;
  const int64_t tileRows = this->tileRows();
  int64_t tiles = ceilDiv(block.rows, tileRows);
  bool apart = blockParts_ < partCount_; // sums of a tile are kept until its last part
  int64_t partBytes = panelBytes_ / partCount_;
  for (int64_t begin = 0; begin < partCount_; begin += blockParts_) {
    int64_t end = std::min(partCount_, begin + blockParts_), bytes = (end - begin) * partBytes;
    // Of what the tiles read.
    int64_t units = std::max<int64_t>((end - begin) * std::min(weight_.group, kPartRows) / (expands_ ? 4 : unitRows_), 1);
    unsigned char *expanded = nullptr;
    if (expands_) {
      expanded = scratch + sumBytes_ + 2 * aligned(static_cast<size_t>(weight_.panel) * 4);
      integers_.expand(weight_, panel, begin, end, expanded);
    }
    for (int64_t i = 0; i < tiles; ++i) {
      IntegerTile tile = integerTile(call, row + i * tileRows, shared);
      tile.rows = std::min(tileRows, block.rows - i * tileRows);
      tile.panel = panel;
      tile.bytes = expanded;
      tile.begin = begin;
      tile.end = end;
      tile.columns = block.columns;
      if (end == partCount_ && block.bytes) {
        tile.out = reinterpret_cast<const char *>(block.bytes + i * tileRows * block.outRow);
        tile.outRow = block.outRow;
        tile.outSize = 1;
      } else if (end == partCount_) {
        tile.out = reinterpret_cast<const char *>(block.out + i * tileRows * block.outRow);
        tile.outRow = block.outRow * 4;
      }
      tile.sums = sums + (apart ? i * tileRows * weight_.panel : 0);
      tile.stream = tiles == 1;
      // The next block, of this panel or of the next one, comes evenly.
      const unsigned char *next = end < partCount_ ? panel + end * partBytes : nextPanel;
      tile.next = reinterpret_cast<const char *>(next ? next + bytes * i / tiles : panel);
      tile.nextStep = next ? ceilDiv(ceilDiv(bytes, tiles), units) : 0;
      (isWide_ ? integers_.multiplyBytes : integers_.multiply)(weight_, tile);
      if (end == partCount_)
        blocks_->finish(block, tile.sums, tile.rows, i * tileRows);
    }
  }
}

/// Sums of a panel's columns, by a row of ones: `own` or those that some run of the plan left.
const float *QuantPlan::columnSums(IntegerTile ones, int64_t panel, float *own) {
  enum { unknown, taken, known };
  std::atomic<int> &state = columnSumsState_[static_cast<size_t>(panel)];
  float *kept = columnSums_.data() + panel * weight_.panel;
  if (state.load(std::memory_order_acquire) == known)
    return kept;
  ones.rows = 1;
  ones.panel = panelData_ + panel * panelBytes_;
  ones.end = partCount_;
  ones.columns = weight_.panel;
  ones.sums = own;
  ones.stream = true;
  integers_.multiply(weight_, ones);
  int expected = unknown;
  if (state.compare_exchange_strong(expected, taken, std::memory_order_relaxed)) { // of several threads one writes
    std::copy(own, own + weight_.panel, kept);
    state.store(known, std::memory_order_release);
  }
  return own;
}

bool QuantPlan::execute(const lathe_matmul_call &call, int64_t piece, int64_t following, int, dnnl_stream_t, unsigned char *scratch,
                        const unsigned char *shared) {
  auto [item, rowTile, group] = grid_.placeOf(piece);
  int64_t row = rowTile * tiling_.rows, outOffset = key_.offsetOf(item, key_.outBatch) + row * key_.outRow;
  const float *a = mode_ == Mode::integer ? nullptr : leftSide(call, item) + row * key_.aRow;
  GemmBlock block;
  block.rows = std::min(tiling_.rows, key_.m - row);
  block.aRow = key_.aRow;
  if (mode_ == Mode::widened && stageA_) {
    auto *staged = reinterpret_cast<float *>(scratch);
    for (int64_t i = 0; i < block.rows; ++i)
      for (int64_t k = 0; k < key_.k; ++k)
        staged[i * key_.k + k] = a[i * key_.aRow + k * key_.aCol];
    a = staged;
    block.aRow = key_.k;
  }
  block.width = weight_.panel;
  block.outRow = key_.outRow;
  block.alpha = static_cast<float>(key_.alpha);
  block.activation = key_.activation;
  block.inverse = static_cast<float>(1 / key_.outScale);
  block.zero = static_cast<float>(key_.outZero);
  block.isUnsigned = key_.outBytes == LATHE_BYTES_UNSIGNED;
  // With a zero point z of the left side each sum is too large by z times the scale times that of the weight's column.
  auto *scratchSums = reinterpret_cast<float *>(scratch + sumBytes_);
  float *shifted = scratchSums + weight_.panel;
  float shift = static_cast<float>(key_.alpha * key_.aScale * static_cast<double>(key_.aZero));
  int64_t panelEnd = std::min(panels_, (group + 1) * tiling_.panels);
  if (mode_ == Mode::looked) {
    multiplyLooked(block, call, outOffset, item * key_.m + row, group * tiling_.panels, panelEnd, scratch, shared);
    return true;
  }
  for (int64_t panel = group * tiling_.panels; panel < panelEnd; ++panel) {
    int64_t column = panel * weight_.panel;
    const unsigned char *codes = panelData_ + panel * panelBytes_;
    placeBlock(block, call, outOffset, column);
    if (mode_ == Mode::widened) {
      multiplyWidened(block, a, codes, scratch);
    } else if (mode_ == Mode::direct) {
      multiplyDirect(block, a, item * key_.m + row, codes, scratch, shared);
    } else {
      int64_t nextPanel = panel + 1 < panelEnd ? panel + 1 : grid_.firstPanel(following, key_.items(), tiling_.panels);
      const unsigned char *next = nextPanel < 0 ? nullptr : panelData_ + nextPanel * panelBytes_;
      if (key_.aZero != 0) {
        const float *sums = columnSums(integerTile(call, rowsOfAll(), shared), panel, scratchSums);
        for (int64_t i = 0; i < block.columns; ++i)
          shifted[i] = (block.bias ? block.bias[i] : 0) - shift * sums[i];
        block.bias = shifted;
      }
      multiplyIntegers(call, block, item * key_.m + row, codes, next, scratch, shared);
    }
  }
  return true;
}
