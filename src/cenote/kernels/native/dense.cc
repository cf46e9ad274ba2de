// A product with what follows it, float32: rows (row, feature) times a kernel (feature, unit), plus a bias, plus another array,
// without what is below zero. A step of a program for serving: the kernel is packed once.

#include "functions.h"
#include "product.h"
#include "steps.h"

namespace cenote {
namespace {

constexpr int64_t kAlone = 1'000'000;  // multiplications below which another thread would come too late
constexpr int kFew = 3;                // rows of which four blocks of channels are reckoned side by side
constexpr int kBlocks = 4;

// Few rows leave most registers empty, and each sum waits for the one before: several blocks of the kernel at a time help both.
template <int P>
void few(const float* x, int64_t features, const float* kernel, float* sums) {
  Vector sum[P][2 * kBlocks];
#pragma GCC unroll 3
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 8
    for (int v = 0; v < 2 * kBlocks; ++v) sum[p][v] = Vector{};
  for (int64_t j = 0; j < features; ++j, kernel += 2 * kLanes)
#pragma GCC unroll 8
    for (int v = 0; v < 2 * kBlocks; ++v) {
      const float* from = kernel + v / 2 * features * 2 * kLanes + v % 2 * kLanes;
      Vector k = P > 1 ? loaded(from) : load(from);
#pragma GCC unroll 3
      for (int p = 0; p < P; ++p) sum[p][v] += fill(x[p * features + j]) * k;
    }
#pragma GCC unroll 3
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 8
    for (int v = 0; v < 2 * kBlocks; ++v) store(sums + (p * 2 * kBlocks + v) * kLanes, sum[p][v]);
}

constexpr void (*kFewRows[])(const float*, int64_t, const float*, float*) = {&few<1>, &few<2>, &few<3>};

class Dense final : public Step {
 public:
  // rows, features, units, whether there is a bias, whether something is added, whether what is below zero is cut
  explicit Dense(const Recipe& r)
      : rows_(r.size(0)), features_(r.size(1)), units_(r.size(2)), biased_(r.size(3)), adds_(r.size(4)), rectifies_(r.size(5)),
        spaced_(features_ % 256 ? features_ : features_ + kLanes),
        kernel_(1, features_, static_cast<int>(units_),
                [&](int64_t i, int c) { return r.constants[0].floats[i * units_ + c]; }),
        bias_(round_up(units_, 2 * kLanes)) {
    if (biased_) std::copy_n(r.constants[1].floats, units_, bias_.begin());
  }

  void run(Team& team, const Argument* arrays) const override {
    const float *x = arrays[0].floats, *rest = adds_ ? arrays[1].floats : nullptr;
    float* y = arrays[1 + adds_].floats;
    int64_t threads = rows_ * features_ * units_ < kAlone ? 1 : team.num_threads();
    if (threads > 1 && rows_ < 4 * threads) {  // few rows: each thread takes some of the columns
      int64_t blocks = (units_ + 2 * kLanes - 1) / (2 * kLanes), parts = std::min(threads, blocks);
      return share(team, parts, [&](int64_t i) {
        part(x, rest, y, 0, rows_, i * blocks / parts * 2 * kLanes, std::min(units_, (i + 1) * blocks / parts * 2 * kLanes));
      });
    }
    int64_t parts = threads == 1 ? 1 : round_up((rows_ + kPart - 1) / kPart, threads);
    share(team, parts, [&](int64_t i) { part(x, rest, y, i * rows_ / parts, (i + 1) * rows_ / parts, 0, units_); });
  }

 private:
  static constexpr int64_t kPart = 4 * kWide;  // rows that are worth a part of the work of their own

  void part(const float* x, const float* rest, float* y, int64_t first, int64_t last, int64_t from, int64_t to) const {
    int64_t count = last - first, step = features_;
    x += first * features_, y += first * units_;
    if (rest) rest += first * units_;
    if (count <= kFew) {
      float sums[kFew * 2 * kBlocks * kLanes];
      constexpr int64_t wide = 2 * kBlocks * kLanes;
      for (; from + wide <= to; from += wide) {
        kFewRows[count - 1](x, features_, kernel_.numbers.data() + from * features_, sums);
        for (int64_t i = 0; i < count; ++i)
          finish(sums + i * wide, bias_.data() + from, rest ? rest + i * units_ + from : nullptr, y + i * units_ + from, wide);
      }
    } else if (spaced_ != features_ && to - from > 2 * kLanes) {
      // Rows that are a power of two apart fall onto the same lines of the nearest cache.
      float* apart = scratch(0, count * spaced_);
      for (int64_t i = 0; i < count; ++i) std::memcpy(apart + i * spaced_, x + i * features_, features_ * sizeof(float));
      x = apart, step = spaced_;
    }
    for (int64_t wide; from < to; from += wide) {
      wide = Packed::width(static_cast<int>(units_ - from));
      int channels = static_cast<int>(std::min(wide, units_ - from)), most = wide > kLanes ? kWide : kNarrow;
      int64_t groups = (count + most - 1) / most;
      Rows r{x, step, 0, 1, features_, kernel_.numbers.data() + from * features_, wide, y + from, units_, channels};
      for (int64_t group = 0, i = 0; group < groups; ++group) {
        int64_t places = (count - i + groups - group - 1) / (groups - group);
        r.x = x + i * step, r.y = y + i * units_ + from;
        block(r, static_cast<int>(wide), places);
        for (int64_t k = i; k < i + places; ++k)
          finish(y + k * units_ + from, bias_.data() + from, rest ? rest + k * units_ + from : nullptr, y + k * units_ + from, channels);
        i += places;
      }
    }
  }

  void finish(const float* sums, const float* bias, const float* rest, float* y, int64_t channels) const {
    each_vector(channels, [&](int64_t k, int64_t n) {
      Vector sum = load(sums + k, n);
      if (biased_) sum += load(bias + k);
      if (rest) sum += load(rest + k, n);
      if (rectifies_) sum = choose(sum < Vector{}, Vector{}, sum);  // NaN stays NaN
      store(y + k, sum, n);
    });
  }

  int64_t rows_, features_, units_;
  bool biased_, adds_, rectifies_;
  int64_t spaced_;
  Packed kernel_;
  std::vector<float> bias_;
};

}  // namespace
}  // namespace cenote

STEP(dense, cenote::Dense)
