// LSTM and GRU over whole sequences, float32. Each thread carries some rows of the batch through all of time, so that nobody waits
// for anybody; a row's numbers do not depend on who reckons it. Arrays are (time, batch, ...), gates in Keras's order. What depends
// on no earlier step, the products with inputs and the gradients of weights, is done outside, as one product each.

#include <algorithm>

#include "functions.h"
#include "product.h"

namespace cenote {
namespace {

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;

struct Sizes {
  int64_t time, batch, units;
  const float* mask;  // (time, batch), or null: a step with a zero leaves the state as it is

  Sizes(const Array& states, const Array& mask)
      : time(states.dimensions()[0]), batch(states.dimensions()[1]), units(states.dimensions()[2]),
        mask(mask.element_count() ? mask.typed_data() : nullptr) {}

  int64_t row(int64_t t, int64_t b) const { return (t * batch + b) * units; }
  bool skips(int64_t t, int64_t b) const { return mask && mask[t * batch + b] == 0; }

  // Rows [first, last) for each thread, a few at least.
  template <typename Work>
  void share(ffi::ThreadPool& pool, const Work& work) const {
    int64_t parts = std::max<int64_t>(1, std::min<int64_t>(pool.num_threads(), batch / 4));
    cenote::share(pool, parts, [&](int64_t i) { work(i * batch / parts, (i + 1) * batch / parts); });
  }
};

// The recurrent kernel (unit, gates * unit) as the product with a state reads it, and turned round for the way back.
Packed packed(const Array& kernel) {
  int64_t wide = kernel.dimensions()[1];
  const float* w = kernel.typed_data();
  return Packed(1, kernel.dimensions()[0], wide, [=](int64_t i, int c) { return w[i * wide + c]; });
}

Packed turned(const Array& kernel) {
  int64_t wide = kernel.dimensions()[1];
  const float* w = kernel.typed_data();
  return Packed(1, wide, kernel.dimensions()[0], [=](int64_t i, int c) { return w[c * wide + i]; });
}

ffi::Error LstmForward(ffi::ThreadPool pool, Array xp, Array h0, Array c0, Array recurrent, Array mask, Result hs, Result cs,
                       Result gates) {
  Sizes s(*hs, mask);
  int64_t units = s.units, wide = 4 * units;
  Packed kernel = packed(recurrent);
  s.share(pool, [&](int64_t first, int64_t last) {
    float* sums = scratch(0, (last - first) * wide);
    for (int64_t t = 0; t < s.time; ++t) {
      const float* before_h = t ? hs->typed_data() + s.row(t - 1, 0) : h0.typed_data();
      const float* before_c = t ? cs->typed_data() + s.row(t - 1, 0) : c0.typed_data();
      row(before_h + first * units, units, 0, kernel, sums, wide, last - first);
      for (int64_t b = first; b < last; ++b) {
        const float *z = sums + (b - first) * wide, *x = xp.typed_data() + 4 * s.row(t, b);
        float *kept = gates->typed_data() + 4 * s.row(t, b), *h = hs->typed_data() + s.row(t, b), *c = cs->typed_data() + s.row(t, b);
        const float *old_h = before_h + b * units, *old_c = before_c + b * units;
        bool skips = s.skips(t, b);
        each_vector(units, [&](int64_t k, int64_t n) {
          auto sum = [&](int gate) { return load(z + gate * units + k, n) + load(x + gate * units + k, n); };
          Vector i = sigmoid(sum(0)), f = sigmoid(sum(1)), g = tanh(sum(2)), o = sigmoid(sum(3));
          store(kept + k, i, n), store(kept + units + k, f, n), store(kept + 2 * units + k, g, n), store(kept + 3 * units + k, o, n);
          Vector memory = f * load(old_c + k, n) + i * g;
          store(c + k, skips ? load(old_c + k, n) : memory, n);
          store(h + k, skips ? load(old_h + k, n) : o * tanh(memory), n);
        });
      }
    }
  });
  return ffi::Error::Success();
}

ffi::Error LstmBackward(ffi::ThreadPool pool, Array dhs, Array dh_last, Array dc_last, Array cs, Array c0, Array gates,
                        Array recurrent, Array mask, Result dz, Result dh0, Result dc0) {
  Sizes s(dhs, mask);
  int64_t units = s.units, wide = 4 * units;
  Packed kernel = turned(recurrent);
  s.share(pool, [&](int64_t first, int64_t last) {
    // The gradients that flow back in time live where they end.
    float *dh = dh0->typed_data(), *dc = dc0->typed_data(), *through = scratch(0, (last - first) * units);
    size_t mine = (last - first) * units * sizeof(float);
    std::memcpy(dh + first * units, dh_last.typed_data() + first * units, mine);
    std::memcpy(dc + first * units, dc_last.typed_data() + first * units, mine);
    for (int64_t t = s.time - 1; t >= 0; --t) {
      const float* before_c = t ? cs.typed_data() + s.row(t - 1, 0) : c0.typed_data();
      for (int64_t b = first; b < last; ++b) {
        float* out = dz->typed_data() + 4 * s.row(t, b);
        bool skips = s.skips(t, b);
        if (skips) std::memset(out, 0, wide * sizeof(float));
        const float *kept = gates.typed_data() + 4 * s.row(t, b), *c = cs.typed_data() + s.row(t, b);
        each_vector(units, [&](int64_t k, int64_t n) {
          Vector d = load(dh + b * units + k, n) + load(dhs.typed_data() + s.row(t, b) + k, n);
          if (skips) return store(dh + b * units + k, d, n);
          Vector i = load(kept + k, n), f = load(kept + units + k, n), g = load(kept + 2 * units + k, n), o = load(kept + 3 * units + k, n);
          Vector seen = tanh(load(c + k, n));
          Vector through_c = load(dc + b * units + k, n) + d * o * (1.0f - seen * seen);
          store(out + k, through_c * g * i * (1.0f - i), n);
          store(out + units + k, through_c * load(before_c + b * units + k, n) * f * (1.0f - f), n);
          store(out + 2 * units + k, through_c * i * (1.0f - g * g), n);
          store(out + 3 * units + k, d * seen * o * (1.0f - o), n);
          store(dc + b * units + k, through_c * f, n);
        });
      }
      row(dz->typed_data() + 4 * s.row(t, first), wide, 0, kernel, through, units, last - first);
      for (int64_t b = first; b < last; ++b)
        if (!s.skips(t, b)) std::memcpy(dh + b * units, through + (b - first) * units, units * sizeof(float));
    }
  });
  return ffi::Error::Success();
}

// u = h @ recurrent + after; z = sigmoid(x_z + u_z), r = sigmoid(x_r + u_r), g = tanh(x_g + r u_g), h = z h + (1 - z) g.
// `gates` keeps z, r, g and u_g.
ffi::Error GruForward(ffi::ThreadPool pool, Array xp, Array h0, Array recurrent, Array after, Array mask, Result hs, Result gates) {
  Sizes s(*hs, mask);
  int64_t units = s.units, wide = 3 * units;
  Packed kernel = packed(recurrent);
  const float* bias = after.element_count() ? after.typed_data() : nullptr;
  s.share(pool, [&](int64_t first, int64_t last) {
    float* sums = scratch(0, (last - first) * wide);
    for (int64_t t = 0; t < s.time; ++t) {
      const float* before = t ? hs->typed_data() + s.row(t - 1, 0) : h0.typed_data();
      row(before + first * units, units, 0, kernel, sums, wide, last - first);
      for (int64_t b = first; b < last; ++b) {
        const float *u = sums + (b - first) * wide, *x = xp.typed_data() + 3 * s.row(t, b), *old = before + b * units;
        float *kept = gates->typed_data() + 4 * s.row(t, b), *h = hs->typed_data() + s.row(t, b);
        bool skips = s.skips(t, b);
        each_vector(units, [&](int64_t k, int64_t n) {
          auto state = [&](int gate) {
            Vector sum = load(u + gate * units + k, n);
            return bias ? sum + load(bias + gate * units + k, n) : sum;
          };
          auto input = [&](int gate) { return load(x + gate * units + k, n); };
          Vector z = sigmoid(input(0) + state(0)), r = sigmoid(input(1) + state(1)), inner = state(2);
          Vector g = tanh(input(2) + r * inner), was = load(old + k, n);
          store(kept + k, z, n), store(kept + units + k, r, n), store(kept + 2 * units + k, g, n), store(kept + 3 * units + k, inner, n);
          store(h + k, skips ? was : z * was + (1.0f - z) * g, n);
        });
      }
    }
  });
  return ffi::Error::Success();
}

// du is the gradient of u, dg that of x_g; those of x_z and x_r are the first two parts of du.
ffi::Error GruBackward(ffi::ThreadPool pool, Array dhs, Array dh_last, Array hs, Array h0, Array gates, Array recurrent, Array mask,
                       Result du, Result dg, Result dh0) {
  Sizes s(dhs, mask);
  int64_t units = s.units, wide = 3 * units;
  Packed kernel = turned(recurrent);
  s.share(pool, [&](int64_t first, int64_t last) {
    float *dh = dh0->typed_data(), *through = scratch(0, (last - first) * units);
    std::memcpy(dh + first * units, dh_last.typed_data() + first * units, (last - first) * units * sizeof(float));
    for (int64_t t = s.time - 1; t >= 0; --t) {
      const float* before = t ? hs.typed_data() + s.row(t - 1, 0) : h0.typed_data();
      for (int64_t b = first; b < last; ++b) {
        float *out = du->typed_data() + 3 * s.row(t, b), *candidate = dg->typed_data() + s.row(t, b);
        bool skips = s.skips(t, b);
        if (skips) std::memset(out, 0, wide * sizeof(float)), std::memset(candidate, 0, units * sizeof(float));
        const float* kept = gates.typed_data() + 4 * s.row(t, b);
        each_vector(units, [&](int64_t k, int64_t n) {
          Vector d = load(dh + b * units + k, n) + load(dhs.typed_data() + s.row(t, b) + k, n);
          if (skips) return store(dh + b * units + k, d, n);
          Vector z = load(kept + k, n), r = load(kept + units + k, n), g = load(kept + 2 * units + k, n), inner = load(kept + 3 * units + k, n);
          Vector c = d * (1.0f - z) * (1.0f - g * g);
          store(candidate + k, c, n);
          store(out + k, d * (load(before + b * units + k, n) - g) * z * (1.0f - z), n);
          store(out + units + k, c * inner * r * (1.0f - r), n);
          store(out + 2 * units + k, c * r, n);
          store(dh + b * units + k, d * z, n);
        });
      }
      row(du->typed_data() + 3 * s.row(t, first), wide, 0, kernel, through, units, last - first);
      for (int64_t b = first; b < last; ++b)
        if (!s.skips(t, b))
          each_vector(units, [&](int64_t k, int64_t n) {
            float* to = dh + b * units + k;
            store(to, load(to, n) + load(through + (b - first) * units + k, n), n);
          });
    }
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace cenote

EXPORTED(cenote_lstm_forward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_lstm_forward, cenote::LstmForward,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Ret<F32>().Ret<F32>().Ret<F32>());
EXPORTED(cenote_lstm_backward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_lstm_backward, cenote::LstmBackward,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>());
EXPORTED(cenote_gru_forward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_gru_forward, cenote::GruForward,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Ret<F32>().Ret<F32>());
EXPORTED(cenote_gru_backward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_gru_backward, cenote::GruBackward,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>());
