//===- QuantizeCaches.cpp - Caches of codes -------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Attention.h"
#include "passes/generation/Passes.h"

namespace lathe::generation {
#define GEN_PASS_DEF_QUANTIZECACHESPASS
#include "passes/generation/Passes.h.inc"
} // namespace lathe::generation

using namespace mlir;

namespace lathe::generation {

/// The type of codes that a name stands for; null for another name.
static Type codeType(StringRef name, MLIRContext *context) {
  bool isUnsigned = name.consume_front("u");
  unsigned bits = name == "i8" ? 8 : name == "i4" ? 4 : 0;
  return bits == 0 ? Type()
                   : IntegerType::get(context, bits, isUnsigned ? IntegerType::Unsigned : IntegerType::Signless);
}

static bool isOfFloats(CacheOp cache) { return cast<RankedTensorType>(cache.getType()).getElementType().isF32(); }

std::vector<RoundedCache> findCaches(func::FuncOp main) {
  std::vector<RoundedCache> result;
  main.walk([&](CacheOp cache) {
    auto type = cast<RankedTensorType>(cache.getType());
    if (isOfFloats(cache) && type.getRank() == 4)
      result.push_back({cache.getName().str(), type.getDimSize(1), type.getDimSize(3), cache.getCodes().has_value()});
  });
  return result;
}

void quantizeCaches(func::FuncOp main, ArrayRef<std::string> names, StringRef codes, int64_t groupSize, bool rotate) {
  Type type = codeType(codes, main.getContext());
  main.walk([&](CacheOp cache) {
    if (!type || !isOfFloats(cache) || cache.getCodes() || !llvm::is_contained(names, cache.getName()))
      return;
    cache.setCodesAttr(TypeAttr::get(type));
    cache.setGroupSize(groupSize);
    cache.setRotated(rotate);
  });
}

namespace {

struct QuantizeCaches : impl::QuantizeCachesPassBase<QuantizeCaches> {
  using QuantizeCachesPassBase::QuantizeCachesPassBase;

  void runOnOperation() override {
    func::FuncOp main = getOperation();
    if (!codeType(codes, &getContext())) {
      main.emitError() << "expects codes of i8, ui8, i4 or ui4, got '" << codes << "'";
      return signalPassFailure();
    }
    if (groupSize < 0 || groupSize % 16 != 0) {
      main.emitError() << "expects a group size of 0 or a multiple of 16, got " << static_cast<int64_t>(groupSize);
      return signalPassFailure();
    }
    std::vector<std::string> all(names.begin(), names.end());
    if (all.empty())
      for (const RoundedCache &cache : findCaches(main))
        all.push_back(cache.name);
    quantizeCaches(main, all, codes, groupSize, rotate);
  }
};

} // namespace
} // namespace lathe::generation
