// Products of windows with a matrix: y[p] = sum over lines and j of x[p * place + line * r.line + j] * kernel[line, j].
// With one line and windows that do not overlap it is the product of two matrices.
//
// The inner loop keeps a tile of the output in registers: some places by one or two vectors of channels.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "parallel.h"

namespace cenote {

// The largest tiles that fit the registers beside the kernel's vectors and one number of the picture.
constexpr int kWide = kRegisters == 32 ? 14 : 6;     // places by two vectors
constexpr int kNarrow = kRegisters == 32 ? 16 : 12;  // places by one vector

// A vector in a register. GCC would read it from memory again for each multiplication.
inline Vector loaded(const float* from) {
  Vector value = load(from);
#if defined(__x86_64__)
  asm("" : "+v"(value));
#elif defined(__aarch64__)
  asm("" : "+w"(value));
#endif
  return value;
}

struct Rows {
  const float* x;       // where the window of the first place begins
  int64_t place, line;  // numbers from one place to the next, from one line of the kernel to the next
  int lines;            // of the kernel
  int64_t length;       // of a line of the kernel: width * input
  const float* kernel;  // (line, length, vectors of channels)
  int64_t between;      // numbers from one vector of channels, or two, to the next
  float* y;
  int64_t step;   // numbers from one place of the output to the next
  int channels;   // of this block that are wanted
};

template <int P, int V>
void tile(const Rows& r) {
  Vector sum[P][V];
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[p][v] = Vector{};
  const float* w = r.kernel;
  for (int line = 0; line < r.lines; ++line) {
    const float* x = r.x + line * r.line;
    for (int64_t j = 0; j < r.length; ++j, w += r.between) {
      Vector k[V];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) k[v] = loaded(w + v * kLanes);
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
        Vector seen = fill(x[p * r.place + j]);
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) sum[p][v] += seen * k[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
    float* y = r.y + p * r.step;
    if (r.channels == V * kLanes) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) store(y + v * kLanes, sum[p][v]);
    } else {
      std::memcpy(y, &sum[p][0], r.channels * sizeof(float));
    }
  }
}

template <int V, int... P>
constexpr auto tiles(std::integer_sequence<int, P...>) {
  return std::array<void (*)(const Rows&), sizeof...(P)>{&tile<P + 1, V>...};
}

inline constexpr auto kWideTiles = tiles<2>(std::make_integer_sequence<int, kWide>());
inline constexpr auto kNarrowTiles = tiles<1>(std::make_integer_sequence<int, kNarrow>());

// A kernel as the tiles read it: for each block of channels (line, length, block), zeros where there is no channel.
struct Packed {
  int lines;
  int64_t length;
  int channels;
  std::vector<float> numbers;

  // The blocks are two vectors wide, and the last one is narrow if that is enough.
  static int width(int left) { return left > kLanes ? 2 * kLanes : kLanes; }

  template <typename Read>
  Packed(int lines, int64_t length, int channels, const Read& read) : lines(lines), length(length), channels(channels) {
    numbers.resize(lines * length * round_up(channels, kLanes));
    float* to = numbers.data();
    for (int c = 0; c < channels; c += width(channels - c)) {
      int wide = width(channels - c), wanted = std::min(wide, channels - c);
      for (int64_t i = 0; i < lines * length; ++i, to += wide) {
        for (int k = 0; k < wanted; ++k) to[k] = read(i, c + k);
        for (int k = wanted; k < wide; ++k) to[k] = 0;
      }
    }
  }
};

// One block of channels, `wide` numbers, for `count` places, as many at a time as fit.
inline void block(Rows r, int wide, int64_t count) {
  int most = wide > kLanes ? kWide : kNarrow;
  int64_t parts = (count + most - 1) / most;
  for (int64_t part = 0, from = 0; part < parts; ++part) {
    int64_t places = (count - from + parts - part - 1) / (parts - part);
    (wide > kLanes ? kWideTiles[places - 1] : kNarrowTiles[places - 1])(r);
    r.x += places * r.place, r.y += places * r.step, from += places;
  }
}

// One row of the output: `count` places, those of the input `place` numbers apart, from the frame.
inline void row(const float* x, int64_t place, int64_t line, const Packed& kernel, float* y, int64_t step, int64_t count) {
  const float* w = kernel.numbers.data();
  for (int c = 0, wide; c < kernel.channels; c += wide) {
    wide = Packed::width(kernel.channels - c);
    block({x, place, line, kernel.lines, kernel.length, w, wide, y + c, step, std::min(wide, kernel.channels - c)}, wide, count);
    w += kernel.lines * kernel.length * wide;
  }
}

}  // namespace cenote
