//===- RecipeFields.h - The fields of a recipe's steps ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_RECIPEFIELDS_H
#define LATHE_COMPILER_RECIPEFIELDS_H

#include "compiler/Recipe.h"
#include <functional>
#include <nlohmann/json.hpp>

namespace lathe::recipe {

/// A field of a step: how it is read from JSON and written to it.
struct Field {
  std::string name;
  std::function<std::string(const nlohmann::ordered_json &value, RecipeStep &step)> read; ///< returns what is wrong
  std::function<nlohmann::ordered_json(const RecipeStep &step)> write;
};

/// Where a step keeps a field: `at(&RecipeStep::bits)`, or `at(&RecipeStep::rotation, &Rotation::seed)` in a part of
/// it.
template <typename T> using Access = std::function<T &(RecipeStep &)>;
template <typename T> Access<T> at(T RecipeStep::*member) {
  return [=](RecipeStep &step) -> T & { return step.*member; };
}
template <typename Part, typename T> Access<T> at(Part RecipeStep::*part, T Part::*member) {
  return [=](RecipeStep &step) -> T & { return step.*part.*member; };
}

Field choice(const char *name, Access<std::string> place, std::vector<std::string> valid);
Field integer(const char *name, Access<int64_t> place, std::vector<int64_t> valid);
/// Any whole number from `low` to `high`.
Field wholeNumber(const char *name, Access<int64_t> place, int64_t low, int64_t high);
Field flag(const char *name, Access<bool> place);
Field number(const char *name, Access<double> place, double low, double high);
/// A number, or null for none.
Field optionalNumber(const char *name, Access<std::optional<double>> place, double low, double high);
/// A whole number, or null for none.
Field optionalWholeNumber(const char *name, Access<std::optional<int64_t>> place, int64_t low, int64_t high);
/// A number above 0 and below 1, or null for none.
Field optionalShare(const char *name, Access<std::optional<double>> place);
/// A list of names or patterns.
Field globs(const char *name, Access<std::vector<std::string>> place);

/// Reads a step of any kind; returns what is wrong.
std::string read(const nlohmann::ordered_json &entry, RecipeStep &step);
/// A step as JSON, with every field of its kind.
nlohmann::ordered_json write(const RecipeStep &step);

/// What errors show of a value: long ones are cut.
std::string shown(const nlohmann::ordered_json &value);

/// "what 'given' is not known: expected …", with the valid name that the fewest changes make of it.
std::string unknown(const std::string &what, const std::string &given, const std::vector<std::string> &valid);

} // namespace lathe::recipe

#endif // LATHE_COMPILER_RECIPEFIELDS_H
