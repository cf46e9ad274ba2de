// Rows of a convolution whose windows overlap: as product.h, but each number of the picture that is read serves all taps that
// see it, which makes fewer loads than multiplications where there are few channels. Nothing is copied into a frame of zeros:
// what lies beyond the border is left out. The sums are finished before they are written: bias, another array, rectifier, the
// largest of each 2x2.
#pragma once

#include "convolution.h"
#include "product.h"

namespace cenote {

// Some places of one row of the output, or of two, side by side, and one or two vectors of channels from `channel` on.
struct Swept {
  const float* x;  // a picture
  int64_t height, width, inputs;
  int64_t top, left;  // where the window of the first place begins, in the picture or beyond its border
  int64_t down, rise;  // rows of the picture from one row of the output to the next, from one line of the kernel to the next
  int lines;
  const float* kernel;  // (line, input, tap, vectors of channels)
  float* y;
  int64_t step;  // numbers from one place of the output to the next
  int channels;  // that are wanted
  int64_t channel;
  Finish finish;  // its arrays begin at the first place and the first channel here, but for the bias
};

// What a tile does with its sums, `wide` numbers a place, where there are fewer channels.
__attribute__((noinline)) inline void finish_narrow(const Swept& s, const float* sums, int rows, int places, int wide) {
  const float *bias = s.finish.bias ? s.finish.bias + s.channel : kNothing, *rest = s.finish.rest ? s.finish.rest : kNothing;
  int64_t apart = s.finish.rest ? s.step : 0;
  // Where places lie side by side, whole vectors are written over the places that come next, which are written later.
  int64_t end = s.step == s.channels ? places / rows * s.step : 0;
  for (int p = 0; p < places / rows; ++p)
    for (int k = 0; k < wide; k += kLanes) {
      int64_t at = p * s.step + k, n = at + kLanes <= end ? kLanes : std::min(kLanes, s.channels - k);
      const float* sum = sums + rows * p * wide + k;
      Vector add = load(bias + k);
      if (rows == 2) {
        const float* below = sum + places * wide;
        const Vector four[] = {load(sum) + add, load(sum + wide) + add, load(below) + add, load(below + wide) + add};
        s.finish.largest(four, s.y, at, n);
      } else {
        store(s.y + at, s.finish.rectified(load(sum) + add + load(rest + p * apart + k, n)), n);
      }
    }
}

// T taps, places S apart, R rows of P places, V vectors.
template <int T, int S, int R, int P, int V>
void swept(const Swept& s) {
  constexpr int kColumns = (P - 1) * S + T;
  Vector sum[R * P][V];
#pragma GCC unroll 16
  for (int p = 0; p < R * P; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[p][v] = Vector{};
  const float* w = s.kernel;
  int64_t from = -s.left, to = s.width - s.left;  // those of the columns that exist
  for (int line = 0; line < s.lines; ++line) {
    const float* rows[R];
    bool none = true;
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
      int64_t row = s.top + r * s.down + line * s.rise;
      bool there = row >= 0 && row < s.height;
      rows[r] = there ? s.x + (row * s.width + s.left) * s.inputs : nullptr;
      none = none && !there;
    }
    if (none) {
      w += s.inputs * T * V * kLanes;
      continue;
    }
    for (int64_t j = 0; j < s.inputs; ++j, w += T * V * kLanes) {
      Vector k[T][V];
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) k[t][v] = loaded(w + (t * V + v) * kLanes);
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) {
        if (R > 1 && !rows[r]) continue;
        const float* at = rows[r] + j;
#pragma GCC unroll 40
        for (int c = 0; c < kColumns; ++c, at += s.inputs) {
          if ((c < T - 1 && c < from) || (c > kColumns - T && c >= to)) continue;
          Vector seen = fill(*at);
#pragma GCC unroll 8
          for (int t = 0; t < T; ++t)
            if (c >= t && (c - t) % S == 0 && (c - t) / S < P)
#pragma GCC unroll 2
              for (int v = 0; v < V; ++v) sum[r * P + (c - t) / S][v] += seen * k[t][v];
        }
      }
    }
  }
  if (s.channels < V * kLanes) {
    float sums[R * P * V * kLanes];
#pragma GCC unroll 16
    for (int p = 0; p < R * P; ++p)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) store(sums + (p * V + v) * kLanes, sum[p][v]);
    return finish_narrow(s, sums, R, P, V * kLanes);
  }
  const float *bias = s.finish.bias ? s.finish.bias + s.channel : kNothing, *rest = s.finish.rest ? s.finish.rest : kNothing;
  int64_t apart = s.finish.rest ? s.step : 0;
#pragma GCC unroll 2
  for (int v = 0; v < V; ++v) {
    Vector add = load(bias + v * kLanes);
#pragma GCC unroll 16
    for (int p = 0; p < P / R; ++p) {
      int64_t at = p * s.step + v * kLanes;
      if (R == 2) {
        const Vector four[] = {sum[2 * p][v] + add, sum[2 * p + 1][v] + add, sum[R * P - P + 2 * p][v] + add,
                               sum[R * P - P + 2 * p + 1][v] + add};
        s.finish.largest(four, s.y, at, kLanes);
      } else {
        store(s.y + at, s.finish.rectified(sum[p][v] + add + load(rest + p * apart + v * kLanes)));
      }
    }
  }
}

// The most places, an even number, that leave registers for the kernel's vectors and one number of the picture.
constexpr int most_swept(int taps, int rows, int vectors) {
  return std::max(2, std::min(16, (kRegisters - 1 - taps * vectors) / vectors) / rows / 2 * 2);
}

// For 1, 2, 4, 6 ... places; two rows have at least two.
template <int T, int S, int R, int V, int... P>
constexpr auto all_swept(std::integer_sequence<int, P...>) {
  return std::array<void (*)(const Swept&), sizeof...(P)>{&swept<T, S, R, std::max(R, 2 * P), V>...};
}

template <int T, int S, int R, int V>
inline constexpr auto kSwept = all_swept<T, S, R, V>(std::make_integer_sequence<int, most_swept(T, R, V) / 2 + 1>());

// Numbers from one row of a result to the next, from one place to the next, from one picture to the next.
struct Apart {
  int64_t row, place, picture;

  explicit Apart(const Form& f) : row(f.columns * f.outputs), place(f.outputs), picture(f.rows * row) {}
  Apart(int64_t row, int64_t place, int64_t picture) : row(row), place(place), picture(picture) {}
};

// A kernel (line, tap, input, output), packed once for a convolution.
class Windows {
 public:
  Windows(const Form& f, bool windows, const float* k) : Windows(f, windows, k, Apart(f)) {}

  Windows(const Form& f, bool windows, const float* k, const Apart& apart)
      : form_(f), apart_(apart), windows_(windows), sweeps_(can_sweep(f, windows)),
        kernel_(static_cast<int>(f.lines), f.taps * f.inputs, static_cast<int>(f.outputs), [&](int64_t i, int c) {
          int64_t line = i / (f.taps * f.inputs), j = i % (f.taps * f.inputs);
          int64_t tap = sweeps_ ? j % f.taps : j / f.inputs, input = sweeps_ ? j / f.taps : j % f.inputs;
          return k[((line * f.taps + tap) * f.inputs + input) * f.outputs + c];
        }) {}

  static bool can_sweep(const Form& f, bool windows) {
    int64_t columns = windows ? 2 * f.columns : f.columns, beyond = (columns - 1) * f.across + f.taps - f.before - f.width;
    bool fits = f.before < f.taps && beyond < f.taps && f.spread == 1;
    return fits && ((f.across == 1 && (f.taps == 3 || f.taps == 5)) || (f.across == 2 && f.taps == 3 && !windows));
  }

  const Form& form() const { return form_; }
  const Apart& apart() const { return apart_; }

  // Whether `sweep` does it. Else it is `row`'s, from a frame.
  bool sweeps() const { return sweeps_; }

  int64_t blocks() const { return (form_.outputs + 2 * kLanes - 1) / (2 * kLanes); }

  // Row i of a result, that of the windows if there are, and one block of channels.
  void sweep(const float* picture, int64_t i, int64_t block, float* y, const Finish& finish) const {
    int64_t c = block * 2 * kLanes, each = windows_ ? 2 : 1;
    int wide = Packed::width(static_cast<int>(form_.outputs - c)), v = wide / kLanes;
    const float* w = kernel_.numbers.data() + kernel_.lines * kernel_.length * c;
    Swept s{picture, form_.height, form_.width, form_.inputs, i * each * form_.down - form_.above, 0, form_.down, form_.rise,
            kernel_.lines, w,
            nullptr, apart_.place, static_cast<int>(std::min<int64_t>(wide, form_.outputs - c)), c, {}};
    int64_t count = form_.columns * each, most = most_swept(static_cast<int>(form_.taps), static_cast<int>(each), v);
    int64_t parts = (count + most - 1) / most;
    if (parts == 1 && count % 2) parts = 2;  // there are no tiles of 3, 5 ... places
    for (int64_t from = 0; from < count; parts = std::max<int64_t>(1, parts - 1)) {
      int64_t places = count == 1 ? 1 : std::min(most, round_up((count - from + parts - 1) / parts, 2));
      from = std::min(from, count - places);  // of an odd number one place is done twice
      int64_t at = from / each * apart_.place + c;
      s.left = from * form_.across - form_.before, s.y = y + at, s.finish = finish.at(at);
      tiles(v)[places / 2](s);
      from += places;
    }
  }

  // `count` places from a frame whose rows are `line` numbers apart. Where taps are apart, it has what a place sees side by side.
  void row(const float* x, int64_t line, float* y, int64_t step, int64_t count, const Finish& finish) const {
    int64_t place = form_.spread > 1 ? form_.taps : form_.across;
    cenote::row(x, place * form_.inputs, form_.rise * line, kernel_, y, step, count);
    if (finish.nothing()) return;
    for (int64_t p = 0; p < count; ++p, y += step) finish.finish(y, p * step, form_.outputs, y);
  }

 private:
  void (*const* tiles(int v) const)(const Swept&) {
    bool two = v == 2;
    if (windows_ && form_.taps == 3) return two ? kSwept<3, 1, 2, 2>.data() : kSwept<3, 1, 2, 1>.data();
    if (windows_) return two ? kSwept<5, 1, 2, 2>.data() : kSwept<5, 1, 2, 1>.data();
    if (form_.taps == 5) return two ? kSwept<5, 1, 1, 2>.data() : kSwept<5, 1, 1, 1>.data();
    if (form_.across == 2) return two ? kSwept<3, 2, 1, 2>.data() : kSwept<3, 2, 1, 1>.data();
    return two ? kSwept<3, 1, 1, 2>.data() : kSwept<3, 1, 1, 1>.data();
  }

  Form form_;
  Apart apart_;
  bool windows_, sweeps_;
  Packed kernel_;
};

}  // namespace cenote
