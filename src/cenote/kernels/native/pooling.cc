// The largest number, or the sum, of each window of pictures (batch, height, width, channel), float32, divided by how many
// numbers there are. A step of a program for serving.

#include <limits>

#include "functions.h"
#include "steps.h"

namespace cenote {
namespace {

constexpr int64_t kFewWindows = 200'000;  // numbers below which another thread would come too late

class Pooling final : public Step {
 public:
  // batch, height, width, channels, rows and columns of windows, rows and columns of a window, rows and columns from one to the
  // next, rows above and columns before the picture; whether it is a sum, the number to divide by (0: the constant has one for
  // each number of a result)
  explicit Pooling(const Recipe& r)
      : batch_(r.size(0)), height_(r.size(1)), width_(r.size(2)), channels_(r.size(3)), rows_(r.size(4)), columns_(r.size(5)),
        tall_(r.size(6)), wide_(r.size(7)), down_(r.size(8)), across_(r.size(9)), above_(r.size(10)), before_(r.size(11)),
        sums_(r.size(12)), divisor_(r.number(13)) {
    if (divisor_ == 0) divisors_.assign(r.constants[0].floats, r.constants[0].floats + rows_ * columns_ * channels_);
  }

  void run(Team& team, const Argument* arrays) const override {
    const float* x = arrays[0].floats;
    float* y = arrays[1].floats;
    int64_t lines = batch_ * rows_, work = lines * columns_ * channels_ * tall_ * wide_;
    int64_t parts = work < kFewWindows ? 1 : std::min(lines, 4 * team.num_threads());
    share(team, parts, [&](int64_t part) {
      for (int64_t i = part * lines / parts; i < (part + 1) * lines / parts; ++i)
        if (sums_)
          line<true>(x, i, y + i * columns_ * channels_);
        else
          line<false>(x, i, y + i * columns_ * channels_);
    });
  }

 private:
  // Row `item` of all pictures' results.
  template <bool kSum>
  void line(const float* pictures, int64_t item, float* y) const {
    int64_t size = height_ * width_ * channels_;
    const float *x = pictures + item / rows_ * size, *last = pictures + batch_ * size;
    int64_t i = item % rows_, top = i * down_ - above_, end = std::min(height_, top + tall_);
    for (int64_t j = 0; j < columns_; ++j, y += channels_) {
      int64_t left = j * across_ - before_, from = std::max<int64_t>(0, left), to = std::min(width_, left + wide_);
      Window w{x + (std::max<int64_t>(0, top) * width_ + from) * channels_, end - std::max<int64_t>(0, top), to - from,
               divisors_.empty() ? nullptr : divisors_.data() + (i * columns_ + j) * channels_};
      // A place of fewer channels than a vector has may be read with what lies behind it, and written over the places that come
      // next, which are written later.
      bool spare = x + ((end - 1) * width_ + to - 1) * channels_ + kLanes <= last && (columns_ - j) * channels_ >= kLanes;
      int64_t c = 0;
      for (; c + kLanes <= channels_; c += kLanes) pool<kSum>(w, c, kLanes, y);
      if (c == channels_) continue;
      if (c > 0)
        pool<kSum>(w, channels_ - kLanes, kLanes, y);  // some of the last numbers twice
      else
        pool<kSum>(w, 0, spare && !w.divisors ? kLanes : channels_, y);
    }
  }

  struct Window {
    const float* x;
    int64_t lines, taps;
    const float* divisors;
  };

  template <bool kSum>
  void pool(const Window& w, int64_t c, int64_t n, float* y) const {
    Vector found = kSum ? Vector{} : fill(-std::numeric_limits<float>::infinity());
    for (int64_t line = 0; line < w.lines; ++line) {
      const float* at = w.x + line * width_ * channels_ + c;
      for (int64_t tap = 0; tap < w.taps; ++tap, at += channels_) {
        Vector next = load(at, n);
        found = kSum ? found + next : choose((next > found) | (next != next), next, found);  // a NaN stays
      }
    }
    if (kSum && divisor_ != 1) found /= w.divisors ? load(w.divisors + c, n) : fill(divisor_);
    store(y + c, found, n);
  }

  int64_t batch_, height_, width_, channels_, rows_, columns_, tall_, wide_, down_, across_, above_, before_;
  bool sums_;
  float divisor_;
  std::vector<float> divisors_;
};

}  // namespace
}  // namespace cenote

STEP(pooling, cenote::Pooling)
