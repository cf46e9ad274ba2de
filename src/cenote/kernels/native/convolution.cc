// Direct convolution of pictures (batch, height, width, channel) with kernels (height, width, input, output), float32:
// forward, gradient by the input, gradient by the kernel. Results do not depend on the number of threads.
//
// A row of the kernel, its (width, input) numbers, lies side by side in the picture, too: a convolution is a sum of products of
// overlapping windows (product.h). Pictures are copied into a frame of zeros first, which also brings them into the cache of the
// core that works on them.

#include <algorithm>

#include "product.h"

namespace cenote {
namespace {

// A picture (or some of its rows) in a frame of zeros: rows [first, last) of the framed picture, which begins `above` rows and
// `before` columns of zeros ahead of the picture.
const float* framed(const float* x, int64_t height, int64_t width, int64_t channels, int64_t above, int64_t before,
                    int64_t first, int64_t last, int64_t columns) {
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
  return to;
}

// How many bands of rows a picture is cut into, so that every thread has work for a small batch.
int64_t bands(ffi::ThreadPool& pool, int64_t batch, int64_t rows) {
  int64_t wanted = (2 * std::max<int64_t>(pool.num_threads(), 1) + batch - 1) / batch;
  return std::max<int64_t>(1, std::min(wanted, rows));
}

ffi::Error Forward(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::F32> k, ffi::ResultBuffer<ffi::F32> y,
                   int64_t down, int64_t across, int64_t above, int64_t before) {
  auto xs = x.dimensions(), ks = k.dimensions(), ys = y->dimensions();
  int64_t batch = xs[0], height = xs[1], width = xs[2], inputs = xs[3], rows = ys[1], columns = ys[2], outputs = ys[3];
  int64_t lines = ks[0], length = ks[1] * inputs;
  if (ks[2] != inputs || ks[3] != outputs) return ffi::Error::InvalidArgument("the kernel does not fit the picture");
  const float* weights = k.typed_data();
  Packed kernel(lines, length, outputs, [&](int64_t i, int c) { return weights[i * outputs + c]; });
  int64_t cut = bands(pool, batch, rows), framed_columns = std::max((columns - 1) * across + ks[1], before + 1);
  share(pool, batch * cut, [&](int64_t item) {
    int64_t image = item / cut, first = (item % cut) * rows / cut, last = (item % cut + 1) * rows / cut;
    if (first == last) return;
    const float* frame = framed(x.typed_data() + image * height * width * inputs, height, width, inputs, above, before,
                                first * down, (last - 1) * down + lines, framed_columns);
    float* to = y->typed_data() + image * rows * columns * outputs;
    for (int64_t i = first; i < last; ++i)
      row(frame + (i - first) * down * framed_columns * inputs, across * inputs, framed_columns * inputs, kernel,
          to + i * columns * outputs, outputs, columns);
  });
  return ffi::Error::Success();
}

// dx[n] sums dy[o] k[n + above - o down] over the o for which that lies in the kernel. The places n with the same remainder of
// n + above by the stride see the same taps of the kernel, in turned order: a convolution of dy with stride one for each remainder.
ffi::Error Input(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> dy, ffi::Buffer<ffi::F32> k, ffi::ResultBuffer<ffi::F32> dx,
                 int64_t down, int64_t across, int64_t above, int64_t before) {
  auto ds = dy.dimensions(), ks = k.dimensions(), xs = dx->dimensions();
  int64_t batch = xs[0], height = xs[1], width = xs[2], inputs = xs[3], rows = ds[1], columns = ds[2], outputs = ds[3];
  int64_t tall = ks[0], wide = ks[1];
  if (ks[2] != inputs || ks[3] != outputs) return ffi::Error::InvalidArgument("the kernel does not fit the picture");
  const float* weights = k.typed_data();
  struct Phase {
    int64_t taps, first, count, from;  // taps of the kernel; the first place, how many; where dy begins, in rows of dy
  };
  auto phases = [](int64_t stride, int64_t size, int64_t pad, int64_t taps) {
    std::vector<Phase> found;
    for (int64_t r = 0; r < stride; ++r) {
      int64_t first = ((r - pad) % stride + stride) % stride, mine = r < taps ? (taps - r + stride - 1) / stride : 0;
      int64_t count = first < size ? (size - first + stride - 1) / stride : 0;
      found.push_back({mine, first, count, (first + pad - r) / stride - (mine - 1)});
    }
    return found;
  };
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
  int64_t framed_columns = left + right;
  share(pool, batch, [&](int64_t image) {
    const float* frame = framed(dy.typed_data() + image * rows * columns * outputs, rows, columns, outputs, up, left, 0,
                                up + bottom, framed_columns);
    float* to = dx->typed_data() + image * height * width * inputs;
    for (int64_t r = 0; r < down; ++r)
      for (int64_t q = 0; q < across; ++q) {
        const Phase &v = vertical[r], &h = horizontal[q];
        for (int64_t i = 0; i < v.count; ++i) {
          float* line = to + ((v.first + i * down) * width + h.first) * inputs;
          if (v.taps && h.taps)
            row(frame + ((up + v.from + i) * framed_columns + left + h.from) * outputs, outputs, framed_columns * outputs,
                kernels[r * across + q], line, across * inputs, h.count);
          else
            for (int64_t j = 0; j < h.count; ++j) std::memset(line + j * across * inputs, 0, inputs * sizeof(float));
        }
      }
  });
  return ffi::Error::Success();
}

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

ffi::Error Kernel(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::F32> dy, ffi::ResultBuffer<ffi::F32> dk,
                  int64_t down, int64_t across, int64_t above, int64_t before) {
  auto xs = x.dimensions(), ds = dy.dimensions(), ks = dk->dimensions();
  int64_t batch = xs[0], height = xs[1], width = xs[2], inputs = xs[3], rows = ds[1], columns = ds[2], outputs = ds[3];
  int64_t lines = ks[0], length = ks[1] * inputs, padded = round_up(outputs, kLanes), size = lines * length * padded;
  if (ks[2] != inputs || ks[3] != outputs) return ffi::Error::InvalidArgument("the kernel does not fit the picture");
  // Parts of the batch are summed apart and then added up in order. Their number follows from the shapes alone.
  int64_t parts = std::min<int64_t>(batch, size > (1 << 18) ? 4 : 16);
  float* partial = scratch(2, parts * size);  // kept between calls: fresh memory costs as much as some layers
  int64_t framed_columns = std::max((columns - 1) * across + ks[1], before + 1), framed_rows = (rows - 1) * down + lines;
  share(pool, parts, [&](int64_t part) {
    float* sum = partial + part * size;
    std::memset(sum, 0, size * sizeof(float));
    for (int64_t image = part * batch / parts; image < (part + 1) * batch / parts; ++image) {
      const float* frame = framed(x.typed_data() + image * height * width * inputs, height, width, inputs, above, before, 0,
                                  framed_rows, framed_columns);
      const float* d = dy.typed_data() + image * rows * columns * outputs;
      if (padded != outputs) {
        float* wide = scratch(1, rows * columns * padded);
        for (int64_t p = 0; p < rows * columns; ++p) {
          std::memcpy(wide + p * padded, d + p * outputs, outputs * sizeof(float));
          std::memset(wide + p * padded + outputs, 0, (padded - outputs) * sizeof(float));
        }
        d = wide;
      }
      for (int64_t c = 0; c < padded;) {
        bool two = padded - c > kLanes;
        int64_t most = two ? kWide : kNarrow, groups = (length + most - 1) / most;
        for (int64_t line = 0; line < lines; ++line)
          for (int64_t group = 0, j = 0; group < groups; ++group) {
            int64_t count = (length - j + groups - group - 1) / (groups - group);
            Sums s{frame + line * framed_columns * inputs + j, across * inputs, down * framed_columns * inputs, d + c, padded,
                   rows, columns, sum + (line * length + j) * padded + c, padded};
            (two ? kWideSums[count - 1] : kNarrowSums[count - 1])(s);
            j += count;
          }
        c += two ? 2 * kLanes : kLanes;
      }
    }
  });
  float* to = dk->typed_data();
  for (int64_t i = 0; i < lines * length; ++i)
    for (int64_t c = 0; c < outputs; ++c) {
      float total = 0;
      for (int64_t part = 0; part < parts; ++part) total += partial[part * size + i * padded + c];
      to[i * outputs + c] = total;
    }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace cenote

#define CENOTE_CONVOLUTION(name, function)                                      \
  extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* name(XLA_FFI_CallFrame*); \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, function,                                 \
                                xla::ffi::Ffi::Bind()                           \
                                    .Ctx<xla::ffi::ThreadPool>()                \
                                    .Arg<xla::ffi::Buffer<xla::ffi::F32>>()     \
                                    .Arg<xla::ffi::Buffer<xla::ffi::F32>>()     \
                                    .Ret<xla::ffi::Buffer<xla::ffi::F32>>()     \
                                    .Attr<int64_t>("down")                      \
                                    .Attr<int64_t>("across")                    \
                                    .Attr<int64_t>("above")                     \
                                    .Attr<int64_t>("before"))

CENOTE_CONVOLUTION(cenote_convolution_forward, cenote::Forward);
CENOTE_CONVOLUTION(cenote_convolution_input, cenote::Input);
CENOTE_CONVOLUTION(cenote_convolution_kernel, cenote::Kernel);
