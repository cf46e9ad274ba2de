// Steps that move numbers and reckon nothing: copies, whatever they turn round, cut, join, repeat or widen, and rows of a table.

#include <cmath>

#include "steps.h"

namespace cenote {
namespace {

constexpr int64_t kMoved = 1 << 16;  // numbers below which another thread would come too late

// One array as it is. Made from: bytes.
class Copy final : public Step {
 public:
  explicit Copy(const Recipe& r) : bytes_(r.size(0)) {}

  void run(Team&, const Argument* arrays) const override { std::memcpy(arrays[1].any, arrays[0].any, bytes_); }

 private:
  int64_t bytes_;
};

// A box of numbers from one array to another, each of which has a stride for every axis of the box (0 repeats, below 0 goes
// backwards). Numbers are bits, whatever they mean. Made from: bytes of a number (1 or 4), how many numbers of the output are first
// filled, with what, where the box begins in the input and in the output, how many axes, and for each: its size, its stride in the
// input, and that in the output.
class Move final : public Step {
 public:
  explicit Move(const Recipe& r)
      : wide_(r.size(0)), filled_(r.size(1)), value_(r.size(2)), from_(r.size(3)), to_(r.size(4)), axes_(r.size(5)) {
    for (int64_t i = 0; i < static_cast<int64_t>(axes_.size()); ++i)
      axes_[i] = {r.size(6 + 3 * i), r.size(7 + 3 * i), r.size(8 + 3 * i)};
  }

  void run(Team& team, const Argument* arrays) const override {
    if (wide_ == 1)
      run_with<uint8_t>(team, arrays);
    else
      run_with<uint32_t>(team, arrays);
  }

 private:
  struct Axis {
    int64_t size, from, to;
  };

  template <typename Number>
  void run_with(Team& team, const Argument* arrays) const {
    const Number* from = static_cast<const Number*>(arrays[0].any) + from_;
    Number* to = static_cast<Number*>(arrays[1].any);
    if (filled_) std::fill_n(to, filled_, static_cast<Number>(value_));
    to += to_;
    int64_t count = 1;
    for (const Axis& axis : axes_) count *= axis.size;
    if (!count) return;
    const Axis& first = axes_[0];
    int64_t parts = count < kMoved ? 1 : std::min(first.size, team.num_threads());
    share(team, parts, [&](int64_t i) {
      int64_t begin = i * first.size / parts, end = (i + 1) * first.size / parts;
      move(0, end - begin, from + begin * first.from, to + begin * first.to);
    });
  }

  // The axes from `at` on, of which the first has this size.
  template <typename Number>
  void move(size_t at, int64_t size, const Number* from, Number* to) const {
    const Axis& axis = axes_[at];
    if (at + 1 == axes_.size()) return line(axis, size, from, to);
    if (at + 2 == axes_.size() && axes_[at + 1].to == 1 && axes_[at + 1].from != 1 && axis.from == 1)
      return turn(axis, size, axes_[at + 1], from, to);
    for (int64_t i = 0; i < size; ++i) move(at + 1, axes_[at + 1].size, from + i * axis.from, to + i * axis.to);
  }

  template <typename Number>
  static void line(const Axis& axis, int64_t size, const Number* from, Number* to) {
    if (axis.from == 1 && axis.to == 1)
      std::memcpy(to, from, size * sizeof(Number));
    else if (axis.from == 0 && axis.to == 1)
      std::fill_n(to, size, *from);
    else
      for (int64_t i = 0; i < size; ++i) to[i * axis.to] = from[i * axis.from];
  }

  // Rows become columns: squares at a time, so that each line of the cache is read, and written, once.
  template <typename Number>
  static void turn(const Axis& outer, int64_t size, const Axis& inner, const Number* from, Number* to) {
    constexpr int64_t kSide = 16;
    for (int64_t i = 0; i < size; i += kSide)
      for (int64_t j = 0; j < inner.size; j += kSide)
        for (int64_t k = i; k < std::min(size, i + kSide); ++k)
          for (int64_t l = j; l < std::min(inner.size, j + kSide); ++l) to[k * outer.to + l] = from[k + l * inner.from];
  }

  int64_t wide_, filled_, value_, from_, to_;
  std::vector<Axis> axes_;
};

// Rows of a table, by their numbers. Made from: how many are asked for, rows of the table, their width, whether a number without a
// row gives the value that follows, or the nearest row.
class Take final : public Step {
 public:
  explicit Take(const Recipe& r)
      : count_(r.size(0)), rows_(r.size(1)), wide_(r.size(2)), fills_(r.size(3)), value_(r.number(4)),
        table_(r.constants[0].floats) {}

  void run(Team& team, const Argument* arrays) const override {
    const int32_t* index = arrays[0].integers;
    float* to = arrays[1].floats;
    int64_t parts = count_ * wide_ < kMoved ? 1 : team.num_threads();
    share(team, parts, [&](int64_t part) {
      for (int64_t i = part * count_ / parts; i < (part + 1) * count_ / parts; ++i) {
        int64_t row = std::min<int64_t>(std::max<int64_t>(index[i], 0), rows_ - 1);
        if (fills_ && row != index[i])
          std::fill_n(to + i * wide_, wide_, value_);
        else
          std::memcpy(to + i * wide_, table_ + row * wide_, wide_ * sizeof(float));
      }
    });
  }

 private:
  int64_t count_, rows_, wide_;
  bool fills_;
  float value_;
  const float* table_;
};

}  // namespace
}  // namespace cenote

STEP(copy, cenote::Copy)
STEP(move, cenote::Move)
STEP(take, cenote::Take)
