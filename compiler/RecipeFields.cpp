//===- RecipeFields.cpp - The fields of a recipe's steps ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/RecipeFields.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"

using llvm::StringRef;
using nlohmann::ordered_json;

namespace lathe::recipe {
namespace {

/// The valid name that the fewest changes make of what was given; empty where none is near.
std::string nearest(StringRef given, const std::vector<std::string> &valid) {
  std::string best;
  unsigned distance = std::max<unsigned>(2, given.size() / 2) + 1;
  for (const std::string &name : valid)
    if (unsigned own = given.edit_distance(name); own < distance) {
      distance = own;
      best = name;
    }
  return best;
}

std::string readNumber(const ordered_json &value, double low, double high, double &number) {
  if (value.is_number())
    number = value.get<double>();
  if (!value.is_number() || !(number >= low && number <= high))
    return "expects a number from " + ordered_json(low).dump() + " to " + ordered_json(high).dump() + ", got " +
           shown(value);
  return "";
}

/// Places are given for steps that change; one that is written is a copy.
template <typename T> std::function<ordered_json(const RecipeStep &)> writer(Access<T> place) {
  return [=](RecipeStep step) { return ordered_json(place(step)); };
}

} // namespace

std::string shown(const ordered_json &value) {
  constexpr size_t kLongest = 80;
  // Characters beyond ASCII as escapes, so that none is cut.
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, ordered_json::error_handler_t::replace);
  return text.size() > kLongest ? text.substr(0, kLongest) + "…" : text;
}

std::string unknown(const std::string &what, const std::string &given, const std::vector<std::string> &valid) {
  std::string near = nearest(given, valid);
  return what + " '" + given + "' is not known: expected " + llvm::join(valid, ", ") +
         (near.empty() ? "" : "; did you mean '" + near + "'?");
}

Field choice(const char *name, Access<std::string> place, std::vector<std::string> valid) {
  return {name,
          [=](const ordered_json &value, RecipeStep &step) -> std::string {
            if (!value.is_string())
              return "expects one of " + llvm::join(valid, ", ") + ", got " + shown(value);
            place(step) = value.get<std::string>();
            return llvm::is_contained(valid, place(step)) ? "" : unknown("value", place(step), valid);
          },
          writer(place)};
}

Field integer(const char *name, Access<int64_t> place, std::vector<int64_t> valid) {
  std::vector<std::string> texts;
  for (int64_t number : valid)
    texts.push_back(std::to_string(number));
  return {name,
          [=](const ordered_json &value, RecipeStep &step) -> std::string {
            if (value.is_number_integer())
              place(step) = value.get<int64_t>();
            if (!value.is_number_integer() || !llvm::is_contained(valid, place(step)))
              return "expects one of " + llvm::join(texts, ", ") + ", got " + shown(value);
            return "";
          },
          writer(place)};
}

Field wholeNumber(const char *name, Access<int64_t> place, int64_t low, int64_t high) {
  return {name,
          [=](const ordered_json &value, RecipeStep &step) -> std::string {
            // What is beyond 2^63 is read as an unsigned number.
            bool fits = value.is_number_integer() &&
                        !(value.is_number_unsigned() && value.get<uint64_t>() > uint64_t(INT64_MAX));
            if (!fits || value.get<int64_t>() < low || value.get<int64_t>() > high)
              return "expects a whole number from " + std::to_string(low) + " to " + std::to_string(high) + ", got " +
                     shown(value);
            place(step) = value.get<int64_t>();
            return "";
          },
          writer(place)};
}

Field flag(const char *name, Access<bool> place) {
  return {name,
          [=](const ordered_json &value, RecipeStep &step) -> std::string {
            if (!value.is_boolean())
              return "expects true or false, got " + shown(value);
            place(step) = value.get<bool>();
            return "";
          },
          writer(place)};
}

Field number(const char *name, Access<double> place, double low, double high) {
  return {name, [=](const ordered_json &value, RecipeStep &step) { return readNumber(value, low, high, place(step)); },
          writer(place)};
}

Field optionalNumber(const char *name, Access<std::optional<double>> place, double low, double high) {
  return {name,
          [=](const ordered_json &value, RecipeStep &step) -> std::string {
            place(step).reset();
            if (value.is_null())
              return "";
            double number = 0;
            std::string error = readNumber(value, low, high, number);
            place(step) = number;
            return error;
          },
          [=](RecipeStep step) { return place(step) ? ordered_json(*place(step)) : ordered_json(); }};
}

Field optionalWholeNumber(const char *name, Access<std::optional<int64_t>> place, int64_t low, int64_t high) {
  return {name,
          [=](const ordered_json &value, RecipeStep &step) -> std::string {
            place(step).reset();
            if (value.is_null())
              return "";
            int64_t number = 0;
            Field whole = wholeNumber(name, [&](RecipeStep &) -> int64_t & { return number; }, low, high);
            if (std::string error = whole.read(value, step); !error.empty())
              return error;
            place(step) = number;
            return "";
          },
          [=](RecipeStep step) { return place(step) ? ordered_json(*place(step)) : ordered_json(); }};
}

Field optionalShare(const char *name, Access<std::optional<double>> place) {
  return {
      name,
      [=](const ordered_json &value, RecipeStep &step) -> std::string {
        place(step).reset();
        if (value.is_null())
          return "";
        double number = value.is_number() ? value.get<double>() : -1;
        if (number > 0 && number < 1) {
          place(step) = number;
          return "";
        }
        std::string nearest = !value.is_number() ? "" : number <= 0 ? "; the nearest is 0.01" : "; the nearest is 0.99";
        return "expects a number above 0 and below 1, got " + shown(value) + nearest;
      },
      [=](RecipeStep step) { return place(step) ? ordered_json(*place(step)) : ordered_json(); }};
}

Field globs(const char *name, Access<std::vector<std::string>> place) {
  return {name,
          [=](const ordered_json &value, RecipeStep &step) -> std::string {
            auto isText = [](const ordered_json &entry) {
              return entry.is_string() && !entry.get_ref<const std::string &>().empty();
            };
            if (!value.is_array() || !llvm::all_of(value, isText))
              return "expects a list of names or patterns, got " + shown(value);
            place(step) = value.get<std::vector<std::string>>();
            return "";
          },
          writer(place)};
}

} // namespace lathe::recipe
