//===- ChangeGate.cpp - Leaves out what passes would change ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/ChangeGate.h"
#include "compiler/StepAction.h"
#include "dialects/lathe/NodeAction.h"
#include "dialects/lathe/ValueNames.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Rewrite/PatternApplicator.h"

using namespace mlir;

namespace lathe {

static constexpr uint64_t kSteps = uint64_t(1) << 32;

/// The node that an operation stands for; empty where its location tells none.
static std::string nodeOf(Operation *op) {
  if (std::optional<ModelValue> value = modelValue(op->getLoc()))
    return value->node.str();
  std::string node;
  op->getLoc()->walk([&](Location inner) {
    auto name = dyn_cast<NameLoc>(inner);
    if (!name)
      return WalkResult::advance();
    node = name.getName().str();
    return WalkResult::interrupt();
  });
  return node;
}

ChangeGate::ChangeGate(MLIRContext &context, ChangeLimit *limit, std::string added)
    : context(context), limit(limit), added(std::move(added)) {
  context.registerActionHandler(
      [this](llvm::function_ref<void()> carryOut, const tracing::Action &action) { handle(carryOut, action); });
}

ChangeGate::~ChangeGate() { context.registerActionHandler(nullptr); }

/// Without these there is no code, or none for shapes that are not computed.
bool ChangeGate::isRequired(StringRef pass) const {
  if (StringRef(added).contains(pass))
    return false;
  bool isOfKernels = phase == "select" && !pass.starts_with("cpu-");
  return phase == "plan" || phase == "llvm" || pass == "simplify-shapes" || pass == "cpu-select-kernels" || isOfKernels;
}

void ChangeGate::handle(llvm::function_ref<void()> carryOut, const tracing::Action &action) {
  if (auto *step = dyn_cast<StepAction>(&action)) {
    StringRef place = step->place;
    place.consume_front("recipe: ");
    std::string what = place.rtrim(": ").str() + " (" + step->kind + ")";
    // Each place is one, apart from the runs of passes, which are counted from 1.
    uint64_t run = kSteps + steps.try_emplace(what, steps.size()).first->second;
    if (limit->allows(run, {"compress", what, step->weight}))
      carryOut();
    return;
  }
  if (phase.empty())
    return carryOut();
  // By tag: types of actions of MLIR that are defined in headers have one number in each shared library.
  if (action.getTag() == PassExecutionAction::tag) {
    auto *execution = static_cast<const PassExecutionAction *>(&action);
    // Managers of nested passes are passes, too: without an argument.
    StringRef argument = execution->getPass().getArgument();
    if (argument.empty())
      return carryOut();
    ++runs;
    if (isRequired(argument)) {
      // With all that it runs of others.
      std::string outer = std::exchange(phase, "");
      carryOut();
      phase = std::move(outer);
    } else if (limit->allows(runs, {phase, argument.str(), ""})) {
      std::string outer = std::exchange(pass, argument.str());
      carryOut();
      pass = std::move(outer);
    }
    return;
  }
  bool isOfNode = action.getTag() == ApplyPatternAction::tag || isa<NodeAction>(&action);
  auto *op =
      isOfNode && !pass.empty() ? llvm::dyn_cast_if_present<Operation *>(action.getContextIRUnits().front()) : nullptr;
  std::string node = op ? nodeOf(op) : "";
  if (node.empty() || limit->allows(runs, {phase, pass, node}))
    carryOut();
}

} // namespace lathe
