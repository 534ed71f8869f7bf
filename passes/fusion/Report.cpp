//===- Report.cpp - What fused, and what nearly did -----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/fusion/Report.h"
#include "dialects/lathe/ValueNames.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace lathe::fusion {

bool Attempt::require(bool holds, const Twine &condition, const Twine &failure, const Twine &change, Operation *op) {
  if (holds) {
    met.push_back(condition.str());
    return true;
  }
  failed = failure.isTriviallyEmpty() ? condition.str() : failure.str();
  advice = change.str();
  if (op)
    at = op;
  return false;
}

void collectNodes(Location loc, llvm::SetVector<StringAttr> &names) {
  loc->walk([&](Location inner) {
    if (auto name = dyn_cast<NameLoc>(inner))
      names.insert(name.getName());
    return WalkResult::advance();
  });
}

SmallVector<Operation *> usersOf(Value value) {
  llvm::SmallSetVector<Operation *, 4> users;
  for (Operation *user : value.getUsers())
    if (!isOpTriviallyDead(user))
      users.insert(user);
  return users.takeVector();
}

Fuser::Fuser(func::FuncOp func, StringRef kind, bool explain) : kind(kind), func(func), explain(explain) {
  if (auto known = func->getAttrOfType<ArrayAttr>(kFusionsAttr); known && explain)
    entries.append(known.begin(), known.end());
}

Fuser::~Fuser() {
  if (explain)
    func->setAttr(kFusionsAttr, ArrayAttr::get(func.getContext(), entries));
}

void Fuser::replace(Operation *root, Operation *composite, ArrayRef<Operation *> covered) {
  SmallVector<Location> locs;
  for (Operation *op : covered)
    locs.push_back(op->getLoc());
  composite->setLoc(fusedLocation(func.getContext(), locs, root->getLoc()));
  if (explain) {
    Builder b(func.getContext());
    llvm::SetVector<StringAttr> names;
    collectNodes(composite->getLoc(), names);
    SmallVector<Attribute> nodes(names.begin(), names.end());
    entries.push_back(b.getDictionaryAttr({b.getNamedAttr("kind", b.getStringAttr(kind)),
                                           b.getNamedAttr("nodes", b.getArrayAttr(nodes))}));
  }
  root->getResult(0).replaceAllUsesWith(composite->getResult(0));
  eraseDead(root);
}

void Fuser::eraseDead(Operation *op) {
  SmallVector<Operation *> worklist{op};
  while (!worklist.empty()) {
    Operation *dead = worklist.pop_back_val();
    if (erased.contains(dead) || !isOpTriviallyDead(dead))
      continue;
    for (Value operand : dead->getOperands())
      if (Operation *producer = operand.getDefiningOp())
        worklist.push_back(producer);
    erased.insert(dead);
    dead->erase();
  }
}

static std::string stringOf(DictionaryAttr entry, StringRef name) {
  auto text = entry.getAs<StringAttr>(name);
  return text ? text.str() : std::string();
}

static std::vector<std::string> stringsOf(DictionaryAttr entry, StringRef name) {
  std::vector<std::string> result;
  if (auto list = entry.getAs<ArrayAttr>(name))
    for (auto text : list.getAsRange<StringAttr>())
      result.push_back(text.str());
  return result;
}

void collectStated(ModuleOp module, Findings &findings) {
  module.walk([&](Operation *op) {
    std::string kind = llvm::TypeSwitch<Operation *, std::string>(op)
                           .Case<LayerNormOp>([](auto) { return "layer_norm"; })
                           .Case<RmsNormOp>([](auto) { return "rms_norm"; })
                           .Case<GeluOp>([](auto) { return "gelu"; })
                           .Case<SwishOp>([](auto) { return "silu"; })
                           .Default([](auto) { return ""; });
    if (kind.empty())
      return;
    llvm::SetVector<StringAttr> names;
    collectNodes(op->getLoc(), names);
    Findings::Fusion fusion{kind, {}, true};
    for (StringAttr name : names)
      fusion.nodes.push_back(name.str());
    findings.fusions.push_back(std::move(fusion));
  });
}

void collectFound(ModuleOp module, Findings &findings) {
  std::vector<Findings::NearMiss> missed;
  llvm::StringSet<> fused;
  llvm::StringMap<size_t> most; // conditions met, by the anchor's node
  module.walk([&](func::FuncOp func) {
    auto entries = func->getAttrOfType<ArrayAttr>(kFusionsAttr);
    if (!entries)
      return;
    for (auto entry : entries.getAsRange<DictionaryAttr>()) {
      if (entry.get("nodes")) {
        findings.fusions.push_back({stringOf(entry, "kind"), stringsOf(entry, "nodes"), false});
        for (const std::string &node : findings.fusions.back().nodes)
          fused.insert(node);
      } else {
        missed.push_back({stringOf(entry, "kind"), stringOf(entry, "node"), stringOf(entry, "at"), stringsOf(entry, "met"),
                          stringOf(entry, "failed"), stringOf(entry, "advice")});
        size_t &met = most[missed.back().node];
        met = std::max(met, missed.back().met.size());
      }
    }
  });
  for (Findings::NearMiss &miss : missed)
    if (!fused.contains(miss.node) && miss.met.size() == most[miss.node])
      findings.nearMisses.push_back(std::move(miss));
}

void Fuser::missed(const Attempt &attempt) {
  if (!explain || !attempt.near || attempt.failed.empty())
    return;
  Builder b(func.getContext());
  auto node = [&](Operation *op) {
    llvm::SetVector<StringAttr> names;
    collectNodes(op->getLoc(), names);
    return names.empty() ? b.getStringAttr("") : names.front();
  };
  SmallVector<Attribute> met;
  for (const std::string &condition : attempt.met)
    met.push_back(b.getStringAttr(condition));
  entries.push_back(b.getDictionaryAttr(
      {b.getNamedAttr("kind", b.getStringAttr(kind)), b.getNamedAttr("node", node(attempt.anchor)),
       b.getNamedAttr("at", node(attempt.at)), b.getNamedAttr("met", b.getArrayAttr(met)),
       b.getNamedAttr("failed", b.getStringAttr(attempt.failed)), b.getNamedAttr("advice", b.getStringAttr(attempt.advice))}));
}

} // namespace lathe::fusion
