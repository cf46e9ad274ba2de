// Attention of short sequences, float32: logits, softmax, dropout and the sum of values of a head in one go, while they lie in the
// nearest cache; and the way back. Arrays are (batch, time, head, width), as projections leave them; the weights that are kept for
// the way back are (batch, head, query, key).

#include <algorithm>
#include <cmath>

#include "crossed.h"
#include "functions.h"
#include "steps.h"

namespace cenote {
namespace {

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;
typedef uint32_t Words __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

struct HeadSizes {
  int64_t batch, queries, heads, width, keys, wide, padded;  // `padded` keys: whole vectors

  HeadSizes(int64_t batch, int64_t queries, int64_t heads, int64_t width, int64_t keys, int64_t wide)
      : batch(batch), queries(queries), heads(heads), width(width), keys(keys), wide(wide), padded(round_up(keys, kLanes)) {}
  HeadSizes(const Array& query, const Array& value)
      : HeadSizes(query.dimensions()[0], query.dimensions()[1], query.dimensions()[2], query.dimensions()[3],
                  value.dimensions()[1], value.dimensions()[3]) {}

  // Where a head's numbers of an array (batch, time, head, width) begin.
  int64_t at(int64_t b, int64_t h, int64_t time, int64_t width) const { return (b * time * heads + h) * width; }
};

// Dropout by the hash of kernels/random.py: a number is kept, and made larger, or becomes zero.
struct Dropout {
  uint32_t first, second, threshold;
  float factor;
  bool none;

  Dropout() : first(0), second(0), threshold(0), factor(1), none(true) {}

  Dropout(const ffi::Buffer<ffi::U32>& words, float rate)
      : first(0), second(0), threshold(uint32_t(std::min(4294967295.0, double(rate) * 4294967296.0 + 0.5))),
        factor(1.0f / (1.0f - rate)), none(words.element_count() == 0) {
    if (!none) first = words.typed_data()[0], second = words.typed_data()[words.element_count() - 1];
  }

  static Words mixed(Words h) {
    h = (h ^ (h >> 16)) * 0x7FEB352Du;
    h = (h ^ (h >> 15)) * 0x846CA68Bu;
    return h ^ (h >> 16);
  }

  // The numbers x of which the first stands at this place of all.
  Vector operator()(Vector x, int64_t place) const {
    if (none) return x;
    Words position{};
    for (int i = 0; i < kLanes; ++i) position[i] = uint32_t(place) + i;
    Words bits = mixed(mixed(position * 0x9E3779B9u + first) ^ second);
    return choose(Integers(bits >= threshold), x * factor, Vector{});
  }
};

constexpr float kMasked = -1e9f;  // as in attention.py: a row without any allowed place attends evenly

// The rows of a head one after another, as blocks of columns that a product reads; zeros where there is no column. Whether all
// numbers are finite.
bool pack(const float* x, int64_t rows, int64_t step, int64_t columns, float* to) {
  Vector nothing{};
  for (int64_t c = 0, wide; c < columns; c += wide) {
    wide = Packed::width(static_cast<int>(columns - c));
    for (int64_t i = 0; i < rows; ++i, to += wide)
      for (int64_t k = 0; k < wide; k += kLanes) {
        Vector v = c + k < columns ? load(x + i * step + c + k, std::min<int64_t>(kLanes, columns - c - k)) : Vector{};
        store(to + k, v);
        nothing += v * 0.0f;
      }
  }
  return total(nothing) == 0;
}

// A square of as many rows as a vector has numbers: rows become columns, by exchanging ever larger squares within it.
inline void turn_square(Vector (&rows)[kLanes]) {
#if defined(__clang__)
  for (int i = 0; i < kLanes; ++i)
    for (int j = 0; j < i; ++j) {
      float other = rows[i][j];
      rows[i][j] = rows[j][i], rows[j][i] = other;
    }
#else
#pragma GCC unroll 4
  for (int side = 1; side < kLanes; side *= 2) {
    Integers first{}, second{};
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      first[i] = i & side ? kLanes + i - side : i;
      second[i] = i & side ? kLanes + i : i + side;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if (i & side) continue;
      Vector a = rows[i], b = rows[i + side];
      rows[i] = __builtin_shuffle(a, b, first), rows[i + side] = __builtin_shuffle(a, b, second);
    }
  }
#endif
}

// The same turned round, times a factor: rows become columns.
void pack_turned(const float* x, int64_t rows, int64_t step, int64_t columns, float by, float* to) {
  for (int64_t c = 0, wide; c < rows; c += wide, to += columns * wide) {
    wide = Packed::width(static_cast<int>(rows - c));
    for (int64_t k = 0; k < wide; k += kLanes)
      for (int64_t j = 0; j < columns; j += kLanes) {
        int64_t n = std::min<int64_t>(kLanes, columns - j);
        Vector square[kLanes];
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i)
          square[i] = c + k + i < rows ? load(x + (c + k + i) * step + j, n) * by : Vector{};
        turn_square(square);
        for (int64_t i = 0; i < n; ++i) store(to + (j + i) * wide + k, square[i]);
      }
  }
}

// Rows times a packed matrix, `count` of them, no more than a tile has places; of the columns the first ones that are `wanted`,
// with those of the same block.
void few_rows(const float* x, int64_t step, const float* matrix, int64_t length, int64_t columns, int64_t wanted, int64_t count,
              float* y, int64_t to) {
  for (int64_t c = 0, wide; c < wanted; c += wide, matrix += wide * length) {
    wide = Packed::width(static_cast<int>(columns - c));
    int channels = static_cast<int>(std::min(wide, columns - c));
    block({x, step, 0, 1, length, matrix, wide, y + c, to, channels}, static_cast<int>(wide), count);
  }
}

float largest(const float* logits, int64_t padded) {
  Vector most = load(logits);
  for (int64_t j = kLanes; j < padded; j += kLanes) {
    Vector v = load(logits + j);
    most = choose(v > most, v, most);
  }
  return folded(most, [](auto a, auto b) { return a > b ? a : b; });
}

// Logits become exp(logit - top); their sum.
float exponentials(float* logits, int64_t padded, float top) {
  Vector sum{};
  for (int64_t j = 0; j < padded; j += kLanes) {
    Vector e = exp_below_zero(load(logits + j) - top);
    store(logits + j, e);
    sum += e;
  }
  return total(sum);
}

// softmax(scale q k^T) v of each head. A few queries at a time, as many as a product has in its registers side by side: their
// logits stay in the nearest cache. What a causal softmax leaves out is not reckoned, unless it matters: a row without any place
// that it may see attends evenly to all, and zero times what is no number is no number.
struct Attention {
  HeadSizes s;
  float scale;
  bool causal;

  // `shown` (batch, key) hides keys where it is zero, or is null; `kept` takes the weights, or is null.
  template <typename Pool>
  void run(Pool& pool, const float* q, const float* k, const float* v, const float* shown, const Dropout& drop, float* y,
           float* kept) const {
    int64_t items = s.batch * s.heads, blocks = (s.queries + kWide - 1) / kWide;
    int64_t cuts = std::min(blocks, (pool.num_threads() + items - 1) / items);
    share(pool, items * cuts, [&](int64_t i) {
      int64_t item = i / cuts, b = item / s.heads, h = item % s.heads, cut = i % cuts;
      head(q + s.at(b, h, s.queries, s.width), k + s.at(b, h, s.keys, s.width), v + s.at(b, h, s.keys, s.wide),
           shown ? shown + b * s.keys : nullptr, drop, item * s.queries * s.keys, y + s.at(b, h, s.queries, s.wide), kept,
           cut * blocks / cuts, (cut + 1) * blocks / cuts, blocks);
    });
  }

 private:
  // Blocks [from, to) of a head's queries; its weights begin at this place of all.
  void head(const float* q, const float* k, const float* v, const float* shown, const Dropout& drop, int64_t place, float* y,
            float* kept, int64_t from, int64_t to, int64_t blocks) const {
    int64_t step = s.padded + kLanes;  // not a power of two, as rows of a cache are
    float *keys = scratch(0, s.padded * s.width), *values = scratch(1, s.keys * round_up(s.wide, kLanes));
    float* logits = scratch(2, kWide * step);
    pack_turned(k, s.keys, s.heads * s.width, s.width, scale, keys);
    bool finite = pack(v, s.keys, s.heads * s.wide, s.wide, values);
    for (int64_t part = from; part < to; ++part) {
      int64_t first = part * s.queries / blocks, count = (part + 1) * s.queries / blocks - first;
      int64_t needed = causal ? std::min(first + count, s.keys) : s.keys;
      float top[kWide], by[kWide];
      few_rows(q + first * s.heads * s.width, s.heads * s.width, keys, s.width, s.padded, needed, count, logits, step);
      bool whole = !finite;
      for (int64_t i = 0; i < count; ++i) {
        float* line = logits + i * step;
        int64_t seen = causal ? std::min(first + i + 1, s.keys) : s.keys;
        if (shown)
          for (int64_t j = 0; j < seen; ++j) line[j] = shown[j] == 0 ? kMasked : line[j];
        for (int64_t j = seen; j < round_up(needed, kLanes); ++j) line[j] = -INFINITY;
        top[i] = largest(line, round_up(needed, kLanes));
        if (causal && top[i] < kMasked / 2) whole = true;
      }
      if (causal && whole) {
        for (int64_t i = 0; i < count; ++i) {
          float* line = logits + i * step;
          int64_t seen = std::min(first + i + 1, s.keys);
          for (int64_t j = seen; j < s.padded; ++j) line[j] = j < s.keys ? kMasked : -INFINITY;
          top[i] = largest(line, s.padded);
        }
        needed = s.keys;
      }
      for (int64_t i = 0; i < count; ++i) {
        float* line = logits + i * step;
        by[i] = 1.0f / exponentials(line, round_up(needed, kLanes), top[i]);
        if (kept || !drop.none) {
          int64_t at = place + (first + i) * s.keys;
          each_vector(needed, [&](int64_t j, int64_t) { store(line + j, load(line + j) * by[i]); });
          by[i] = 1;
          if (kept) {
            std::memcpy(kept + at, line, needed * sizeof(float));
            std::memset(kept + at + needed, 0, (s.keys - needed) * sizeof(float));
          }
          if (!drop.none) each_vector(needed, [&](int64_t j, int64_t) { store(line + j, drop(load(line + j), at + j)); });
        }
      }
      float* sums = y + first * s.heads * s.wide;
      for (int64_t c = 0; c < s.wide; c += 2 * kLanes) {  // blocks of values are as long as there are keys; some are needed
        int64_t columns = std::min<int64_t>(2 * kLanes, s.wide - c);
        few_rows(logits, step, values + c * s.keys, needed, columns, columns, count, sums + c, s.heads * s.wide);
      }
      if (!kept && drop.none)
        for (int64_t i = 0; i < count; ++i)
          each_vector(s.wide, [&](int64_t c, int64_t n) {
            float* to = sums + i * s.heads * s.wide + c;
            store(to, load(to, n) * by[i], n);
          });
    }
  }
};

ffi::Error AttentionForward(ffi::ThreadPool pool, Array query, Array key, Array value, Array shown, ffi::Buffer<ffi::U32> words,
                            Result y, Result weights, float scale, float rate, int64_t causal) {
  Attention attention{HeadSizes(query, value), scale, causal != 0};
  attention.run(pool, query.typed_data(), key.typed_data(), value.typed_data(),
                shown.element_count() ? shown.typed_data() : nullptr, Dropout(words, rate), y->typed_data(), weights->typed_data());
  return ffi::Error::Success();
}

// For each key the sum of a packed matrix's rows, one for each query, by its column of x; of causal ones those from its own on.
void by_key(const float* x, int64_t step, const float* packed, int64_t queries, int64_t keys, int64_t columns, bool causal, float* to,
            int64_t apart) {
  for (int64_t c = 0, wide; c < columns; c += wide, packed += queries * wide) {
    wide = Packed::width(static_cast<int>(columns - c));
    for (int64_t first = 0, count; first < keys; first += count) {
      count = std::min<int64_t>(kWide, keys - first);
      int64_t from = causal ? std::min(first, queries) : 0;
      (wide > kLanes ? kCrossedWide : kCrossedNarrow)[count - 1](
          x + from * step + first, step, packed + from * wide, wide, queries - from, to + first * apart + c, apart,
          std::min(wide, columns - c));
    }
  }
}

// With the weights p and their slopes g v^T: the slopes of the logits are p (slope - sum of p slope), and by these the keys give the
// queries' gradient, the queries the keys'. What a causal softmax left out is not reckoned, but where a row attended evenly to all.
ffi::Error AttentionBackward(ffi::ThreadPool pool, Array dy, Array query, Array key, Array value, Array shown,
                             ffi::Buffer<ffi::U32> words, Array weights, Result dquery, Result dkey, Result dvalue, float scale,
                             float rate, int64_t causal) {
  HeadSizes s(query, value);
  Dropout drop(words, rate);
  int64_t step = s.padded + kLanes, blocks = (s.queries + kWide - 1) / kWide;
  share(pool, s.batch * s.heads, [&](int64_t item) {
    int64_t b = item / s.heads, h = item % s.heads, place = item * s.queries * s.keys, narrow = s.heads * s.width, broad = s.heads * s.wide;
    int64_t from_q = s.at(b, h, s.queries, s.width), from_k = s.at(b, h, s.keys, s.width), from_v = s.at(b, h, s.keys, s.wide);
    const float *g = dy.typed_data() + s.at(b, h, s.queries, s.wide), *p = weights.typed_data() + place;
    const float* mask = shown.element_count() ? shown.typed_data() + b * s.keys : nullptr;
    int64_t room = std::max(s.padded, s.queries) * (round_up(std::max(s.width, s.wide), kLanes));
    float *one = scratch(0, room), *two = scratch(1, room), *slopes = scratch(2, s.queries * step);
    float* dropped = drop.none ? nullptr : scratch(3, s.queries * step);
    pack_turned(value.typed_data() + from_v, s.keys, broad, s.wide, 1.0f, one);
    pack(key.typed_data() + from_k, s.keys, narrow, s.width, two);
    bool halved = causal != 0;  // whether nobody attended to what comes after him
    for (int64_t part = 0; part < blocks; ++part) {
      int64_t first = part * s.queries / blocks, count = (part + 1) * s.queries / blocks - first;
      bool whole = !causal;
      for (int64_t i = first; i < std::min(first + count, s.keys - 1); ++i) whole = whole || p[(i + 1) * s.keys - 1] != 0;
      halved = halved && !whole;
      int64_t needed = whole ? s.keys : std::min(first + count, s.keys);
      few_rows(g + first * broad, broad, one, s.wide, s.padded, needed, count, slopes + first * step, step);
      for (int64_t i = first; i < first + count; ++i) {
        float* line = slopes + i * step;
        const float* w = p + i * s.keys;
        int64_t at = place + i * s.keys, seen = causal ? std::min(i + 1, s.keys) : s.keys;
        Vector sum{};
        each_vector(needed, [&](int64_t j, int64_t n) {
          Vector weight = load(w + j, n), slope = drop(load(line + j, n), at + j);
          if (dropped) store(dropped + i * step + j, drop(weight, at + j));
          store(line + j, slope);
          sum += weight * slope;
        });
        float mean = total(sum);
        each_vector(seen, [&](int64_t j, int64_t n) { store(line + j, load(w + j, n) * (load(line + j) - mean) * scale); });
        if (mask)
          for (int64_t j = 0; j < seen; ++j) line[j] = mask[j] == 0 ? 0.0f : line[j];
        std::memset(line + seen, 0, (s.padded - seen) * sizeof(float));
        if (dropped && needed < s.padded) std::memset(dropped + i * step + needed, 0, (s.padded - needed) * sizeof(float));
      }
      for (int64_t c = 0; c < s.width; c += 2 * kLanes) {
        int64_t columns = std::min<int64_t>(2 * kLanes, s.width - c);
        few_rows(slopes + first * step, step, two + c * s.keys, needed, columns, columns, count,
                 dquery->typed_data() + from_q + first * narrow + c, narrow);
      }
    }
    pack(query.typed_data() + from_q, s.queries, narrow, s.width, one);
    pack(g, s.queries, broad, s.wide, two);
    by_key(slopes, step, one, s.queries, s.keys, s.width, halved, dkey->typed_data() + from_k, narrow);
    by_key(dropped ? dropped : p, dropped ? step : s.keys, two, s.queries, s.keys, s.wide, halved, dvalue->typed_data() + from_v, broad);
  });
  return ffi::Error::Success();
}

// Made from: rows, queries, heads, width of queries and keys, keys, width of values, scale, whether causal, whether keys are
// hidden, whether the weights are asked for.
class AttentionStep final : public Step {
 public:
  explicit AttentionStep(const Recipe& r)
      : attention_{{r.size(0), r.size(1), r.size(2), r.size(3), r.size(4), r.size(5)}, r.number(6), r.size(7) != 0},
        hides_(r.size(8)), keeps_(r.size(9)) {}

  void run(Team& team, const Argument* arrays) const override {
    attention_.run(team, arrays[0].floats, arrays[1].floats, arrays[2].floats, hides_ ? arrays[3].floats : nullptr, Dropout(),
                   arrays[3 + hides_].floats, keeps_ ? arrays[4 + hides_].floats : nullptr);
  }

 private:
  Attention attention_;
  bool hides_, keeps_;
};

}  // namespace
}  // namespace cenote

STEP(attention, cenote::AttentionStep)

using U32 = xla::ffi::Buffer<xla::ffi::U32>;

EXPORTED(cenote_attention_forward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_attention_forward, cenote::AttentionForward,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<U32>().Ret<F32>().Ret<F32>()
                                  .Attr<float>("scale").Attr<float>("rate").Attr<int64_t>("causal"));
EXPORTED(cenote_attention_backward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_attention_backward, cenote::AttentionBackward,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<U32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>().Attr<float>("scale").Attr<float>("rate").Attr<int64_t>("causal"));
