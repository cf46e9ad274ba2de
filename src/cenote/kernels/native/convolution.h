// What plain and depthwise convolutions share: sizes, what is done with the sums, and who does it.
#pragma once

#include <limits>
#include <vector>

#include "functions.h"
#include "steps.h"

namespace cenote {

// dx[n] sums dy[o] k[n + pad - o stride] over the o for which that lies in the kernel. The places n with the same remainder of
// n + pad by the stride see the same taps of the kernel, in turned order: a convolution of dy with stride one for each remainder.
struct Phase {
  int64_t taps, first, count, from;  // taps of the kernel; the first place, how many; where dy begins, in places of dy
};

inline std::vector<Phase> phases(int64_t stride, int64_t size, int64_t pad, int64_t taps) {
  std::vector<Phase> found;
  for (int64_t r = 0; r < stride; ++r) {
    int64_t first = ((r - pad) % stride + stride) % stride, mine = r < taps ? (taps - r + stride - 1) / stride : 0;
    int64_t count = first < size ? (size - first + stride - 1) / stride : 0;
    found.push_back({mine, first, count, (first + pad - r) / stride - (mine - 1)});
  }
  return found;
}

inline constexpr float kNothing[2 * kLanes] = {};  // in the place of a bias, or of what is added

struct Form {
  int64_t batch, height, width, inputs;
  int64_t rows, columns, outputs;  // with windows of 2x2, rows and columns of the windows
  int64_t lines, taps, down, across, above, before;
  int64_t rise = 1, spread = 1;  // rows and columns of the picture from one line, one tap of the kernel to the next

  int64_t work() const { return batch * rows * columns * outputs * lines * taps * inputs; }
};

struct Finish {
  const float* bias = nullptr;  // whole vectors
  const float* rest = nullptr;  // added, too; it lies as the result does
  bool rectify = false;
  bool windows = false;       // the largest of each 2x2, then without `rest`
  uint8_t* places = nullptr;  // which of the four it was, kNone where the rectifier or a NaN stops it; lies as the result does

  bool nothing() const { return !bias && !rest && !rectify; }

  Finish at(int64_t place) const {
    Finish here = *this;
    if (rest) here.rest += place;
    if (places) here.places += place;
    return here;
  }

  Vector rectified(Vector sum) const {
    Vector least = fill(rectify ? 0 : -std::numeric_limits<float>::infinity());
    return choose(sum < least, least, sum);  // NaN stays NaN
  }

  // The sums of one place.
  void finish(const float* sums, int64_t at, int64_t channels, float* y) const {
    each_vector(channels, [&](int64_t k, int64_t n) {
      Vector sum = load(sums + k, n);
      if (bias) sum += load(bias + k);
      if (rest) sum += load(rest + at + k, n);
      store(y + k, rectified(sum), n);
    });
  }

  // The four of a window, row by row.
  void largest(const Vector* four, float* y, int64_t at, int64_t n) const {
    Vector best = four[0];
    if (!places) {
#pragma GCC unroll 3
      for (int k = 1; k < 4; ++k) best = choose((four[k] > best) | (four[k] != four[k]), four[k], best);
      return store(y + at, rectified(best), n);
    }
    Integers place{};
#pragma GCC unroll 3
    for (int k = 1; k < 4; ++k) {
      Integers better = (four[k] > best) | (four[k] != four[k]);  // of equal ones the first; a NaN wins, and no other after it
      best = choose(better, four[k], best);
      place = (better & k) | (~better & place);
    }
    Integers keep = rectify ? (best > Vector{}) : (best == best);
    Bytes bytes = __builtin_convertvector((keep & place) | (~keep & kNone), Bytes);
    std::memcpy(places + at, &bytes, n);
    store(y + at, rectified(best), n);
  }

  typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
  static constexpr int kNone = 4;
};

// A bias as whole vectors; none where there is none.
inline std::vector<float> whole(const float* bias, int64_t outputs) {
  std::vector<float> numbers;
  if (bias) {
    numbers.assign(bias, bias + outputs);
    numbers.resize(round_up(outputs, kLanes));
  }
  return numbers;
}

// The first numbers of a recipe.
inline Form form(const Recipe& r) {
  return {r.size(0), r.size(1), r.size(2),  r.size(3),  r.size(4),  r.size(5),  r.size(6), r.size(7),
          r.size(8), r.size(9), r.size(10), r.size(11), r.size(12), r.size(13), r.size(14)};
}

using Pictures = ffi::Buffer<ffi::F32>;

inline Form form(const Pictures& x, const Pictures& k, const Pictures& y, int64_t down, int64_t across, int64_t above,
                 int64_t before) {
  auto xs = x.dimensions(), ks = k.dimensions(), ys = y.dimensions();
  return {xs[0], xs[1], xs[2], xs[3], ys[1], ys[2], ys[3], ks[0], ks[1], down, across, above, before};
}

constexpr int64_t kLittle = 100'000;  // multiplications below which another thread would come too late

// Nobody but the caller, in the place of XLA's threads or a program's: for what is too little to share.
struct Nobody {
  int64_t num_threads() const { return 1; }
};

template <typename Work>
void share(Nobody&, int64_t n, const Work& work) {
  for (int64_t i = 0; i < n; ++i) work(i);
}

inline ffi::Error misfit() { return ffi::Error::InvalidArgument("the kernel does not fit the picture"); }

}  // namespace cenote
