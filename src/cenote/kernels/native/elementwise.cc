// Steps of a program for serving: operations on numbers one by one, several in one pass (map), sums and extremes over axes
// (reduce), softmax, and products of pairs of arrays neither of which stays the same (pairs).

#include <cmath>

#if defined(__AVX__)
#include <immintrin.h>
#endif

#include "functions.h"
#include "steps.h"

namespace cenote {
namespace {
namespace elementwise {

constexpr int64_t kBlock = 256;        // numbers that all operations of a map do before the next ones: in the nearest cache
constexpr int64_t kCopy = kBlock + kLanes;  // room for a block that is fetched, and for some more
constexpr int64_t kSlots = 128;        // arrays that a map may work on
constexpr double kAlone = 1'000'000;   // work, in multiplications, below which another thread would come too late

// -- operations --------------------------------------------------------------------------------------------------------------

// Whole numbers lie in vectors bit by bit, and truth as all bits or none. Whole numbers wrap around.
typedef uint32_t Words __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

inline Words words(Vector value) { return reinterpret_cast<Words&>(value); }
inline Vector plain(Words bits) { return reinterpret_cast<Vector&>(bits); }

Vector add(Vector a, Vector b) { return a + b; }
Vector sub(Vector a, Vector b) { return a - b; }
Vector mul(Vector a, Vector b) { return a * b; }
Vector mul_add(Vector a, Vector b, Vector c) { return a * b + c; }
Vector div(Vector a, Vector b) { return a / b; }
// A comparison between vectors is one instruction with the choice that hangs on it.
Vector max(Vector a, Vector b) { return (a > b) | (a != a) ? a : b; }
Vector min(Vector a, Vector b) { return (a < b) | (a != a) ? a : b; }
Vector max_number(Vector a, Vector b) { return a > b ? a : b; }  // where a is not NaN
Vector min_number(Vector a, Vector b) { return a < b ? a : b; }
Vector neg(Vector a) { return -a; }
Vector abs(Vector a) { return as_floats(as_bits(a) & ~as_bits(fill(-0.0f))); }
Vector sign(Vector a) { return choose(a > Vector{}, fill(1.0f), choose(a < Vector{}, fill(-1.0f), a)); }
Vector lt(Vector a, Vector b) { return as_floats(a < b); }
Vector le(Vector a, Vector b) { return as_floats(a <= b); }
Vector gt(Vector a, Vector b) { return as_floats(a > b); }
Vector ge(Vector a, Vector b) { return as_floats(a >= b); }
Vector eq(Vector a, Vector b) { return as_floats(a == b); }
Vector ne(Vector a, Vector b) { return as_floats(a != b); }
Vector is_finite(Vector a) { return as_floats((as_bits(a) & 0x7F800000) != 0x7F800000); }
Vector select(Vector where, Vector no, Vector yes) { return as_bits(where) ? yes : no; }
Vector both(Vector a, Vector b) { return as_floats(as_bits(a) & as_bits(b)); }
Vector either(Vector a, Vector b) { return as_floats(as_bits(a) | as_bits(b)); }
Vector one_of(Vector a, Vector b) { return as_floats(as_bits(a) ^ as_bits(b)); }
Vector inverted(Vector a) { return as_floats(~as_bits(a)); }
Vector copy(Vector a) { return a; }

Vector add_whole(Vector a, Vector b) { return plain(words(a) + words(b)); }
Vector sub_whole(Vector a, Vector b) { return plain(words(a) - words(b)); }
Vector mul_whole(Vector a, Vector b) { return plain(words(a) * words(b)); }
Vector max_whole(Vector a, Vector b) { return choose(as_bits(a) > as_bits(b), a, b); }
Vector min_whole(Vector a, Vector b) { return choose(as_bits(a) < as_bits(b), a, b); }
Vector lt_whole(Vector a, Vector b) { return as_floats(as_bits(a) < as_bits(b)); }
Vector le_whole(Vector a, Vector b) { return as_floats(as_bits(a) <= as_bits(b)); }
Vector eq_whole(Vector a, Vector b) { return as_floats(as_bits(a) == as_bits(b)); }

Vector to_float(Vector a) { return __builtin_convertvector(as_bits(a), Vector); }

Vector to_whole(Vector a) {  // towards zero, kept within 32 bits; NaN becomes 0
  Integers fits = (a >= fill(-2147483648.0f)) & (a < fill(2147483648.0f));
  Integers n = __builtin_convertvector(choose(fits, a, Vector{}), Integers);
  Integers beyond = ((a >= fill(2147483648.0f)) & 0x7FFFFFFF) | ((a < fill(-2147483648.0f)) & (-0x7FFFFFFF - 1));
  return as_floats(n | beyond);
}

Vector sqrt(Vector a) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vector>(_mm512_maskz_sqrt_ps(__mmask16(-1), reinterpret_cast<__m512>(a)));
#elif defined(__AVX__)
  return reinterpret_cast<Vector>(_mm256_sqrt_ps(reinterpret_cast<__m256>(a)));
#else
  for (int i = 0; i < kLanes; ++i) a[i] = std::sqrt(a[i]);
  return a;
#endif
}

Vector logistic(Vector a) { return 1.0f / (1.0f + exp(-a)); }  // to the smallest numbers, unlike sigmoid
Vector rsqrt(Vector a) { return 1.0f / sqrt(a); }

template <float (*F)(float)>
Vector each(Vector a) {
  for (int i = 0; i < kLanes; ++i) a[i] = F(a[i]);
  return a;
}

float floor_of(float a) { return __builtin_floorf(a); }
float ceil_of(float a) { return __builtin_ceilf(a); }
float rint_of(float a) { return __builtin_rintf(a); }
float round_of(float a) { return __builtin_roundf(a); }
float sin_of(float a) { return std::sin(a); }
float cos_of(float a) { return std::cos(a); }

Vector pow(Vector a, Vector b) {
  for (int i = 0; i < kLanes; ++i) a[i] = std::pow(a[i], b[i]);
  return a;
}

using Operation = void (*)(float* y, const float* a, const float* b, const float* c, int64_t n);

template <Vector (*F)(Vector)>
void one(float* y, const float* a, const float*, const float*, int64_t n) {
  for (int64_t k = 0; k < n; k += kLanes) store(y + k, F(load(a + k)));
}

template <Vector (*F)(Vector, Vector)>
void two(float* y, const float* a, const float* b, const float*, int64_t n) {
  for (int64_t k = 0; k < n; k += kLanes) store(y + k, F(load(a + k), load(b + k)));
}

template <Vector (*F)(Vector, Vector, Vector)>
void three(float* y, const float* a, const float* b, const float* c, int64_t n) {
  for (int64_t k = 0; k < n; k += kLanes) store(y + k, F(load(a + k), load(b + k), load(c + k)));
}

// Numbered as OPERATIONS of cenote.serving.rules.elementwise.
constexpr Operation kOperations[] = {
    one<copy>,       two<add>,         two<sub>,        two<mul>,       two<div>,        two<max>,       two<min>,
    one<neg>,        one<abs>,         one<sign>,       one<exp>,       one<exp2>,       one<log>,       one<log1p>,
    one<expm1>,      one<tanh>,        one<logistic>,    one<erf>,       one<sqrt>,       one<rsqrt>,     two<pow>,
    one<each<floor_of>>, one<each<ceil_of>>, one<each<rint_of>>, one<each<round_of>>, one<each<sin_of>>, one<each<cos_of>>,
    two<lt>,         two<le>,          two<gt>,         two<ge>,        two<eq>,         two<ne>,        one<is_finite>,
    three<select>,   two<both>,        two<either>,     two<one_of>,    one<inverted>,   two<add_whole>, two<sub_whole>,
    two<mul_whole>,  two<max_whole>,   two<min_whole>,  two<lt_whole>,  two<le_whole>,   two<eq_whole>,  one<to_float>,
    one<to_whole>,   one<gelu>,        one<gelu_tanh>,  three<mul_add>,   two<max_number>,  two<min_number>,
};

// -- map ---------------------------------------------------------------------------------------------------------------------

enum Kind { kFloat, kWhole, kByte, kTruth };  // of an array's numbers

template <typename T>
inline float raised(T value, Kind kind) {
  if constexpr (sizeof(T) == 4) return value;
  int32_t whole = kind == kTruth ? -int32_t(value != 0) : int32_t(value);
  float bits;
  std::memcpy(&bits, &whole, sizeof bits);
  return bits;
}

// An array as each number of the result sees it: number i / (repeat * inner) * inner + i % inner.
struct Seen {
  Kind kind;
  int64_t repeat, inner;

  bool direct() const { return repeat == 1 && (kind == kFloat || kind == kWhole); }

  void fetch(Argument from, int64_t first, int64_t n, float* to) const {
    if (kind == kFloat || kind == kWhole)
      fetch_from(static_cast<const float*>(from.floats), first, n, to);
    else
      fetch_from(from.bytes, first, n, to);
  }

 private:
  template <typename T>
  void fetch_from(const T* from, int64_t first, int64_t n, float* to) const {
    if (repeat == 1) return run(from + first, n, to);
    int64_t group = first / (repeat * inner), within = first % (repeat * inner), place = within % inner;
    for (int64_t last = first + n, i = first, count; i < last; i += count, to += count) {
      if (inner == 1) {
        count = std::min(last - i, repeat - within);
        Vector value = cenote::fill(raised(from[group], kind));
        for (int64_t k = 0; k < count; k += kLanes) store(to + k, value);  // what is too much is written over, or room
      } else {
        count = std::min(last - i, inner - place);
        run(from + group * inner + place, count, to);
      }
      place = 0, within += count;
      if (within == repeat * inner) within = 0, ++group;
    }
  }

  template <typename T>
  void run(const T* from, int64_t n, float* to) const {
    if constexpr (sizeof(T) == 4) {
      std::memcpy(to, from, n * sizeof(float));
    } else {
      for (int64_t i = 0; i < n; ++i) to[i] = raised(from[i], kind);
    }
  }
};

// Several operations on blocks of numbers. Each reads and writes slots of kBlock numbers: room between operations, numbers that
// stay the same, rows that come again and again, inputs and outputs, in this order. Where an array lies in memory as a slot
// does, the slot is there.
class Map final : public Step {
 public:
  // size, work for each number, how many slots of each sort and how many operations; then the bits of each number, the length
  // of each row, kind, repeat and inner size of each input, the kind of each output, and of each operation: which, to, from
  explicit Map(const Recipe& r)
      : size_(r.size(0)), work_(r.numbers[1]), room_(r.size(2)), fixed_(r.size(3) * kBlock), rows_(r.size(4)),
        inputs_(r.size(5)), outputs_(r.size(6)), operations_(r.size(7)) {
    int at = 8;
    for (int64_t i = 0; i < r.size(3); ++i, ++at) {
      int32_t bits = static_cast<int32_t>(r.size(at));
      for (int64_t k = 0; k < kBlock; ++k) std::memcpy(&fixed_[i * kBlock + k], &bits, sizeof bits);
    }
    for (size_t i = 0; i < rows_.size(); ++i, ++at) {
      rows_[i].length = r.size(at);
      rows_[i].numbers.resize(rows_[i].length + kBlock);
      for (int64_t k = 0; k < rows_[i].length + kBlock; ++k)  // bits, since they need not be those of a float
        std::memcpy(&rows_[i].numbers[k], r.constants[i].floats + k % rows_[i].length, sizeof(float));
    }
    for (Seen& seen : inputs_) seen = {static_cast<Kind>(r.size(at)), r.size(at + 1), r.size(at + 2)}, at += 3;
    for (Kind& kind : outputs_) kind = static_cast<Kind>(r.size(at++));
    for (Done& done : operations_) {
      done.operation = kOperations[r.size(at)];
      for (int k = 0; k < 4; ++k) done.slots[k] = static_cast<int>(r.size(at + 1 + k));
      at += 5;
    }
  }

  void run(Team& team, const Argument* arrays) const override {
    int64_t blocks = (size_ + kBlock - 1) / kBlock;
    int64_t parts = double(size_) * work_ < kAlone ? 1 : std::min(blocks, 4 * team.num_threads());
    share(team, parts, [&](int64_t i) {
      part(arrays, i * blocks / parts * kBlock, std::min(size_, (i + 1) * blocks / parts * kBlock));
    });
  }

 private:
  struct Row {
    std::vector<float> numbers;
    int64_t length;
  };

  struct Done {
    Operation operation;
    int slots[4];
  };

  void part(const Argument* arrays, int64_t first, int64_t last) const {
    int64_t inputs = inputs_.size(), outputs = outputs_.size();
    float *memory = scratch(0, room_ * kBlock + (inputs + outputs) * kCopy), *slots[kSlots], **slot = slots;
    for (int64_t i = 0; i < room_; ++i) *slot++ = memory + i * kBlock;
    for (size_t i = 0; i < fixed_.size(); i += kBlock) *slot++ = const_cast<float*>(fixed_.data()) + i;
    float **rows = slot, **in = rows + rows_.size(), **out = in + inputs, *copies = memory + room_ * kBlock;
    for (int64_t n; first < last; first += n) {
      n = std::min(kBlock, last - first);
      bool whole = n % kLanes == 0;
      for (size_t i = 0; i < rows_.size(); ++i) rows[i] = const_cast<float*>(rows_[i].numbers.data()) + first % rows_[i].length;
      for (int64_t i = 0; i < inputs; ++i) {
        if (whole && inputs_[i].direct())
          in[i] = arrays[i].floats + first;
        else
          inputs_[i].fetch(arrays[i], first, n, in[i] = copies + i * kCopy);
      }
      for (int64_t i = 0; i < outputs; ++i)
        out[i] = whole && outputs_[i] != kTruth ? arrays[inputs + i].floats + first : copies + (inputs + i) * kCopy;
      for (const Done& done : operations_) {
        const int* s = done.slots;
        done.operation(slots[s[0]], slots[s[1]], slots[s[2]], slots[s[3]], round_up(n, kLanes));
      }
      for (int64_t i = 0; i < outputs; ++i) {
        if (outputs_[i] == kTruth) {
          uint8_t* to = static_cast<uint8_t*>(arrays[inputs + i].any) + first;
          for (int64_t k = 0; k < n; ++k) {
            int32_t bits;
            std::memcpy(&bits, out[i] + k, sizeof bits);
            to[k] = bits & 1;
          }
        } else if (!whole) {
          std::memcpy(arrays[inputs + i].floats + first, out[i], n * sizeof(float));
        }
      }
    }
  }

  int64_t size_;
  double work_;
  int64_t room_;
  std::vector<float> fixed_;
  std::vector<Row> rows_;
  std::vector<Seen> inputs_;
  std::vector<Kind> outputs_;
  std::vector<Done> operations_;
};

// -- reduce ------------------------------------------------------------------------------------------------------------------

inline Integers lanes() {
    Integers found{};
    for (int i = 0; i < kLanes; ++i) found[i] = i;
    return found;
  }

  // n numbers, and in the other lanes what changes nothing; whole vectors are read where they do not reach beyond the array.
  inline Vector rest(const float* from, const float* beyond, int n, float none) {
    Vector last = fill(none);
    if (beyond - from >= kLanes) return choose(lanes() < n, load(from), last);
    std::memcpy(&last, from, n * sizeof(float));
    return last;
  }

  inline Vector turned(Vector a, int n) {
#if defined(__clang__)
    Vector b{};
    for (int i = 0; i < kLanes; ++i) b[i] = a[(i + n) % kLanes];
    return b;
#else
    return __builtin_shuffle(a, lanes() + n);  // modulo the lanes
#endif
  }

// All lanes together.
template <Vector (*F)(Vector, Vector)>
inline float joined(Vector all) {
#pragma GCC unroll 4
  for (int n = kLanes / 2; n; n /= 2) all = F(all, turned(all, n));
  return all[0];
}

// (outer, reduced, inner) -> (outer, inner). Sums go into several accumulators, and some hundred numbers at a time: rounding
// errors grow with the logarithm of the count rather than with the count.
class Reduce final : public Step {
 public:
  // outer, reduced, inner, which operation: sum, largest, smallest; the same of whole numbers
  explicit Reduce(const Recipe& r) : outer_(r.size(0)), reduced_(r.size(1)), inner_(r.size(2)), operation_(r.size(3)) {}

  void run(Team& team, const Argument* arrays) const override {
    switch (operation_) {
      case 0: return over<add>(team, arrays, 0.0f);
      case 1: return over<max>(team, arrays, -__builtin_inff());
      case 2: return over<min>(team, arrays, __builtin_inff());
      case 3: return over<add_whole>(team, arrays, 0.0f);
      case 4: return over<max_whole>(team, arrays, -0.0f);  // the bits of the least whole number
      default: return over<min_whole>(team, arrays, most_whole());
    }
  }

 private:
  static constexpr int64_t kColumns = 4;  // vectors that are reckoned side by side
  static constexpr int64_t kChunk = 64;   // numbers of an accumulator that are added up on their own

  static float most_whole() {
    float bits;
    int32_t most = 0x7FFFFFFF;
    std::memcpy(&bits, &most, sizeof bits);
    return bits;
  }

  template <Vector (*F)(Vector, Vector)>
  void over(Team& team, const Argument* arrays, float none) const {
    const float *x = arrays[0].floats, *beyond = x + outer_ * reduced_ * inner_;
    float* y = arrays[1].floats;
    int64_t wide = kColumns * kLanes, stripes = inner_ == 1 ? 1 : (inner_ + wide - 1) / wide, all = outer_ * stripes;
    int64_t parts = double(outer_) * reduced_ * inner_ < kAlone / 4 ? 1 : std::min(all, 4 * team.num_threads());
    share(team, parts, [&](int64_t part) {
      for (int64_t i = part * all / parts; i < (part + 1) * all / parts; ++i) {
        int64_t o = i / stripes, from = i % stripes * wide;
        if (inner_ == 1) {
          y[o] = row<F>(x + o * reduced_, beyond, none);
        } else {
          for (int64_t to = std::min(inner_, from + wide), n; from < to; from += n) {
            const float* begin = x + o * reduced_ * inner_ + from;
            n = to - from;
            if (n == wide)
              columns<F, kColumns>(begin, y + o * inner_ + from, none);
            else if (n >= kLanes)
              columns<F, 1>(begin, y + o * inner_ + from, none), n = kLanes;
            else
              narrow<F>(begin, beyond, n, y + o * inner_ + from, none);
          }
        }
      }
    });
  }

  template <Vector (*F)(Vector, Vector)>
  float row(const float* x, const float* beyond, float none) const {
    Vector all = fill(none);
    for (int64_t k = 0, end; k < reduced_; k = end) {
      end = std::min(reduced_, k + 4 * kChunk * kLanes);
      Vector sum[4] = {fill(none), fill(none), fill(none), fill(none)};
      for (; k + 4 * kLanes <= end; k += 4 * kLanes)
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) sum[v] = F(sum[v], load(x + k + v * kLanes));
      for (int v = 0; k < end; k += kLanes, ++v) {
        int64_t n = end - k;
        sum[v] = F(sum[v], n >= kLanes ? load(x + k) : rest(x + k, beyond, static_cast<int>(n), none));
      }
      all = F(all, F(F(sum[0], sum[1]), F(sum[2], sum[3])));
    }
    return joined<F>(all);
  }

  template <Vector (*F)(Vector, Vector), int V>
  void columns(const float* x, float* y, float none) const {
    Tower<F, V> all(none);
    for (int64_t r = 0, end; r < reduced_; r = end) {
      end = std::min(reduced_, r + kChunk);
      Vector sum[V], more[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[v] = more[v] = fill(none);
      for (; r + 2 <= end; r += 2)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          sum[v] = F(sum[v], load(x + r * inner_ + v * kLanes));
          more[v] = F(more[v], load(x + (r + 1) * inner_ + v * kLanes));
        }
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        if (r < end) sum[v] = F(sum[v], load(x + r * inner_ + v * kLanes));
        sum[v] = F(sum[v], more[v]);
      }
      all.add(sum);
    }
    all.finish();
    for (int v = 0; v < V; ++v) store(y + v * kLanes, all.sums[v]);
  }

  // Fewer columns than lanes: whole vectors are read where they do not reach beyond the array, which is quicker.
  template <Vector (*F)(Vector, Vector)>
  void narrow(const float* x, const float* beyond, int64_t n, float* y, float none) const {
    Tower<F, 1> all(none);
    for (int64_t r = 0, end; r < reduced_; r = end) {
      end = std::min(reduced_, r + kChunk);
      Vector sum = fill(none);
      for (; r < end; ++r) {
        const float* from = x + r * inner_;
        sum = F(sum, beyond - from >= kLanes ? load(from) : load(from, n));
      }
      all.add(&sum);
    }
    all.finish();
    store(y, all.sums[0], n);
  }

  // Sums of chunks, added up a chunk of them at a time.
  template <Vector (*F)(Vector, Vector), int V>
  struct Tower {
    Vector sums[V], some[V];
    float none;
    int64_t count = 0;

    explicit Tower(float none) : none(none) {
      for (int v = 0; v < V; ++v) sums[v] = some[v] = fill(none);
    }

    void add(const Vector* more) {
      for (int v = 0; v < V; ++v) some[v] = F(some[v], more[v]);
      if (++count % kChunk == 0) finish();
    }

    void finish() {
      for (int v = 0; v < V; ++v) sums[v] = F(sums[v], some[v]), some[v] = fill(none);
    }
  };

  int64_t outer_, reduced_, inner_, operation_;
};

// exp(x) / sum(exp(x)) over rows, each less its largest.
class Softmax final : public Step {
 public:
  // rows, numbers of each
  explicit Softmax(const Recipe& r) : rows_(r.size(0)), wide_(r.size(1)) {}

  void run(Team& team, const Argument* arrays) const override {
    const float *x = arrays[0].floats, *beyond = x + rows_ * wide_;
    float* y = arrays[1].floats;
    int64_t parts = double(rows_) * wide_ < kAlone / 40 ? 1 : std::min(rows_, 4 * team.num_threads());
    share(team, parts, [&](int64_t i) {
      int64_t vectors = (wide_ + kLanes - 1) / kLanes;
      for (int64_t k = i * rows_ / parts; k < (i + 1) * rows_ / parts; ++k) {
        const float* from = x + k * wide_;
        float* to = y + k * wide_;
        switch (vectors) {
          case 1: few<1>(from, beyond, to); break;
          case 2: few<2>(from, beyond, to); break;
          case 3: few<3>(from, beyond, to); break;
          case 4: few<4>(from, beyond, to); break;
          default: row(from, beyond, to);
        }
      }
    });
  }

 private:
  static constexpr int64_t kChunk = 64 * kLanes;  // numbers whose sum is reckoned on its own

  // All of a row stays in registers.
  template <int V>
  void few(const float* x, const float* beyond, float* y) const {
    const float none = -__builtin_inff();
    int n = static_cast<int>(wide_) - (V - 1) * kLanes;  // in the last vector
    Vector e[V], most, sum{};
#pragma GCC unroll 4
    for (int v = 0; v + 1 < V; ++v) e[v] = load(x + v * kLanes);
    most = e[V - 1] = n == kLanes ? load(x + (V - 1) * kLanes) : rest(x + (V - 1) * kLanes, beyond, n, none);
#pragma GCC unroll 4
    for (int v = 0; v + 1 < V; ++v) most = max(most, e[v]);
    most = fill(joined<max>(most));
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      e[v] = exp(e[v] - most);
      sum += v + 1 < V ? e[v] : choose(lanes() < n, e[v], Vector{});
    }
    sum = fill(joined<add>(sum));
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(y + v * kLanes, e[v] / sum, v + 1 < V ? kLanes : n);
  }

  void row(const float* x, const float* beyond, float* y) const {
    const float none = -__builtin_inff();
    Vector most = fill(none), sum{};
    auto read = [&](int64_t k, int64_t n) {
      return n == kLanes ? load(x + k) : rest(x + k, beyond, static_cast<int>(n), none);
    };
    each_vector(wide_, [&](int64_t k, int64_t n) { most = max(most, read(k, n)); });
    most = fill(joined<max>(most));
    for (int64_t first = 0; first < wide_; first += kChunk) {
      Vector some{};
      each_vector(std::min(kChunk, wide_ - first), [&](int64_t k, int64_t n) {
        Vector e = exp(read(first + k, n) - most);
        store(y + first + k, e, n);
        some += n == kLanes ? e : choose(lanes() < static_cast<int>(n), e, Vector{});
      });
      sum += some;
    }
    Vector all = fill(joined<add>(sum));
    each_vector(wide_, [&](int64_t k, int64_t n) { store(y + k, load(y + k, n) / all, n); });
  }

  int64_t rows_, wide_;
};

// Products of pairs of arrays, (batch, row, inner) with (batch, inner, column).
class Pairs final : public Step {
 public:
  // batch, rows, inner, columns
  explicit Pairs(const Recipe& r) : batch_(r.size(0)), rows_(r.size(1)), inner_(r.size(2)), columns_(r.size(3)) {}

  void run(Team& team, const Argument* arrays) const override {
    const float *a = arrays[0].floats, *b = arrays[1].floats, *beyond = b + batch_ * inner_ * columns_;
    float* y = arrays[2].floats;
    int64_t tiles = (rows_ + kTile - 1) / kTile, all = batch_ * tiles;
    int64_t parts = double(batch_) * rows_ * inner_ * columns_ < kAlone ? 1 : std::min(all, 4 * team.num_threads());
    share(team, parts, [&](int64_t part) {
      for (int64_t i = part * all / parts; i < (part + 1) * all / parts; ++i) {
        int64_t of = i / tiles, row = i % tiles * kTile, count = std::min(kTile, rows_ - row);
        const float *from = a + (of * rows_ + row) * inner_, *by = b + of * inner_ * columns_;
        float* to = y + (of * rows_ + row) * columns_;
        if (count == kTile)
          tile<kTile>(from, by, beyond, to);
        else
          for (int64_t k = 0; k < count; ++k) tile<1>(from + k * inner_, by, beyond, to + k * columns_);
      }
    });
  }

 private:
  static constexpr int64_t kTile = 4;  // rows that are reckoned side by side

  template <int M>
  void tile(const float* a, const float* b, const float* beyond, float* y) const {
    for (int64_t from = 0; from < columns_; from += 2 * kLanes) {
      int64_t n = std::min<int64_t>(kLanes, columns_ - from), more = std::min<int64_t>(kLanes, columns_ - from - n);
      Vector sum[M][2] = {};
      for (int64_t k = 0; k < inner_; ++k) {
        const float* by = b + k * columns_ + from;
        Vector one = beyond - by >= kLanes ? load(by) : load(by, n), two{};
        if (more > 0) two = beyond - by >= 2 * kLanes ? load(by + kLanes) : load(by + kLanes, more);
#pragma GCC unroll 4
        for (int m = 0; m < M; ++m) {
          Vector x = cenote::fill(a[m * inner_ + k]);
          sum[m][0] += x * one;
          sum[m][1] += x * two;
        }
      }
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) {
        store(y + m * columns_ + from, sum[m][0], n);
        if (more > 0) store(y + m * columns_ + from + kLanes, sum[m][1], more);
      }
    }
  }

  int64_t batch_, rows_, inner_, columns_;
};

}  // namespace elementwise
}  // namespace
}  // namespace cenote

STEP(map, cenote::elementwise::Map)
STEP(reduce, cenote::elementwise::Reduce)
STEP(softmax, cenote::elementwise::Softmax)
STEP(pairs, cenote::elementwise::Pairs)
