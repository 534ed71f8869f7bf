//===- Allocation.cpp - Which layer gets which alternative ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Allocation.h"
#include <algorithm>
#include <cmath>
#include <tuple>

namespace lathe {
namespace {

double lossOf(const LayerOption &option) { return option.loss > 0 ? option.loss : 0; }

/// Loss for each byte that `to` saves.
double slopeBetween(const LayerOption &from, const LayerOption &to) {
  return (lossOf(to) - lossOf(from)) / static_cast<double>(from.cost - to.cost);
}

} // namespace

std::vector<size_t> lowerHull(const std::vector<LayerOption> &options) {
  std::vector<size_t> order;
  for (size_t i = 0; i < options.size(); ++i)
    if (!std::isnan(options[i].loss))
      order.push_back(i);
  // The best one first, then what is smaller than all that lose less.
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::tuple(lossOf(options[a]), options[a].cost, a) < std::tuple(lossOf(options[b]), options[b].cost, b);
  });
  std::vector<size_t> hull;
  for (size_t i : order) {
    if (!hull.empty() && options[i].cost >= options[hull.back()].cost)
      continue;
    while (hull.size() > 1 && slopeBetween(options[hull.back()], options[i]) <=
                                  slopeBetween(options[hull[hull.size() - 2]], options[hull.back()]))
      hull.pop_back();
    hull.push_back(i);
  }
  return hull;
}

AllocationPath::AllocationPath(std::vector<std::vector<LayerOption>> given) : layers(std::move(given)) {
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    std::vector<size_t> hull = lowerHull(layers[layer]);
    first.push_back(hull.empty() ? 0 : hull.front());
    for (size_t i = 1; i < hull.size(); ++i)
      moves.push_back({layer, hull[i], slopeBetween(layers[layer][hull[i - 1]], layers[layer][hull[i]])});
  }
  // Slopes of one layer rise, so that its own steps stay in their order.
  std::sort(moves.begin(), moves.end(),
            [](const Move &a, const Move &b) { return std::pair(a.slope, a.layer) < std::pair(b.slope, b.layer); });
}

std::vector<size_t> AllocationPath::choice(size_t steps) const {
  std::vector<size_t> result = first;
  for (size_t i = 0; i < std::min(steps, moves.size()); ++i)
    result[moves[i].layer] = moves[i].option;
  return result;
}

uint64_t AllocationPath::cost(const std::vector<size_t> &choice) const {
  uint64_t sum = 0;
  for (size_t layer = 0; layer < layers.size(); ++layer)
    sum += layers[layer][choice[layer]].cost;
  return sum;
}

double AllocationPath::loss(const std::vector<size_t> &choice) const {
  double sum = 0;
  for (size_t layer = 0; layer < layers.size(); ++layer)
    sum += lossOf(layers[layer][choice[layer]]);
  return sum;
}

size_t AllocationPath::stepsFor(uint64_t limit) const {
  std::vector<size_t> current = first;
  uint64_t sum = cost(current);
  for (size_t steps = 0;; ++steps) {
    if (sum <= limit)
      return steps;
    if (steps == moves.size())
      return steps + 1;
    const Move &move = moves[steps];
    sum -= layers[move.layer][current[move.layer]].cost - layers[move.layer][move.option].cost;
    current[move.layer] = move.option;
  }
}

std::vector<size_t> AllocationPath::filled(std::vector<size_t> choice, uint64_t limit) const {
  for (uint64_t sum = cost(choice); sum < limit;) {
    double best = 0;
    size_t layer = 0, option = 0;
    for (size_t i = 0; i < layers.size(); ++i) {
      const LayerOption &own = layers[i][choice[i]];
      for (size_t j = 0; j < layers[i].size(); ++j) {
        const LayerOption &other = layers[i][j];
        double gain = lossOf(own) - lossOf(other);
        if (!(gain > 0) || (other.cost > own.cost && other.cost - own.cost > limit - sum))
          continue;
        // What costs nothing gains most.
        double value = other.cost > own.cost ? gain / static_cast<double>(other.cost - own.cost) : INFINITY;
        if (value > best) {
          best = value;
          layer = i;
          option = j;
        }
      }
    }
    if (best == 0)
      break;
    sum = sum - layers[layer][choice[layer]].cost + layers[layer][option].cost;
    choice[layer] = option;
  }
  return choice;
}

} // namespace lathe
