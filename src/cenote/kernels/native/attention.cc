// Attention of short sequences, float32: logits, softmax, dropout and the sum of values of a head in one go, while they lie in the
// nearest cache; and the way back. Arrays are (batch, time, head, width), as projections leave them; the weights that are kept for
// the way back are (batch, head, query, key).

#include <algorithm>
#include <cmath>

#include "functions.h"
#include "product.h"

namespace cenote {
namespace {

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;
typedef uint32_t Words __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

struct HeadSizes {
  int64_t batch, queries, heads, width, keys, wide, padded;  // `padded` keys: whole vectors

  HeadSizes(const Array& query, const Array& value)
      : batch(query.dimensions()[0]), queries(query.dimensions()[1]), heads(query.dimensions()[2]), width(query.dimensions()[3]),
        keys(value.dimensions()[1]), wide(value.dimensions()[3]), padded(round_up(keys, kLanes)) {}

  // Where a head's numbers of an array (batch, time, head, width) begin.
  int64_t at(int64_t b, int64_t h, int64_t time, int64_t width) const { return (b * time * heads + h) * width; }
};

// A head's rows of such an array as the second factor of a product, or turned round.
Packed packed(const float* x, int64_t rows, int64_t step, int64_t columns) {
  return Packed(1, rows, columns, [=](int64_t i, int c) { return x[i * step + c]; });
}

Packed turned(const float* x, int64_t rows, int64_t step, int64_t columns) {
  return Packed(1, columns, rows, [=](int64_t i, int c) { return x[c * step + i]; });
}

void turn(const float* x, int64_t rows, int64_t step, int64_t columns, float* to) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) to[j * rows + i] = x[i * step + j];
}

// Dropout by the hash of kernels/random.py: a number is kept, and made larger, or becomes zero.
struct Dropout {
  uint32_t first, second, threshold;
  float factor;
  bool none;

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
    Words position;
    for (int i = 0; i < kLanes; ++i) position[i] = uint32_t(place) + i;
    Words bits = mixed(mixed(position * 0x9E3779B9u + first) ^ second);
    return choose(Integers(bits >= threshold), x * factor, Vector{});
  }
};

constexpr float kMasked = -1e9f;  // as in attention.py: a row without any allowed place attends evenly

float largest(Vector v) {
  float most = v[0];
  for (int i = 1; i < kLanes; ++i) most = v[i] > most ? v[i] : most;
  return most;
}

// The softmax of a row of `keys` logits, of which the first `seen` are allowed where `shown`, if given, is not zero.
void softmax(float* logits, int64_t keys, int64_t padded, int64_t seen, const float* shown) {
  for (int64_t j = seen; j < keys; ++j) logits[j] = kMasked;
  if (shown)
    for (int64_t j = 0; j < keys; ++j) logits[j] = shown[j] == 0 ? kMasked : logits[j];
  for (int64_t j = keys; j < padded; ++j) logits[j] = -INFINITY;
  Vector most = load(logits), sum{};
  for (int64_t j = kLanes; j < padded; j += kLanes) {
    Vector v = load(logits + j);
    most = choose(v > most, v, most);
  }
  float top = largest(most), total = 0;
  for (int64_t j = 0; j < padded; j += kLanes) {
    Vector e = exp_below_zero(load(logits + j) - top);
    store(logits + j, e);
    sum += e;
  }
  for (int i = 0; i < kLanes; ++i) total += sum[i];
  float by = 1.0f / total;
  for (int64_t j = 0; j < padded; j += kLanes) store(logits + j, load(logits + j) * by);
}

ffi::Error AttentionForward(ffi::ThreadPool pool, Array query, Array key, Array value, Array shown, ffi::Buffer<ffi::U32> words,
                            Result y, Result weights, float scale, float rate, int64_t causal) {
  HeadSizes s(query, value);
  Dropout drop(words, rate);
  share(pool, s.batch * s.heads, [&](int64_t item) {
    int64_t b = item / s.heads, h = item % s.heads, place = item * s.queries * s.keys;
    const float *q = query.typed_data() + s.at(b, h, s.queries, s.width), *k = key.typed_data() + s.at(b, h, s.keys, s.width);
    const float* v = value.typed_data() + s.at(b, h, s.keys, s.wide);
    const float* mask = shown.element_count() ? shown.typed_data() + b * s.keys : nullptr;
    float *logits = scratch(0, s.queries * s.padded), *kept = weights->typed_data() + place;
    row(q, s.heads * s.width, 0, turned(k, s.keys, s.heads * s.width, s.width), logits, s.padded, s.queries);
    for (int64_t i = 0; i < s.queries; ++i) {
      float* line = logits + i * s.padded;
      each_vector(s.keys, [&](int64_t j, int64_t) { store(line + j, load(line + j) * scale); });
      softmax(line, s.keys, s.padded, causal ? std::min(i + 1, s.keys) : s.keys, mask);
      std::memcpy(kept + i * s.keys, line, s.keys * sizeof(float));
      if (!drop.none)
        each_vector(s.keys, [&](int64_t j, int64_t) { store(line + j, drop(load(line + j), place + i * s.keys + j)); });
    }
    row(logits, s.padded, 0, packed(v, s.keys, s.heads * s.wide, s.wide), y->typed_data() + s.at(b, h, s.queries, s.wide),
        s.heads * s.wide, s.queries);
  });
  return ffi::Error::Success();
}

ffi::Error AttentionBackward(ffi::ThreadPool pool, Array dy, Array query, Array key, Array value, Array shown,
                             ffi::Buffer<ffi::U32> words, Array weights, Result dquery, Result dkey, Result dvalue, float scale,
                             float rate, int64_t causal) {
  HeadSizes s(query, value);
  Dropout drop(words, rate);
  share(pool, s.batch * s.heads, [&](int64_t item) {
    int64_t b = item / s.heads, h = item % s.heads, place = item * s.queries * s.keys;
    int64_t from_q = s.at(b, h, s.queries, s.width), from_k = s.at(b, h, s.keys, s.width), from_v = s.at(b, h, s.keys, s.wide);
    const float *g = dy.typed_data() + s.at(b, h, s.queries, s.wide), *p = weights.typed_data() + place;
    const float* mask = shown.element_count() ? shown.typed_data() + b * s.keys : nullptr;
    float *slopes = scratch(0, s.queries * s.padded), *other = scratch(1, s.queries * s.padded);
    float* across = scratch(2, s.queries * s.keys);
    row(g, s.heads * s.wide, 0, turned(value.typed_data() + from_v, s.keys, s.heads * s.wide, s.wide), slopes, s.padded, s.queries);
    for (int64_t i = 0; i < s.queries; ++i) {
      float *line = slopes + i * s.padded, *dropped = other + i * s.padded, mean = 0;
      const float* w = p + i * s.keys;
      Vector sum{};
      for (int64_t j = s.keys; j < s.padded; ++j) line[j] = 0;
      each_vector(s.keys, [&](int64_t j, int64_t n) {
        Vector weight = load(w + j, n), slope = drop(load(line + j, n), place + i * s.keys + j);
        store(dropped + j, drop(weight, place + i * s.keys + j));
        store(line + j, slope);
        sum += weight * slope;
      });
      for (int lane = 0; lane < kLanes; ++lane) mean += sum[lane];
      each_vector(s.keys, [&](int64_t j, int64_t n) { store(line + j, load(w + j, n) * (load(line + j) - mean) * scale); });
      if (causal)
        for (int64_t j = i + 1; j < s.keys; ++j) line[j] = 0;
      if (mask)
        for (int64_t j = 0; j < s.keys; ++j) line[j] = mask[j] == 0 ? 0.0f : line[j];
    }
    row(slopes, s.padded, 0, packed(key.typed_data() + from_k, s.keys, s.heads * s.width, s.width), dquery->typed_data() + from_q,
        s.heads * s.width, s.queries);
    turn(slopes, s.queries, s.padded, s.keys, across);
    row(across, s.queries, 0, packed(query.typed_data() + from_q, s.queries, s.heads * s.width, s.width), dkey->typed_data() + from_k,
        s.heads * s.width, s.keys);
    turn(other, s.queries, s.padded, s.keys, across);
    row(across, s.queries, 0, packed(g, s.queries, s.heads * s.wide, s.wide), dvalue->typed_data() + from_v, s.heads * s.wide, s.keys);
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace cenote

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
