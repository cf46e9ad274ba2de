// Depthwise convolution of pictures (batch, height, width, channel), float32: every channel with as many kernels of its own as
// kernels (height, width, 1, output) have outputs a channel. Forward, gradient by the input, gradient by the kernel.
//
// Forward is a step of programs for serving, too. Vectors run along the outputs. Nothing is copied into a frame of zeros: taps
// beyond the border are left out.

#include <algorithm>
#include <array>
#include <utility>

#include "convolution.h"

namespace cenote {
namespace {

// Numbers of one place, at least a vector of them. Where they are no whole number of vectors, the last vector begins earlier,
// so that some channels are done twice, with the same result.
int64_t widened(int64_t outputs) { return std::max<int64_t>(outputs, kLanes); }

template <typename F>
void each_block(int64_t wide, const F& f) {
  for (int64_t c = 0; c < wide; c += kLanes) f(std::min<int64_t>(c, wide - kLanes));
}

// Places with each channel as often as it has kernels, and zeros behind up to `wide`; as they lie where that changes nothing.
const float* widen(int which, const float* x, int64_t places, int64_t channels, int64_t several, int64_t wide) {
  if (channels == wide) return x;
  float* to = scratch(which, places * wide);
  for (int64_t p = 0; p < places; ++p, x += channels) {
    float* place = to + p * wide;
    for (int64_t c = 0; c < channels * several; ++c) place[c] = x[several == 1 ? c : c / several];
    std::fill(place + channels * several, place + wide, 0.0f);
  }
  return to;
}

// Where a line of taps that begins at `first` + stride * j lies wholly inside `size` places: j from the first to before the last.
std::pair<int64_t, int64_t> inside(int64_t first, int64_t stride, int64_t taps, int64_t size, int64_t count) {
  int64_t from = std::min(count, first < 0 ? (-first + stride - 1) / stride : 0);
  int64_t room = size - taps - first, to = room < 0 ? 0 : std::min(count, room / stride + 1);
  return {from, std::max(from, to)};
}

// -- sums over the taps: forward, and by the input --------------------------------------------------------------------------

struct Sweep {
  const float* x;  // (rows, columns, wide)
  int64_t rows, columns, wide;
  const float* kernel;  // (lines, taps, wide)
  int64_t lines, taps;
  int64_t down, across, above, before;  // the first tap of place (i, j) is at row i * down - above, column j * across - before
  int64_t count;  // places of a row of the output
  const Finish* finish = nullptr;
};

struct Window {
  const float *x, *kernel;
  int64_t row, place, wide, line;  // numbers from one row of x, place of the output in x, tap, line of the kernel to the next
  int64_t lines, taps;
  float* y;
  int64_t step;
  const float *bias, *rest;  // only where sums are finished
  int64_t apart;             // numbers from one place of `rest` to the next
  const Finish* finish;
};

template <int P, bool kFinished>
void places(const Window& w) {
  Vector sum[P];
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) sum[p] = Vector{};
  for (int64_t u = 0; u < w.lines; ++u) {
    const float *x = w.x + u * w.row, *k = w.kernel + u * w.line;
    for (int64_t v = 0; v < w.taps; ++v, x += w.wide, k += w.wide) {
      Vector tap = load(k);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) sum[p] += load(x + p * w.place) * tap;
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p)
    store(w.y + p * w.step,
          kFinished ? w.finish->rectified(sum[p] + load(w.bias) + load(w.rest + p * w.apart)) : sum[p]);
}

template <bool kFinished, int... P>
constexpr auto all_places(std::integer_sequence<int, P...>) {
  return std::array<void (*)(const Window&), sizeof...(P)>{&places<P + 1, kFinished>...};
}

constexpr int kMost = 8;
constexpr auto kPlaces = all_places<false>(std::make_integer_sequence<int, kMost>());
constexpr auto kFinishedPlaces = all_places<true>(std::make_integer_sequence<int, kMost>());

// One row of the output, `step` numbers from place to place.
void sweep(const Sweep& s, int64_t i, float* y, int64_t step) {
  int64_t top = i * s.down - s.above, u = std::max<int64_t>(0, -top);
  int64_t lines = std::max<int64_t>(0, std::min(s.lines, s.rows - top) - u), line = s.taps * s.wide;
  auto [first, last] = inside(-s.before, s.across, s.taps, s.columns, s.count);
  int64_t from = first, to = last;
  const Finish none, &finish = s.finish ? *s.finish : none;
  auto some = [&](Window w, int64_t count, int64_t j, int64_t c) {
    w.y = y + j * step + c, w.step = step;
    if (!s.finish) return kPlaces[count - 1](w);
    w.bias = finish.bias ? finish.bias + c : kNothing, w.rest = finish.rest ? finish.rest + j * step + c : kNothing;
    w.apart = finish.rest ? step : 0, w.finish = s.finish;
    kFinishedPlaces[count - 1](w);
  };
  auto border = [&](int64_t j) {
    int64_t left = j * s.across - s.before, v = std::max<int64_t>(0, -left);
    int64_t taps = std::min(s.taps, s.columns - left) - v;
    bool none = lines == 0 || taps <= 0;
    const float* x = none ? s.x : s.x + ((top + u) * s.columns + left + v) * s.wide;
    const float* k = none ? s.kernel : s.kernel + u * line + v * s.wide;
    each_block(s.wide, [&](int64_t c) {
      some({x + c, k + c, s.columns * s.wide, 0, s.wide, line, none ? 0 : lines, taps, {}, {}, {}, {}, {}, {}}, 1, j, c);
    });
  };
  if (lines == 0) from = to = s.count;
  for (int64_t j = 0; j < from; ++j) border(j);
  int64_t parts = (to - from + kMost - 1) / kMost;
  for (int64_t part = 0, j = from; part < parts; ++part) {
    int64_t count = (to - j + parts - part - 1) / (parts - part);
    const float *x = s.x + ((top + u) * s.columns + j * s.across - s.before) * s.wide, *k = s.kernel + u * line;
    each_block(s.wide, [&](int64_t c) {  // innermost, so that memory is read as it lies
      Window w{x + c, k + c, s.columns * s.wide, s.across * s.wide, s.wide, line, lines, s.taps, {}, {}, {}, {}, {}, {}};
      some(w, count, j, c);
    });
    j += count;
  }
  for (int64_t j = to; j < s.count; ++j) border(j);
}

bool each_fits(const F32& x, const F32& k, const F32& y) {
  int64_t channels = x.dimensions()[3], outputs = y.dimensions()[3];
  return k.dimensions()[3] == outputs && channels > 0 && outputs % channels == 0;
}

// A kernel (height, width, output) with as many numbers of each place as vectors need.
std::vector<float> widened(const Form& f, const float* k) {
  int64_t wide = widened(f.outputs);
  std::vector<float> kernel(f.lines * f.taps * wide);
  for (int64_t i = 0; i < f.lines * f.taps; ++i) std::copy_n(k + i * f.outputs, f.outputs, kernel.data() + i * wide);
  return kernel;
}

template <typename Pool>
void depthwise(Pool& pool, const Form& f, const float* x, const std::vector<float>& kernel, const Finish& finish, float* y) {
  int64_t wide = widened(f.outputs);
  // A small batch is cut into bands of rows, so that every thread has work, unless each would have to widen the picture.
  int64_t threads = 2 * std::max<int64_t>(pool.num_threads(), 1);
  int64_t cut = f.inputs == wide ? std::max<int64_t>(1, std::min((threads + f.batch - 1) / f.batch, f.rows)) : 1;
  share(pool, f.batch * cut, [&](int64_t item) {
    int64_t image = item / cut;
    const float* picture = x + image * f.height * f.width * f.inputs;
    const float* from = widen(0, picture, f.height * f.width, f.inputs, f.outputs / f.inputs, wide);
    Sweep s{from, f.height, f.width, wide, kernel.data(), f.lines, f.taps, f.down, f.across, f.above, f.before, f.columns};
    for (int64_t i = item % cut * f.rows / cut; i < (item % cut + 1) * f.rows / cut; ++i) {
      int64_t first = (image * f.rows + i) * f.columns * f.outputs;
      Finish here = finish.at(first);
      if (wide == f.outputs) {
        s.finish = finish.nothing() ? nullptr : &here;
        sweep(s, i, y + first, f.outputs);
        continue;
      }
      float* room = scratch(1, f.columns * wide);
      sweep(s, i, room, wide);
      for (int64_t j = 0; j < f.columns; ++j) here.finish(room + j * wide, j * f.outputs, f.outputs, y + first + j * f.outputs);
    }
  });
}

ffi::Error DepthwiseForward(ffi::ThreadPool pool, F32 x, F32 k, ffi::ResultBuffer<ffi::F32> y, int64_t down, int64_t across,
                   int64_t above, int64_t before) {
  if (!each_fits(x, k, *y)) return misfit();
  Form f = form(x, k, *y, down, across, above, before);
  depthwise(pool, f, x.typed_data(), widened(f, k.typed_data()), {}, y->typed_data());
  return ffi::Error::Success();
}

class Depthwise final : public Step {
 public:
  // The sizes of a form, whether there is a bias, whether something is added, whether what is below zero is cut; the kernel and
  // the bias.
  explicit Depthwise(const Recipe& r)
      : form_(form(r)), kernel_(widened(form_, r.constants[0].floats)),
        bias_(whole(r.size(15) ? r.constants[1].floats : nullptr, form_.outputs)), adds_(r.size(16)), rectifies_(r.size(17)) {}

  void run(Team& team, const Argument* arrays) const override {
    Finish finish{bias_.empty() ? nullptr : bias_.data(), adds_ ? arrays[1].floats : nullptr, rectifies_};
    Nobody nobody;
    if (form_.work() / form_.inputs < kLittle / 4)  // few multiplications for each number that is read
      depthwise(nobody, form_, arrays[0].floats, kernel_, finish, arrays[1 + adds_].floats);
    else
      depthwise(team, form_, arrays[0].floats, kernel_, finish, arrays[1 + adds_].floats);
  }

 private:
  Form form_;
  std::vector<float> kernel_, bias_;
  bool adds_, rectifies_;
};

ffi::Error DepthwiseInput(ffi::ThreadPool pool, F32 dy, F32 k, ffi::ResultBuffer<ffi::F32> dx, int64_t down, int64_t across,
                 int64_t above, int64_t before) {
  if (!each_fits(*dx, k, dy)) return misfit();
  auto ds = dy.dimensions(), ks = k.dimensions(), xs = dx->dimensions();
  int64_t batch = xs[0], height = xs[1], width = xs[2], channels = xs[3], rows = ds[1], columns = ds[2], outputs = ds[3];
  int64_t wide = widened(outputs), several = outputs / channels;
  auto vertical = phases(down, height, above, ks[0]), horizontal = phases(across, width, before, ks[1]);
  std::vector<std::vector<float>> kernels;
  for (int64_t r = 0; r < down; ++r)
    for (int64_t q = 0; q < across; ++q) {
      int64_t lines = vertical[r].taps, taps = horizontal[q].taps;
      std::vector<float> kernel(lines * taps * wide);
      for (int64_t i = 0; i < lines * taps; ++i) {
        int64_t u = r + down * (lines - 1 - i / taps), v = q + across * (taps - 1 - i % taps);
        std::copy_n(k.typed_data() + (u * ks[1] + v) * outputs, outputs, kernel.data() + i * wide);
      }
      kernels.push_back(std::move(kernel));
    }
  share(pool, batch, [&](int64_t image) {
    const float* from = widen(0, dy.typed_data() + image * rows * columns * outputs, rows * columns, outputs, 1, wide);
    float* to = dx->typed_data() + image * height * width * channels;
    for (int64_t r = 0; r < down; ++r)
      for (int64_t q = 0; q < across; ++q) {
        const Phase &v = vertical[r], &h = horizontal[q];
        Sweep s{from, rows, columns, wide, kernels[r * across + q].data(), v.taps, h.taps, 1, 1, -v.from, -h.from, h.count};
        for (int64_t i = 0; i < v.count; ++i) {
          float* line = to + ((v.first + i * down) * width + h.first) * channels;
          if (wide == channels) {
            sweep(s, i, line, across * channels);
            continue;
          }
          float* room = scratch(1, h.count * wide);
          sweep(s, i, room, wide);
          for (int64_t j = 0; j < h.count; ++j)
            for (int64_t c = 0; c < channels; ++c) {
              float sum = 0;
              for (int64_t n = 0; n < several; ++n) sum += room[j * wide + c * several + n];
              line[j * across * channels + c] = sum;
            }
        }
      }
  });
  return ffi::Error::Success();
}

// -- by the kernel: sums over the places ------------------------------------------------------------------------------------

struct Seen {
  const float* x;  // (rows, columns, wide)
  int64_t rows, columns, wide;
  const float* dy;  // (end, count, wide)
  int64_t begin, end, count;  // rows of dy that are summed over, places of a row
  int64_t down, across, top, left;  // where the first tap is for place (0, 0)
  float* dk;
  int64_t line;  // numbers from one line of the kernel to the next
};

template <int U, int T>
void seen(const Seen& s) {
  Vector sum[U][T];
#pragma GCC unroll 8
  for (int u = 0; u < U; ++u)
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) sum[u][t] = load(s.dk + u * s.line + t * s.wide);
  auto [from, to] = inside(s.left, s.across, T, s.columns, s.count);
  int64_t row = s.columns * s.wide;
  for (int64_t i = s.begin; i < s.end; ++i) {
    int64_t top = i * s.down + s.top;
    if (top + U <= 0 || top >= s.rows) continue;
    bool whole = top >= 0 && top + U <= s.rows;
    const float* dy = s.dy + i * s.count * s.wide;
    for (int64_t j = 0; j < s.count; ++j) {
      int64_t left = j * s.across + s.left, at = (top * s.columns + left) * s.wide;
      Vector d = load(dy + j * s.wide);
      if (whole && j >= from && j < to) {
        const float* x = s.x + at;
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u)
#pragma GCC unroll 8
          for (int t = 0; t < T; ++t) sum[u][t] += load(x + u * row + t * s.wide) * d;
      } else {
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u)
#pragma GCC unroll 8
          for (int t = 0; t < T; ++t)
            if (top + u >= 0 && top + u < s.rows && left + t >= 0 && left + t < s.columns)
              sum[u][t] += load(s.x + (at + u * row + t * s.wide)) * d;
      }
    }
  }
#pragma GCC unroll 8
  for (int u = 0; u < U; ++u)
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) store(s.dk + u * s.line + t * s.wide, sum[u][t]);
}

template <int... T>
constexpr auto all_seen(std::integer_sequence<int, T...>) {
  return std::array<void (*)(const Seen&), sizeof...(T)>{&seen<1, T + 1>...};
}

constexpr auto kSeen = all_seen(std::make_integer_sequence<int, kMost>());
constexpr int64_t kPlacesAtOnce = 64;  // of dy, that stay in the nearest cache while all taps see them

ffi::Error DepthwiseKernel(ffi::ThreadPool pool, F32 x, F32 dy, ffi::ResultBuffer<ffi::F32> dk, int64_t down, int64_t across,
                  int64_t above, int64_t before) {
  if (!each_fits(x, *dk, dy)) return misfit();
  auto xs = x.dimensions(), ds = dy.dimensions(), ks = dk->dimensions();
  int64_t batch = xs[0], height = xs[1], width = xs[2], channels = xs[3], rows = ds[1], columns = ds[2], outputs = ds[3];
  int64_t wide = round_up(outputs, kLanes), lines = ks[0], taps = ks[1], size = lines * taps * wide;
  // Parts of the batch are summed apart and then added up in order. Their number follows from the shapes alone.
  int64_t parts = std::min<int64_t>(batch, 16), band = std::max<int64_t>(1, kPlacesAtOnce / columns);
  float* partial = scratch(2, parts * size);
  share(pool, parts, [&](int64_t part) {
    float* sums = partial + part * size;
    std::fill(sums, sums + size, 0.0f);
    for (int64_t image = part * batch / parts; image < (part + 1) * batch / parts; ++image) {
      const float* from = widen(0, x.typed_data() + image * height * width * channels, height * width, channels,
                                outputs / channels, wide);
      const float* d = widen(1, dy.typed_data() + image * rows * columns * outputs, rows * columns, outputs, 1, wide);
      for (int64_t begin = 0; begin < rows; begin += band)
        for (int64_t c = 0; c < wide; c += kLanes) {
          Seen s{from + c, height, width, wide, d + c, begin, std::min(rows, begin + band), columns, down, across, 0, 0,
                 nullptr, taps * wide};
          auto look = [&](int64_t u, int64_t v, void (*function)(const Seen&)) {
            s.top = u - above, s.left = v - before, s.dk = sums + (u * taps + v) * wide + c;
            function(s);
          };
          if (lines == 3 && taps == 3) {
            look(0, 0, &seen<3, 3>);
            continue;
          }
          int64_t pieces = (taps + kMost - 1) / kMost;
          for (int64_t u = 0; u < lines; ++u)
            for (int64_t piece = 0, v = 0; piece < pieces; ++piece) {
              int64_t count = (taps - v + pieces - piece - 1) / (pieces - piece);
              look(u, v, kSeen[count - 1]);
              v += count;
            }
        }
    }
  });
  for (int64_t i = 0; i < lines * taps; ++i)
    for (int64_t c = 0; c < outputs; ++c) {
      float total = 0;
      for (int64_t part = 0; part < parts; ++part) total += partial[part * size + i * wide + c];
      dk->typed_data()[i * outputs + c] = total;
    }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace cenote

#define DEPTHWISE(name, function)                                                                                   \
  EXPORTED(name);                                                                                                   \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, function,                                                                     \
                                xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().Arg<F32>().Arg<F32>().Ret<F32>() \
                                    .Attr<int64_t>("down").Attr<int64_t>("across").Attr<int64_t>("above")          \
                                    .Attr<int64_t>("before"))

DEPTHWISE(cenote_depthwise_forward, cenote::DepthwiseForward);
DEPTHWISE(cenote_depthwise_input, cenote::DepthwiseInput);
DEPTHWISE(cenote_depthwise_kernel, cenote::DepthwiseKernel);

STEP(depthwise, cenote::Depthwise)
