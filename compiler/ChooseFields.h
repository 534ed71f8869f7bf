//===- ChooseFields.h - The fields of steps that choose ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_CHOOSEFIELDS_H
#define LATHE_COMPILER_CHOOSEFIELDS_H

#include "compiler/RecipeFields.h"

namespace lathe::recipe {

StepKind chooseKind();

} // namespace lathe::recipe

#endif // LATHE_COMPILER_CHOOSEFIELDS_H
