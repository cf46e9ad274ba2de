// LSTM and GRU over whole sequences, float32, for XLA and as steps of programs for serving, whose weights are packed once. Some
// rows of the batch at a time go through all of time, few enough for their states and the weights to stay in a core's own cache, so
// that no thread waits for another; a row's numbers do not depend on who reckons it. Arrays are (batch, time, ...), gates in
// Keras's order. The gradients of weights, which depend on no earlier step, are done outside, as one product each.

#include <algorithm>

#include "functions.h"
#include "product.h"
#include "steps.h"

namespace cenote {
namespace {

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;

constexpr int64_t kRows = 64;       // of the batch that go through time together, at most
constexpr int64_t kShared = 40'000;  // multiplications of a step below which another thread would come too late

// Numbers from one row of a scratch array to the next: not a power of two, which would map all rows to the same lines of a cache.
inline int64_t spaced(int64_t wide) { return round_up(wide, kLanes) + kLanes; }

struct Sizes {
  int64_t batch, time, units;
  const float* mask;  // (batch, time), or null: a step with a zero leaves the state as it is

  Sizes(const Array& steps, int64_t units, const Array& mask)
      : batch(steps.dimensions()[0]), time(steps.dimensions()[1]), units(units),
        mask(mask.element_count() ? mask.typed_data() : nullptr) {}
  Sizes(int64_t batch, int64_t time, int64_t units, const float* mask) : batch(batch), time(time), units(units), mask(mask) {}

  int64_t row(int64_t b, int64_t t) const { return b * time + t; }
  bool skips(int64_t b, int64_t t) const { return mask && mask[row(b, t)] == 0; }

  // A few rows at least for each part of the work, kRows at most, and as many parts for each thread.
  template <typename Pool>
  int64_t parts(const Pool& pool) const {
    int64_t threads = std::max<int64_t>(1, std::min<int64_t>(pool.num_threads(), batch / 4));
    return round_up((batch + kRows - 1) / kRows, threads);
  }

  template <typename Pool, typename Work>  // work(first row, last row)
  void share(Pool& pool, const Work& work) const {
    int64_t count = parts(pool);
    cenote::share(pool, count, [&](int64_t i) { work(i * batch / count, (i + 1) * batch / count); });
  }
};

// Threads that begin within a fraction of a microsecond: those of a program for serving, not XLA's.
int64_t quick(const Team& team) { return team.num_threads(); }
int64_t quick(const ffi::ThreadPool&) { return 1; }

// The product of one step of time: of all rows, where no other thread has some; then each takes some of the columns.
template <typename Pool>
void product(Pool& pool, const Sizes& s, const float* x, int64_t step, const Packed& kernel, float* y, int64_t rows) {
  int64_t wide = kernel.channels, blocks = (wide + 2 * kLanes - 1) / (2 * kLanes), parts = std::min(quick(pool), blocks);
  if (parts == 1 || s.parts(pool) > 1 || rows * kernel.length * wide < kShared) return row(x, step, 0, kernel, y, wide, rows);
  share(pool, parts, [&](int64_t i) {
    for (int64_t c = i * blocks / parts * 2 * kLanes; c < std::min(wide, (i + 1) * blocks / parts * 2 * kLanes); c += 2 * kLanes) {
      int width = Packed::width(static_cast<int>(wide - c)), channels = static_cast<int>(std::min<int64_t>(width, wide - c));
      block({x, step, 0, 1, kernel.length, kernel.numbers.data() + c * kernel.length, width, y + c, wide, channels}, width, rows);
    }
  });
}

// Where states go: those of all steps, (batch, time, unit), or of the last one, (batch, unit).
struct States {
  float* to;
  bool all;

  States(float* to, bool all) : to(to), all(all) {}
  States(Result& states, const Sizes& s) : to(states->typed_data()), all(states->dimensions()[1] == s.time) {}

  void keep(const float* state, const Sizes& s, int64_t b, int64_t t) const {
    if (all || t == s.time - 1) std::memcpy(to + (all ? s.row(b, t) : b) * s.units, state, s.units * sizeof(float));
  }
};

// What goes into a layer: inputs (batch, time, feature), or, where there is no kernel for them, what they give to all gates.
struct Inputs {
  int64_t features, wide;    // 0 features: no kernel
  std::vector<float> bias;  // zeros, where there is none

  Inputs(int64_t features, int64_t wide, const float* bias) : features(features), wide(wide), bias(wide) {
    if (bias) std::copy_n(bias, wide, this->bias.data());
  }

  // Put step t of the rows [first, last) side by side, `step` numbers apart.
  void read(const float* x, const Sizes& s, int64_t t, int64_t first, int64_t last, float* to, int64_t step) const {
    for (int64_t b = first; features && b < last; ++b, to += step)
      std::memcpy(to, x + s.row(b, t) * features, features * sizeof(float));
  }
};

int64_t features_of(const Array& kernel) { return kernel.element_count() ? kernel.dimensions()[0] : 0; }

const float* or_null(const Array& array) { return array.element_count() ? array.typed_data() : nullptr; }

void copy_rows(const float* from, float* to, int64_t step, int64_t units, int64_t count) {
  for (int64_t b = 0; b < count; ++b) std::memcpy(to + b * step, from + b * units, units * sizeof(float));
}

// A kernel (unit, gates * unit), turned round for the way back.
Packed turned(const Array& kernel) {
  int64_t wide = kernel.dimensions()[1];
  const float* w = kernel.typed_data();
  return Packed(1, wide, kernel.dimensions()[0], [=](int64_t i, int c) { return w[c * wide + i]; });
}

// The weights of a long short-term memory, as its steps read them: those of the inputs above those of the state.
struct Lstm {
  Inputs in;
  Packed weights;

  Lstm(int64_t features, int64_t units, const float* of_input, const float* bias, const float* of_state)
      : in(features, 4 * units, bias), weights(1, features + units, static_cast<int>(4 * units), [=](int64_t i, int c) {
          return i < features ? of_input[i * 4 * units + c] : of_state[(i - features) * 4 * units + c];
        }) {}

  // `gates` may be null, where nobody asks for a derivative.
  template <typename Pool>
  void run(Pool& pool, const Sizes& s, const float* x, const float* h0, const float* c0, States hs, States cs, float* gates) const {
    int64_t units = s.units, wide = in.wide, features = in.features, step = spaced(features + units);
    s.share(pool, [&](int64_t first, int64_t last) {
      int64_t rows = last - first;
      float *sums = scratch(0, rows * wide), *seen = scratch(1, rows * step), *memory = scratch(2, rows * units);
      copy_rows(h0 + first * units, seen + features, step, units, rows);
      copy_rows(c0 + first * units, memory, units, units, rows);
      for (int64_t t = 0; t < s.time; ++t) {
        in.read(x, s, t, first, last, seen, step);
        product(pool, s, seen, step, weights, sums, rows);
        for (int64_t b = first; b < last; ++b) {
          const float *z = sums + (b - first) * wide, *more = features ? in.bias.data() : x + s.row(b, t) * wide;
          float *h = seen + (b - first) * step + features, *c = memory + (b - first) * units;
          float* kept = gates ? gates + s.row(b, t) * wide : nullptr;
          bool skips = s.skips(b, t);
          each_vector(units, [&](int64_t k, int64_t n) {
            auto sum = [&](int gate) { return load(z + gate * units + k, n) + load(more + gate * units + k, n); };
            Vector i = sigmoid(sum(0)), f = sigmoid(sum(1)), g = tanh(sum(2)), o = sigmoid(sum(3));
            if (kept) {
              store(kept + k, i, n), store(kept + units + k, f, n);
              store(kept + 2 * units + k, g, n), store(kept + 3 * units + k, o, n);
            }
            if (skips) return;
            Vector now = f * load(c + k, n) + i * g;
            store(c + k, now, n);
            store(h + k, o * tanh(now), n);
          });
          hs.keep(h, s, b, t);
          cs.keep(c, s, b, t);
        }
      }
    });
  }
};

// `hs` and `cs` take the states of all steps or of the last; `gates` may be empty.
ffi::Error LstmForward(ffi::ThreadPool pool, Array x, Array kernel, Array bias, Array h0, Array c0, Array recurrent, Array mask,
                       Result hs, Result cs, Result gates) {
  Sizes s(x, h0.dimensions()[1], mask);
  Lstm lstm(features_of(kernel), s.units, kernel.typed_data(), or_null(bias), recurrent.typed_data());
  lstm.run(pool, s, x.typed_data(), h0.typed_data(), c0.typed_data(), States(hs, s), States(cs, s),
           gates->element_count() ? gates->typed_data() : nullptr);
  return ffi::Error::Success();
}

// `dhs` is empty where only the last state had a gradient.
ffi::Error LstmBackward(ffi::ThreadPool pool, Array dhs, Array dh_last, Array dc_last, Array cs, Array c0, Array gates,
                        Array recurrent, Array mask, Result dz, Result dh0, Result dc0) {
  Sizes s(cs, cs.dimensions()[2], mask);
  int64_t units = s.units, wide = 4 * units, step = spaced(wide);
  const float* added = dhs.element_count() ? dhs.typed_data() : nullptr;
  Packed kernel = turned(recurrent);
  s.share(pool, [&](int64_t first, int64_t last) {
    // The gradients that flow back in time live where they end.
    float *dh = dh0->typed_data(), *dc = dc0->typed_data();
    float *slopes = scratch(0, (last - first) * step), *through = scratch(1, (last - first) * units);
    copy_rows(dh_last.typed_data() + first * units, dh + first * units, units, units, last - first);
    copy_rows(dc_last.typed_data() + first * units, dc + first * units, units, units, last - first);
    for (int64_t t = s.time - 1; t >= 0; --t) {
      for (int64_t b = first; b < last; ++b) {
        float* out = slopes + (b - first) * step;
        bool skips = s.skips(b, t);
        if (skips) std::memset(out, 0, wide * sizeof(float));
        const float *kept = gates.typed_data() + s.row(b, t) * wide, *c = cs.typed_data() + s.row(b, t) * units;
        const float *before = t ? c - units : c0.typed_data() + b * units, *dout = added ? added + s.row(b, t) * units : nullptr;
        each_vector(units, [&](int64_t k, int64_t n) {
          Vector d = load(dh + b * units + k, n);
          if (dout) d += load(dout + k, n);
          if (skips) return store(dh + b * units + k, d, n);
          Vector i = load(kept + k, n), f = load(kept + units + k, n), g = load(kept + 2 * units + k, n), o = load(kept + 3 * units + k, n);
          Vector seen = tanh(load(c + k, n));
          Vector through_c = load(dc + b * units + k, n) + d * o * (1.0f - seen * seen);
          store(out + k, through_c * g * i * (1.0f - i), n);
          store(out + units + k, through_c * load(before + k, n) * f * (1.0f - f), n);
          store(out + 2 * units + k, through_c * i * (1.0f - g * g), n);
          store(out + 3 * units + k, d * seen * o * (1.0f - o), n);
          store(dc + b * units + k, through_c * f, n);
        });
        std::memcpy(dz->typed_data() + s.row(b, t) * wide, out, wide * sizeof(float));
      }
      row(slopes, step, 0, kernel, through, units, last - first);
      for (int64_t b = first; b < last; ++b)
        if (!s.skips(b, t)) std::memcpy(dh + b * units, through + (b - first) * units, units * sizeof(float));
    }
  });
  return ffi::Error::Success();
}

// u = h @ recurrent + after; z = sigmoid(x_z + u_z), r = sigmoid(x_r + u_r), g = tanh(x_g + r u_g), h = z h + (1 - z) g.
struct Gru {
  Inputs in;
  Packed of_input, of_state;
  std::vector<float> after;  // zeros, where there is none

  Gru(int64_t features, int64_t units, const float* kernel, const float* bias, const float* recurrent, const float* after)
      : in(features, 3 * units, bias), of_input(packed(kernel, features, 3 * units)), of_state(packed(recurrent, units, 3 * units)),
        after(3 * units) {
    if (after) std::copy_n(after, 3 * units, this->after.data());
  }

  // `gates` keeps z, r, g and u_g, or is null.
  template <typename Pool>
  void run(Pool& pool, const Sizes& s, const float* x, const float* h0, States hs, float* gates) const {
    int64_t units = s.units, wide = in.wide, features = in.features, step = spaced(features + units);
    s.share(pool, [&](int64_t first, int64_t last) {
      int64_t rows = last - first;
      float *seen = scratch(0, rows * step), *given = scratch(1, rows * wide), *sums = scratch(2, rows * wide);
      copy_rows(h0 + first * units, seen + features, step, units, rows);
      for (int64_t t = 0; t < s.time; ++t) {
        in.read(x, s, t, first, last, seen, step);
        if (features) product(pool, s, seen, step, of_input, given, rows);
        product(pool, s, seen + features, step, of_state, sums, rows);
        for (int64_t b = first; b < last; ++b) {
          const float *u = sums + (b - first) * wide, *from = features ? given + (b - first) * wide : x + s.row(b, t) * wide;
          float *h = seen + (b - first) * step + features, *kept = gates ? gates + 4 * units * s.row(b, t) : nullptr;
          bool skips = s.skips(b, t);
          each_vector(units, [&](int64_t k, int64_t n) {
            auto state = [&](int gate) { return load(u + gate * units + k, n) + load(after.data() + gate * units + k, n); };
            auto input = [&](int gate) {
              Vector sum = load(from + gate * units + k, n);
              return features ? sum + load(in.bias.data() + gate * units + k, n) : sum;
            };
            Vector z = sigmoid(input(0) + state(0)), r = sigmoid(input(1) + state(1)), inner = state(2);
            Vector g = tanh(input(2) + r * inner);
            if (kept) {
              store(kept + k, z, n), store(kept + units + k, r, n);
              store(kept + 2 * units + k, g, n), store(kept + 3 * units + k, inner, n);
            }
            if (!skips) store(h + k, z * load(h + k, n) + (1.0f - z) * g, n);
          });
          hs.keep(h, s, b, t);
        }
      }
    });
  }

 private:
  static Packed packed(const float* w, int64_t length, int64_t wide) {
    return Packed(1, length, static_cast<int>(wide), [=](int64_t i, int c) { return w[i * wide + c]; });
  }
};

// `hs` takes the states of all steps or of the last; `gates` may be empty.
ffi::Error GruForward(ffi::ThreadPool pool, Array x, Array kernel, Array bias, Array h0, Array recurrent, Array after, Array mask,
                      Result hs, Result gates) {
  Sizes s(x, h0.dimensions()[1], mask);
  Gru gru(features_of(kernel), s.units, kernel.typed_data(), or_null(bias), recurrent.typed_data(), or_null(after));
  gru.run(pool, s, x.typed_data(), h0.typed_data(), States(hs, s), gates->element_count() ? gates->typed_data() : nullptr);
  return ffi::Error::Success();
}

// du is the gradient of u, dg that of x_g; those of x_z and x_r are the first two parts of du. `dhs` may be empty.
ffi::Error GruBackward(ffi::ThreadPool pool, Array dhs, Array dh_last, Array hs, Array h0, Array gates, Array recurrent, Array mask,
                       Result du, Result dg, Result dh0) {
  Sizes s(hs, hs.dimensions()[2], mask);
  int64_t units = s.units, wide = 3 * units, step = spaced(wide);
  const float* added = dhs.element_count() ? dhs.typed_data() : nullptr;
  Packed kernel = turned(recurrent);
  s.share(pool, [&](int64_t first, int64_t last) {
    float *dh = dh0->typed_data(), *slopes = scratch(0, (last - first) * step), *through = scratch(1, (last - first) * units);
    copy_rows(dh_last.typed_data() + first * units, dh + first * units, units, units, last - first);
    for (int64_t t = s.time - 1; t >= 0; --t) {
      for (int64_t b = first; b < last; ++b) {
        float *out = slopes + (b - first) * step, *candidate = dg->typed_data() + s.row(b, t) * units;
        bool skips = s.skips(b, t);
        if (skips) std::memset(out, 0, wide * sizeof(float)), std::memset(candidate, 0, units * sizeof(float));
        const float *kept = gates.typed_data() + 4 * units * s.row(b, t), *dout = added ? added + s.row(b, t) * units : nullptr;
        const float* before = t ? hs.typed_data() + s.row(b, t - 1) * units : h0.typed_data() + b * units;
        each_vector(units, [&](int64_t k, int64_t n) {
          Vector d = load(dh + b * units + k, n);
          if (dout) d += load(dout + k, n);
          if (skips) return store(dh + b * units + k, d, n);
          Vector z = load(kept + k, n), r = load(kept + units + k, n), g = load(kept + 2 * units + k, n), inner = load(kept + 3 * units + k, n);
          Vector c = d * (1.0f - z) * (1.0f - g * g);
          store(candidate + k, c, n);
          store(out + k, d * (load(before + k, n) - g) * z * (1.0f - z), n);
          store(out + units + k, c * inner * r * (1.0f - r), n);
          store(out + 2 * units + k, c * r, n);
          store(dh + b * units + k, d * z, n);
        });
        std::memcpy(du->typed_data() + s.row(b, t) * wide, out, wide * sizeof(float));
      }
      row(slopes, step, 0, kernel, through, units, last - first);
      for (int64_t b = first; b < last; ++b)
        if (!s.skips(b, t))
          each_vector(units, [&](int64_t k, int64_t n) {
            float* to = dh + b * units + k;
            store(to, load(to, n) + load(through + (b - first) * units + k, n), n);
          });
    }
  });
  return ffi::Error::Success();
}

// Both steps are made from: rows, time, features (0: inputs are what all gates get), units, and whether there is a bias, a second
// bias (of the state; GRU), a mask, whether all states are asked for. Constants: the kernels of inputs and state, and the biases.
struct Options {
  int64_t batch, time, features, units;
  bool biased, after, masked, all;

  explicit Options(const Recipe& r)
      : batch(r.size(0)), time(r.size(1)), features(r.size(2)), units(r.size(3)), biased(r.size(4)), after(r.size(5)),
        masked(r.size(6)), all(r.size(7)) {}

  Sizes sizes(const Argument* mask) const { return {batch, time, units, masked ? mask->floats : nullptr}; }
};

// Reads inputs, h, c and the mask; gives states and the last c.
class LstmStep final : public Step {
 public:
  explicit LstmStep(const Recipe& r)
      : options_(r), lstm_(options_.features, options_.units, r.constants[0].floats,
                           options_.biased ? r.constants[2].floats : nullptr, r.constants[1].floats) {}

  void run(Team& team, const Argument* arrays) const override {
    const Argument* made = arrays + 3 + options_.masked;
    lstm_.run(team, options_.sizes(arrays + 3), arrays[0].floats, arrays[1].floats, arrays[2].floats,
              States(made[0].floats, options_.all), States(made[1].floats, false), nullptr);
  }

 private:
  Options options_;
  Lstm lstm_;
};

// Reads inputs, h and the mask; gives states.
class GruStep final : public Step {
 public:
  explicit GruStep(const Recipe& r)
      : options_(r), gru_(options_.features, options_.units, r.constants[0].floats,
                          options_.biased ? r.constants[2].floats : nullptr, r.constants[1].floats,
                          options_.after ? r.constants[2 + options_.biased].floats : nullptr) {}

  void run(Team& team, const Argument* arrays) const override {
    gru_.run(team, options_.sizes(arrays + 2), arrays[0].floats, arrays[1].floats,
             States(arrays[2 + options_.masked].floats, options_.all), nullptr);
  }

 private:
  Options options_;
  Gru gru_;
};

}  // namespace
}  // namespace cenote

STEP(lstm, cenote::LstmStep)
STEP(gru, cenote::GruStep)

EXPORTED(cenote_lstm_forward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_lstm_forward, cenote::LstmForward,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>());
EXPORTED(cenote_lstm_backward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_lstm_backward, cenote::LstmBackward,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>());
EXPORTED(cenote_gru_forward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_gru_forward, cenote::GruForward,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>());
EXPORTED(cenote_gru_backward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_gru_backward, cenote::GruBackward,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>());
