//===- Fragments.cpp - Matrix instructions of a warp ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// PTX ISA, "Matrix Fragments for mma.m16n8k*" and "ldmatrix": a lane holds, of rows g = lane / 4 and g + 8 and from
// column 4 bytes * (lane % 4) on, one word of each 16 bytes along k.
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Block.h"

#include "runtime/SmallFloats.h"

#include <cstring>

namespace lathe::cuda {
namespace {

float asFloat(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

uint32_t asBits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

/// Element `part` of a word of type `type`; products of f16 are exact in f32.
float element(lane::MmaType type, uint32_t word, int part) {
  switch (type) {
  case lane::MmaType::f16:
    return runtime::halfValue(uint16_t(word >> 16 * part));
  case lane::MmaType::bf16:
    return asFloat((word >> 16 * part) << 16);
  default:
    return asFloat(word & 0xffffe000u); // ten bits of mantissa count
  }
}

/// d[16][8] += a[16][k] * b[k][8], for words of `parts` elements.
template <typename Sum, typename Element>
void product(Lane *lanes, int parts, const Element &element, Sum (&sums)[16][8]) {
  Sum a[16][32], b[8][32]; // by columns; at most 8 words of 4 elements along k
  int depth = 8 * parts;
  for (int lane = 0; lane < 32; ++lane)
    for (int half = 0; half < 2; ++half)
      for (int part = 0; part < parts; ++part) {
        int k = (half * 4 + lane % 4) * parts + part;
        a[lane / 4][k] = element(lanes[lane].in[half * 2], part);
        a[lane / 4 + 8][k] = element(lanes[lane].in[half * 2 + 1], part);
        b[lane / 4][k] = element(lanes[lane].in[4 + half], part);
      }
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column)
      for (int k = 0; k < depth; ++k)
        sums[row][column] += a[row][k] * b[column][k];
}

} // namespace

void performMma(int64_t typeNumber, Lane *lanes) {
  auto type = lane::MmaType(typeNumber);
  auto each = [&](auto &&visit) {
    for (int i = 0; i < 32; ++i)
      for (int part = 0; part < 4; ++part)
        visit(lanes[i], part, i / 4 + part / 2 * 8, i % 4 * 2 + part % 2);
  };
  if (type == lane::MmaType::s8) {
    uint32_t sums[16][8]; // wraps around
    each([&](Lane &lane, int part, int row, int column) { sums[row][column] = lane.in[6 + part]; });
    product(lanes, 4, [](uint32_t word, int part) { return uint32_t(int32_t(int8_t(word >> 8 * part))); }, sums);
    each([&](Lane &lane, int part, int row, int column) { lane.out[part] = sums[row][column]; });
    return;
  }
  float sums[16][8];
  each([&](Lane &lane, int part, int row, int column) { sums[row][column] = asFloat(lane.in[6 + part]); });
  product(
      lanes, type == lane::MmaType::tf32 ? 1 : 2, [&](uint32_t word, int part) { return element(type, word, part); },
      sums);
  each([&](Lane &lane, int part, int row, int column) { lane.out[part] = asBits(sums[row][column]); });
}

void performLoadMatrix(int count, bool transposed, Lane *lanes) {
  for (int matrix = 0; matrix < count; ++matrix) {
    uint16_t elements[8][8];
    for (int row = 0; row < 8; ++row)
      std::memcpy(elements[row], lanes[matrix * 8 + row].row, 16);
    for (int i = 0; i < 32; ++i) {
      int row = i / 4, column = i % 4 * 2;
      uint32_t low = transposed ? elements[column][row] : elements[row][column];
      uint32_t high = transposed ? elements[column + 1][row] : elements[row][column + 1];
      lanes[i].out[matrix] = low | high << 16;
    }
  }
}

} // namespace lathe::cuda
