// Direct convolution of pictures (batch, height, width, channel) with kernels (height, width, input, output), float32:
// forward, gradient by the input, gradient by the kernel. Results do not depend on the number of threads.
//
// A row of the kernel, its (width, input) numbers, lies side by side in the picture, too: a convolution is a sum of products of
// overlapping windows (product.h). Pictures are copied into a frame of zeros first, which also brings them into the cache of the
// core that works on them.

#include <algorithm>

#include "convolution.h"
#include "functions.h"
#include "product.h"

namespace cenote {
namespace {

// Rows [first, last) of a picture that begins `above` rows and `before` columns of zeros ahead of it, `columns` wide.
struct Frame {
  const float* at;
  int64_t columns;  // from one row to the next
};

Frame framed(const float* x, int64_t height, int64_t width, int64_t channels, int64_t above, int64_t before, int64_t first,
             int64_t last, int64_t columns) {
  if (above == 0 && before == 0 && last <= height && columns <= width) return {x + first * width * channels, width};
  float* to = scratch(0, (last - first) * columns * channels);
  int64_t kept = std::min(width, columns - before);
  for (int64_t i = first; i < last; ++i) {
    float* line = to + (i - first) * columns * channels;
    int64_t source = i - above;
    if (source < 0 || source >= height) {
      std::memset(line, 0, columns * channels * sizeof(float));
      continue;
    }
    std::memset(line, 0, before * channels * sizeof(float));
    std::memcpy(line + before * channels, x + source * width * channels, kept * channels * sizeof(float));
    std::memset(line + (before + kept) * channels, 0, (columns - before - kept) * channels * sizeof(float));
  }
  return {to, columns};
}

// How many bands of rows a picture is cut into, so that every thread has work for a small batch.
int64_t bands(ffi::ThreadPool& pool, int64_t batch, int64_t rows) {
  int64_t wanted = (2 * std::max<int64_t>(pool.num_threads(), 1) + batch - 1) / batch;
  return std::max<int64_t>(1, std::min(wanted, rows));
}

// -- what follows the sums: bias, rectifier, the largest of each 2x2 --------------------------------------------------------

// Which of the four places of a window, row by row, gets its gradient; kNone where the rectifier or a NaN stops it.
typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
constexpr int kNone = 4;

void finish(float* y, int64_t places, int64_t channels, const float* bias, bool rectify) {
  for (int64_t p = 0; p < places; ++p, y += channels)
    for (int64_t c = 0; c < channels; ++c) {
      float sum = bias ? y[c] + bias[c] : y[c];
      y[c] = rectify && sum < 0 ? 0 : sum;  // NaN stays
    }
}

// One row of windows from two rows of sums, in which `step` numbers, whole vectors, lie from one place to the next.
void largest(const float* sums, int64_t columns, int64_t step, const float* bias, bool rectify, float* y, uint8_t* places,
             int64_t windows, int64_t channels) {
  const float* rows[2] = {sums, sums + columns * step};
  for (int64_t p = 0; p < windows; ++p)
    each_vector(channels, [&](int64_t c, int64_t n) {
      Vector add = bias ? load(bias + c) : Vector{}, best = load(rows[0] + 2 * p * step + c) + add;
      Integers at{};
      for (int k = 1; k < 4; ++k) {
        Vector next = load(rows[k / 2] + (2 * p + k % 2) * step + c) + add;
        Integers better = (next > best) | (next != next);  // of equal ones the first; a NaN wins, and no other after it
        best = choose(better, next, best);
        at = (better & k) | (~better & at);
      }
      if (places) {
        Integers keep = rectify ? (best > Vector{}) : (best == best);
        Bytes bytes = __builtin_convertvector((keep & at) | (~keep & kNone), Bytes);
        std::memcpy(places + p * channels + c, &bytes, n);
      }
      store(y + p * channels + c, rectify ? choose(best < Vector{}, Vector{}, best) : best, n);
    });
}

// A gradient after those windows, and back before them: (rows, columns, step), zeros where nothing goes.
struct Pooled {
  const float* dy = nullptr;
  const uint8_t* places = nullptr;
  int64_t rows = 0, columns = 0;  // of windows

  const float* spread(int64_t image, int64_t tall, int64_t wide, int64_t channels, int64_t step) const {
    float* to = scratch(1, tall * wide * step);
    if (tall != 2 * rows || wide != 2 * columns || step != channels) std::memset(to, 0, tall * wide * step * sizeof(float));
    const float* d = dy + image * rows * columns * channels;
    const uint8_t* at = places + image * rows * columns * channels;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j, d += channels, at += channels) {
        float* first = to + (2 * i * wide + 2 * j) * step;
        each_vector(channels, [&](int64_t c, int64_t n) {
          Bytes bytes{};
          std::memcpy(&bytes, at + c, n);
          Integers here = __builtin_convertvector(bytes, Integers);
          Vector value = load(d + c, n);
          for (int k = 0; k < 4; ++k)
            store(first + (k / 2 * wide + k % 2) * step + c, choose(here == k, value, Vector{}), n);
        });
      }
    return to;
  }
};

// -- forward ----------------------------------------------------------------------------------------------------------------

// With windows of 2x2, `rows` and `columns` are those of the windows.
void forward(ffi::ThreadPool& pool, const F32& x, const F32& k, const float* bias, bool rectify, bool windows, F32& y,
             uint8_t* places, int64_t down, int64_t across, int64_t above, int64_t before) {
  auto xs = x.dimensions(), ks = k.dimensions(), ys = y.dimensions();
  int64_t batch = xs[0], height = xs[1], width = xs[2], inputs = xs[3], rows = ys[1], outputs = ys[3];
  int64_t each = windows ? 2 : 1, columns = ys[2] * each;  // the last column, if it is in no window, is not computed
  int64_t lines = ks[0], length = ks[1] * inputs, step = windows ? round_up(outputs, kLanes) : outputs;
  const float* weights = k.typed_data();
  Packed kernel(lines, length, outputs, [&](int64_t i, int c) { return weights[i * outputs + c]; });
  std::vector<float> padded;
  if (bias && windows) {
    padded.assign(bias, bias + outputs);
    padded.resize(step);
    bias = padded.data();
  }
  int64_t cut = bands(pool, batch, rows), framed_columns = std::max((columns - 1) * across + ks[1], before + 1);
  share(pool, batch * cut, [&](int64_t item) {
    int64_t image = item / cut, first = (item % cut) * rows / cut * each, last = (item % cut + 1) * rows / cut * each;
    if (first == last) return;
    Frame frame = framed(x.typed_data() + image * height * width * inputs, height, width, inputs, above, before, first * down,
                         (last - 1) * down + lines, framed_columns);
    int64_t line = frame.columns * inputs, out = ys[2] * outputs;  // numbers from one row to the next
    for (int64_t i = first; i < last; i += each) {
      int64_t place = image * rows * out + i / each * out;
      float* to = windows ? scratch(1, each * columns * step) : y.typed_data() + place;
      for (int64_t r = 0; r < each; ++r)
        row(frame.at + (i + r - first) * down * line, across * inputs, line, kernel, to + r * columns * step, step, columns);
      if (windows)
        largest(to, columns, step, bias, rectify, y.typed_data() + place, places ? places + place : nullptr, ys[2], outputs);
      else if (bias || rectify)
        finish(to, columns, outputs, bias, rectify);
    }
  });
}

bool fits(const F32& x, const F32& k, const F32& y) {
  return k.dimensions()[2] == x.dimensions()[3] && k.dimensions()[3] == y.dimensions()[3];
}

ffi::Error Forward(ffi::ThreadPool pool, F32 x, F32 k, ffi::ResultBuffer<ffi::F32> y, int64_t down, int64_t across,
                   int64_t above, int64_t before) {
  if (!fits(x, k, *y)) return misfit();
  forward(pool, x, k, nullptr, false, false, *y, nullptr, down, across, above, before);
  return ffi::Error::Success();
}

// The bias may be empty; so are the places, where nobody asks for them.
ffi::Error Joined(ffi::ThreadPool pool, F32 x, F32 k, F32 bias, ffi::ResultBuffer<ffi::F32> y, ffi::ResultBuffer<ffi::U8> places,
                  int64_t down, int64_t across, int64_t above, int64_t before, int64_t rectify, int64_t windows) {
  if (!fits(x, k, *y)) return misfit();
  const float* added = bias.element_count() ? bias.typed_data() : nullptr;
  uint8_t* kept = places->element_count() ? places->typed_data() : nullptr;
  forward(pool, x, k, added, rectify, windows, *y, kept, down, across, above, before);
  return ffi::Error::Success();
}

// -- gradient by the input --------------------------------------------------------------------------------------------------

void input(ffi::ThreadPool& pool, const float* dy, const Pooled& pooled, int64_t rows, int64_t columns, const F32& k, F32& dx,
           int64_t down, int64_t across, int64_t above, int64_t before) {
  auto ks = k.dimensions(), xs = dx.dimensions();
  int64_t batch = xs[0], height = xs[1], width = xs[2], inputs = xs[3], outputs = ks[3], tall = ks[0], wide = ks[1];
  const float* weights = k.typed_data();
  auto vertical = phases(down, height, above, tall), horizontal = phases(across, width, before, wide);
  std::vector<Packed> kernels;
  for (int64_t r = 0; r < down; ++r)
    for (int64_t q = 0; q < across; ++q) {
      int64_t lines = vertical[r].taps, taps = horizontal[q].taps;
      kernels.emplace_back(lines, taps * outputs, inputs, [&](int64_t i, int c) {
        int64_t u = r + down * (lines - 1 - i / (taps * outputs)), v = q + across * (taps - 1 - i / outputs % taps);
        return weights[((u * wide + v) * inputs + c) * outputs + i % outputs];
      });
    }
  // One frame serves all remainders: `up` rows of zeros above dy, `left` columns before it.
  int64_t up = 0, left = 0, bottom = rows, right = columns;
  for (auto& p : vertical) up = std::max(up, -p.from), bottom = std::max(bottom, p.from + p.count - 1 + p.taps);
  for (auto& p : horizontal) left = std::max(left, -p.from), right = std::max(right, p.from + p.count - 1 + p.taps);
  share(pool, batch, [&](int64_t image) {
    const float* from = pooled.dy ? pooled.spread(image, rows, columns, outputs, outputs) : dy + image * rows * columns * outputs;
    Frame frame = framed(from, rows, columns, outputs, up, left, 0, up + bottom, left + right);
    float* to = dx.typed_data() + image * height * width * inputs;
    for (int64_t r = 0; r < down; ++r)
      for (int64_t q = 0; q < across; ++q) {
        const Phase &v = vertical[r], &h = horizontal[q];
        for (int64_t i = 0; i < v.count; ++i) {
          float* line = to + ((v.first + i * down) * width + h.first) * inputs;
          if (v.taps && h.taps)
            row(frame.at + ((up + v.from + i) * frame.columns + left + h.from) * outputs, outputs, frame.columns * outputs,
                kernels[r * across + q], line, across * inputs, h.count);
          else
            for (int64_t j = 0; j < h.count; ++j) std::memset(line + j * across * inputs, 0, inputs * sizeof(float));
        }
      }
  });
}

ffi::Error Input(ffi::ThreadPool pool, F32 dy, F32 k, ffi::ResultBuffer<ffi::F32> dx, int64_t down, int64_t across,
                 int64_t above, int64_t before) {
  if (!fits(*dx, k, dy)) return misfit();
  auto ds = dy.dimensions();
  input(pool, dy.typed_data(), {}, ds[1], ds[2], k, *dx, down, across, above, before);
  return ffi::Error::Success();
}

ffi::Error PooledInput(ffi::ThreadPool pool, F32 dy, ffi::Buffer<ffi::U8> places, F32 k, ffi::ResultBuffer<ffi::F32> dx,
                       int64_t down, int64_t across, int64_t above, int64_t before, int64_t rows, int64_t columns) {
  if (!fits(*dx, k, dy)) return misfit();
  Pooled pooled{dy.typed_data(), places.typed_data(), dy.dimensions()[1], dy.dimensions()[2]};
  input(pool, nullptr, pooled, rows, columns, k, *dx, down, across, above, before);
  return ffi::Error::Success();
}

// -- gradient by the kernel -------------------------------------------------------------------------------------------------

// dk[u, j] sums x[place, j] dy[place] over all places; j runs over the (width, input) numbers of a line of the kernel.
struct Sums {
  const float* x;
  int64_t place, row;  // numbers from one place to the next in x, from one row of places to the next
  const float* dy;
  int64_t channels;  // of dy, as it lies
  int64_t rows, columns;
  float* dk;
  int64_t ld;  // numbers from one j to the next in dk
};

template <int J, int V>
void sums(const Sums& s) {
  Vector sum[J][V];
#pragma GCC unroll 16
  for (int j = 0; j < J; ++j)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[j][v] = load(s.dk + j * s.ld + v * kLanes);
  for (int64_t i = 0; i < s.rows; ++i) {
    const float* x = s.x + i * s.row;
    const float* dy = s.dy + i * s.columns * s.channels;
    for (int64_t p = 0; p < s.columns; ++p, x += s.place, dy += s.channels) {
      Vector d[V];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) d[v] = load(dy + v * kLanes);
#pragma GCC unroll 16
      for (int j = 0; j < J; ++j) {
        Vector seen = fill(x[j]);
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) sum[j][v] += seen * d[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < J; ++j)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) store(s.dk + j * s.ld + v * kLanes, sum[j][v]);
}

template <int V, int... J>
constexpr auto all_sums(std::integer_sequence<int, J...>) {
  return std::array<void (*)(const Sums&), sizeof...(J)>{&sums<J + 1, V>...};
}

constexpr auto kWideSums = all_sums<2>(std::make_integer_sequence<int, kWide>());
constexpr auto kNarrowSums = all_sums<1>(std::make_integer_sequence<int, kNarrow>());

// With a gradient after windows also the bias's.
void kernel(ffi::ThreadPool& pool, const F32& x, const float* dy, const Pooled& pooled, int64_t rows, int64_t columns, F32& dk,
            float* dbias, int64_t down, int64_t across, int64_t above, int64_t before) {
  auto xs = x.dimensions(), ks = dk.dimensions();
  int64_t batch = xs[0], height = xs[1], width = xs[2], inputs = xs[3], outputs = ks[3];
  int64_t lines = ks[0], length = ks[1] * inputs, padded = round_up(outputs, kLanes), size = lines * length * padded;
  int64_t each = size + (dbias ? outputs : 0);
  // Parts of the batch are summed apart and then added up in order. Their number follows from the shapes alone.
  int64_t parts = std::min<int64_t>(batch, size > (1 << 18) ? 4 : 16);
  float* partial = scratch(2, parts * each);  // kept between calls: fresh memory costs as much as some layers
  int64_t framed_columns = std::max((columns - 1) * across + ks[1], before + 1), framed_rows = (rows - 1) * down + lines;
  share(pool, parts, [&](int64_t part) {
    float *sum = partial + part * each, *bias = sum + size;
    std::memset(sum, 0, each * sizeof(float));
    for (int64_t image = part * batch / parts; image < (part + 1) * batch / parts; ++image) {
      Frame frame = framed(x.typed_data() + image * height * width * inputs, height, width, inputs, above, before, 0, framed_rows,
                           framed_columns);
      const float* d = dy + image * rows * columns * outputs;
      if (pooled.dy) {
        d = pooled.spread(image, rows, columns, outputs, padded);
        int64_t first = image * pooled.rows * pooled.columns * outputs;
        for (int64_t p = 0; p < pooled.rows * pooled.columns; ++p, first += outputs)
          for (int64_t c = 0; c < outputs; ++c) bias[c] += pooled.places[first + c] == kNone ? 0 : pooled.dy[first + c];
      } else if (padded != outputs) {
        float* wide = scratch(1, rows * columns * padded);
        for (int64_t p = 0; p < rows * columns; ++p) {
          std::memcpy(wide + p * padded, d + p * outputs, outputs * sizeof(float));
          std::memset(wide + p * padded + outputs, 0, (padded - outputs) * sizeof(float));
        }
        d = wide;
      }
      for (int64_t c = 0; c < padded;) {
        bool two = padded - c > kLanes;
        int64_t most = two ? kWide : kNarrow, groups = (length + most - 1) / most, row = frame.columns * inputs;
        for (int64_t line = 0; line < lines; ++line)
          for (int64_t group = 0, j = 0; group < groups; ++group) {
            int64_t count = (length - j + groups - group - 1) / (groups - group);
            Sums s{frame.at + line * row + j, across * inputs, down * row, d + c, padded, rows, columns,
                   sum + (line * length + j) * padded + c, padded};
            (two ? kWideSums[count - 1] : kNarrowSums[count - 1])(s);
            j += count;
          }
        c += two ? 2 * kLanes : kLanes;
      }
    }
  });
  float* to = dk.typed_data();
  for (int64_t i = 0; i <= lines * length; ++i) {
    if (i == lines * length && !dbias) break;
    float* line = i == lines * length ? dbias : to + i * outputs;
    for (int64_t c = 0; c < outputs; ++c) {
      float total = 0;
      for (int64_t part = 0; part < parts; ++part) total += partial[part * each + i * padded + c];
      line[c] = total;
    }
  }
}

ffi::Error Kernel(ffi::ThreadPool pool, F32 x, F32 dy, ffi::ResultBuffer<ffi::F32> dk, int64_t down, int64_t across,
                  int64_t above, int64_t before) {
  if (!fits(x, *dk, dy)) return misfit();
  auto ds = dy.dimensions();
  kernel(pool, x, dy.typed_data(), {}, ds[1], ds[2], *dk, nullptr, down, across, above, before);
  return ffi::Error::Success();
}

ffi::Error PooledKernel(ffi::ThreadPool pool, F32 x, F32 dy, ffi::Buffer<ffi::U8> places, ffi::ResultBuffer<ffi::F32> dk,
                        ffi::ResultBuffer<ffi::F32> dbias, int64_t down, int64_t across, int64_t above, int64_t before,
                        int64_t rows, int64_t columns) {
  if (!fits(x, *dk, dy)) return misfit();
  Pooled pooled{dy.typed_data(), places.typed_data(), dy.dimensions()[1], dy.dimensions()[2]};
  kernel(pool, x, nullptr, pooled, rows, columns, *dk, dbias->typed_data(), down, across, above, before);
  return ffi::Error::Success();
}

}  // namespace
}  // namespace cenote

#define BOUND xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
#define PLACED Attr<int64_t>("down").Attr<int64_t>("across").Attr<int64_t>("above").Attr<int64_t>("before")
using U8 = xla::ffi::Buffer<xla::ffi::U8>;

EXPORTED(cenote_convolution_forward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_convolution_forward, cenote::Forward, BOUND.Arg<F32>().Arg<F32>().Ret<F32>().PLACED);
EXPORTED(cenote_convolution_input);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_convolution_input, cenote::Input, BOUND.Arg<F32>().Arg<F32>().Ret<F32>().PLACED);
EXPORTED(cenote_convolution_kernel);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_convolution_kernel, cenote::Kernel, BOUND.Arg<F32>().Arg<F32>().Ret<F32>().PLACED);
EXPORTED(cenote_convolution_joined);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_convolution_joined, cenote::Joined,
                              BOUND.Arg<F32>().Arg<F32>().Arg<F32>().Ret<F32>().Ret<U8>().PLACED.Attr<int64_t>("rectify")
                                  .Attr<int64_t>("windows"));
EXPORTED(cenote_convolution_pooled_input);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_convolution_pooled_input, cenote::PooledInput,
                              BOUND.Arg<F32>().Arg<U8>().Arg<F32>().Ret<F32>().PLACED.Attr<int64_t>("rows")
                                  .Attr<int64_t>("columns"));
EXPORTED(cenote_convolution_pooled_kernel);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_convolution_pooled_kernel, cenote::PooledKernel,
                              BOUND.Arg<F32>().Arg<F32>().Arg<U8>().Ret<F32>().Ret<F32>().PLACED.Attr<int64_t>("rows")
                                  .Attr<int64_t>("columns"));
