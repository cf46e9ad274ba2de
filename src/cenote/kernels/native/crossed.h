// Products of a matrix's columns with another one's: to[j] = sum over rows of x[row][j] y[row], kept in registers.
#pragma once

#include "product.h"

namespace cenote {

// J columns of x, whose rows are `step` numbers apart, by V vectors of y, whose rows are `between` apart; `channels` are wanted.
template <int J, int V>
void crossed(const float* x, int64_t step, const float* y, int64_t between, int64_t rows, float* to, int64_t apart,
             int64_t channels) {
  Vector sum[J][V];
#pragma GCC unroll 16
  for (int j = 0; j < J; ++j)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[j][v] = Vector{};
  for (int64_t i = 0; i < rows; ++i, x += step, y += between) {
    Vector d[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) d[v] = loaded(y + v * kLanes);
#pragma GCC unroll 16
    for (int j = 0; j < J; ++j) {
      Vector seen = fill(x[j]);
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[j][v] += seen * d[v];
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < J; ++j)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v)
      if (channels > v * kLanes) store(to + j * apart + v * kLanes, sum[j][v], std::min<int64_t>(kLanes, channels - v * kLanes));
}

template <int V, int... J>
constexpr auto all_crossed(std::integer_sequence<int, J...>) {
  return std::array<decltype(&crossed<1, V>), sizeof...(J)>{&crossed<J + 1, V>...};
}

inline constexpr auto kCrossedWide = all_crossed<2>(std::make_integer_sequence<int, kWide>());
inline constexpr auto kCrossedNarrow = all_crossed<1>(std::make_integer_sequence<int, kWide>());

}  // namespace cenote
