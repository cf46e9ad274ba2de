// Direct convolution of pictures (batch, height, width, channel) with kernels (height, width, input, output), float32:
// forward, gradient by the input, gradient by the kernel. Results do not depend on the number of threads.
//
// A row of the kernel, its (width, input) numbers, lies side by side in the picture, too: a convolution is a sum of products of
// overlapping windows (product.h, taps.h). Where few taps overlap, they are read where they lie; else pictures are copied into a
// frame of zeros first, which also brings them into the cache of the core that works on them. Forward is a step of programs for
// serving, too.

#include <algorithm>

#include "taps.h"

namespace cenote {
namespace {

// Rows [first, last) of a picture that begins `above` rows and `before` columns of zeros ahead of it, `columns` wide.
struct Frame {
  const float* at;
  int64_t columns;  // from one row to the next
};

// Row `i` of such a frame; fewer than none above or before it cut the picture.
void frame_row(float* line, const float* x, int64_t height, int64_t width, int64_t channels, int64_t above, int64_t before,
               int64_t i, int64_t columns) {
  int64_t source = i - above, cut = std::max<int64_t>(0, -before), lead = std::max<int64_t>(0, before);
  int64_t kept = source < 0 || source >= height ? 0 : std::max<int64_t>(0, std::min(width - cut, columns - lead));
  if (kept == 0) lead = 0;
  std::memset(line, 0, lead * channels * sizeof(float));
  if (kept) std::memcpy(line + lead * channels, x + (source * width + cut) * channels, kept * channels * sizeof(float));
  std::memset(line + (lead + kept) * channels, 0, (columns - lead - kept) * channels * sizeof(float));
}

Frame framed(const float* x, int64_t height, int64_t width, int64_t channels, int64_t above, int64_t before, int64_t first,
             int64_t last, int64_t columns) {
  if (above == 0 && before == 0 && last <= height && columns <= width) return {x + first * width * channels, width};
  float* to = scratch(0, (last - first) * columns * channels);
  for (int64_t i = first; i < last; ++i)
    frame_row(to + (i - first) * columns * channels, x, height, width, channels, above, before, i, columns);
  return {to, columns};
}

// How many bands of rows a picture is cut into, so that every thread has work for a small batch.
template <typename Pool>
int64_t bands(Pool& pool, int64_t batch, int64_t rows) {
  int64_t wanted = (2 * std::max<int64_t>(pool.num_threads(), 1) + batch - 1) / batch;
  return std::max<int64_t>(1, std::min(wanted, rows));
}

// -- windows of 2x2 ---------------------------------------------------------------------------------------------------------

// Which of the four places of a window, row by row, gets its gradient; kNone where the rectifier or a NaN stops it.
using Bytes = Finish::Bytes;
constexpr int kNone = Finish::kNone;

// One row of windows from two rows of sums, in which `step` numbers, whole vectors, lie from one place to the next.
void largest(const float* sums, int64_t columns, int64_t step, const Finish& finish, float* y, int64_t windows,
             int64_t channels) {
  for (int64_t p = 0; p < windows; ++p)
    each_vector(channels, [&](int64_t c, int64_t n) {
      const float *above = sums + 2 * p * step + c, *below = above + columns * step;
      Vector add = finish.bias ? load(finish.bias + c) : Vector{};
      const Vector four[] = {load(above) + add, load(above + step) + add, load(below) + add, load(below + step) + add};
      finish.largest(four, y, p * channels + c, n);
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

// A row of a picture as a frame has it where taps are apart: what each of `places` sees side by side.
void unfolded_row(float* line, const float* x, const Form& f, int64_t i, int64_t places) {
  int64_t source = i - f.above;
  for (int64_t j = 0; j < places; ++j)
    for (int64_t t = 0; t < f.taps; ++t, line += f.inputs) {
      int64_t column = j * f.across + t * f.spread - f.before;
      if (source >= 0 && source < f.height && column >= 0 && column < f.width)
        std::memcpy(line, x + (source * f.width + column) * f.inputs, f.inputs * sizeof(float));
      else
        std::memset(line, 0, f.inputs * sizeof(float));
    }
}

// Rows [first, last) of the result, of the windows if there are, from a frame of zeros around the picture.
void from_frame(const Windows& kernel, const float* x, int64_t first, int64_t last, const Finish& finish, float* y) {
  const Form& f = kernel.form();
  int64_t each = finish.windows ? 2 : 1, columns = f.columns * each;  // the last column, if it is in no window, is not computed
  int64_t step = finish.windows ? round_up(f.outputs, kLanes) : kernel.apart().place, out = kernel.apart().row;
  int64_t wide = f.spread > 1 ? columns * f.taps : (columns - 1) * f.across + std::max<int64_t>(1, f.taps);
  int64_t reach = std::max<int64_t>(0, f.lines - 1) * f.rise + 1;  // rows of the picture that the kernel sees at once
  int64_t begin = first * each * f.down, end = (last * each - 1) * f.down + reach;
  bool inside = f.above <= 0 && f.before <= 0 && end - f.above <= f.height && wide - f.before <= f.width && f.spread == 1;
  int64_t line = (inside ? f.width : wide) * f.inputs;  // numbers from one row to the next
  float* room = inside ? nullptr : scratch(0, (end - begin) * line);
  const float* frame = inside ? x + ((begin - f.above) * f.width - f.before) * f.inputs : room;
  for (int64_t i = first, filled = begin; i < last; ++i) {
    int64_t needed = ((i + 1) * each - 1) * f.down + reach;
    for (; !inside && filled < needed; ++filled) {  // when it is needed: it is in the nearest cache
      float* to = room + (filled - begin) * line;
      if (f.spread > 1)
        unfolded_row(to, x, f, filled, columns);
      else
        frame_row(to, x, f.height, f.width, f.inputs, f.above, f.before, filled, wide);
    }
    const float* from = frame + (i * each * f.down - begin) * line;
    if (!finish.windows) {
      kernel.row(from, line, y + i * out, step, columns, finish.at(i * out));
      continue;
    }
    float* sums = scratch(1, 2 * columns * step);
    for (int64_t r = 0; r < 2; ++r) kernel.row(from + r * f.down * line, line, sums + r * columns * step, step, columns, {});
    largest(sums, columns, step, finish.at(i * out), y + i * out, f.columns, f.outputs);
  }
}

template <typename Pool>
void forward(Pool& pool, const Windows& kernel, const float* x, const Finish& finish, float* y) {
  const Form& f = kernel.form();
  const Apart& apart = kernel.apart();
  int64_t blocks = kernel.sweeps() ? kernel.blocks() : 1, cut = bands(pool, f.batch * blocks, f.rows);
  share(pool, f.batch * cut * blocks, [&](int64_t item) {
    int64_t image = item / (cut * blocks), band = item / blocks % cut;
    int64_t first = band * f.rows / cut, last = (band + 1) * f.rows / cut;
    if (first == last) return;
    const float* seen = x + image * f.height * f.width * f.inputs;
    float* to = y + image * apart.picture;
    if (!kernel.sweeps()) return from_frame(kernel, seen, first, last, finish.at(image * apart.picture), to);
    for (int64_t i = first; i < last; ++i)
      kernel.sweep(seen, i, item % blocks, to + i * apart.row, finish.at(image * apart.picture + i * apart.row));
  });
}

bool fits(const F32& x, const F32& k, const F32& y) {
  return k.dimensions()[2] == x.dimensions()[3] && k.dimensions()[3] == y.dimensions()[3];
}

ffi::Error Forward(ffi::ThreadPool pool, F32 x, F32 k, ffi::ResultBuffer<ffi::F32> y, int64_t down, int64_t across,
                   int64_t above, int64_t before) {
  if (!fits(x, k, *y)) return misfit();
  Form f = form(x, k, *y, down, across, above, before);
  forward(pool, Windows(f, false, k.typed_data()), x.typed_data(), {}, y->typed_data());
  return ffi::Error::Success();
}

// The bias may be empty; so are the places, where nobody asks for them.
ffi::Error Joined(ffi::ThreadPool pool, F32 x, F32 k, F32 bias, ffi::ResultBuffer<ffi::F32> y, ffi::ResultBuffer<ffi::U8> places,
                  int64_t down, int64_t across, int64_t above, int64_t before, int64_t rectify, int64_t windows) {
  if (!fits(x, k, *y)) return misfit();
  Form f = form(x, k, *y, down, across, above, before);
  std::vector<float> added = whole(bias.element_count() ? bias.typed_data() : nullptr, f.outputs);
  uint8_t* kept = places->element_count() ? places->typed_data() : nullptr;
  Finish finish{added.empty() ? nullptr : added.data(), nullptr, rectify != 0, windows != 0, kept};
  forward(pool, Windows(f, windows != 0, k.typed_data()), x.typed_data(), finish, y->typed_data());
  return ffi::Error::Success();
}

// A step: one or several convolutions of the same picture, each of which gives its places of the result.
class Convolved : public Step {
 public:
  void run(Team& team, const Argument* arrays) const override {
    Finish finish{bias_.empty() ? nullptr : bias_.data(), adds_ ? arrays[1].floats : nullptr, rectifies_, windows_, nullptr};
    float* y = arrays[1 + adds_].floats;
    Nobody nobody;
    for (const Part& part : parts_)
      if (part.kernel.form().work() < kLittle)
        forward(nobody, part.kernel, arrays[0].floats, finish.at(part.first), y + part.first);
      else
        forward(team, part.kernel, arrays[0].floats, finish.at(part.first), y + part.first);
  }

 protected:
  // Numbers: the sizes of a form, whether there is a bias, whether something is added, whether what is below zero is cut,
  // whether windows of 2x2 follow. Constants: the kernel, the bias.
  explicit Convolved(const Recipe& r)
      : bias_(whole(r.size(15) ? r.constants[1].floats : nullptr, r.size(6))), adds_(r.size(16)), rectifies_(r.size(17)),
        windows_(r.size(18)) {}

  struct Part {
    int64_t first;  // where it begins in the result
    Windows kernel;
  };

  std::vector<Part> parts_;

 private:
  std::vector<float> bias_;
  bool adds_, rectifies_, windows_;
};

class Convolution final : public Convolved {
 public:
  explicit Convolution(const Recipe& r) : Convolved(r) {
    parts_.push_back({0, Windows(form(r), r.size(18), r.constants[0].floats)});
  }
};

// The kernel is (height, width, output, input), that of the convolution which leads from the result back to the picture; so are
// the numbers from one place to the next, and above and before it. See Phase.
class Transposed final : public Convolved {
 public:
  explicit Transposed(const Recipe& r) : Convolved(r) {
    Form f = form(r);
    const float* k = r.constants[0].floats;
    Apart apart(f.down * f.columns * f.outputs, f.across * f.outputs, f.rows * f.columns * f.outputs);
    auto vertical = phases(f.down, f.rows, f.above, f.lines), horizontal = phases(f.across, f.columns, f.before, f.taps);
    for (int64_t u = 0; u < f.down; ++u)
      for (int64_t v = 0; v < f.across; ++v) {
        const Phase &down = vertical[u], &across = horizontal[v];
        if (down.count == 0 || across.count == 0) continue;
        std::vector<float> kernel(down.taps * across.taps * f.inputs * f.outputs);
        float* to = kernel.data();
        for (int64_t line = down.taps - 1; line >= 0; --line)
          for (int64_t tap = across.taps - 1; tap >= 0; --tap)
            for (int64_t j = 0; j < f.inputs; ++j)
              for (int64_t c = 0; c < f.outputs; ++c)
                *to++ = k[(((u + f.down * line) * f.taps + v + f.across * tap) * f.outputs + c) * f.inputs + j];
        Form part{f.batch, f.height,  f.width,     f.inputs, down.count, across.count, f.outputs,
                  down.taps, across.taps, 1, 1, -down.from, -across.from};
        parts_.push_back({(down.first * f.columns + across.first) * f.outputs, Windows(part, false, kernel.data(), apart)});
      }
  }
};

// -- gradient by the input --------------------------------------------------------------------------------------------------

void input(ffi::ThreadPool& pool, const float* dy, const Pooled& pooled, int64_t rows, int64_t columns, const F32& k, F32& dx,
           int64_t down, int64_t across, int64_t above, int64_t before) {
  auto ks = k.dimensions(), xs = dx.dimensions();
  int64_t batch = xs[0], height = xs[1], width = xs[2], inputs = xs[3], outputs = ks[3], tall = ks[0], wide = ks[1];
  const float* weights = k.typed_data();
  auto vertical = phases(down, height, above, tall), horizontal = phases(across, width, before, wide);
  Form f{batch, rows, columns, outputs, height, width, inputs, tall, wide, 1, 1, -vertical[0].from, -horizontal[0].from};
  if (down == 1 && across == 1 && f.above >= 0 && f.before >= 0 && Windows::can_sweep(f, false)) {
    std::vector<float> turned(tall * wide * outputs * inputs);
    float* to = turned.data();
    for (int64_t tap = tall * wide - 1; tap >= 0; --tap)
      for (int64_t j = 0; j < outputs; ++j)
        for (int64_t c = 0; c < inputs; ++c) *to++ = weights[(tap * inputs + c) * outputs + j];
    Windows kernel(f, false, turned.data());
    return share(pool, batch, [&](int64_t image) {
      int64_t first = image * rows * columns * outputs;
      const float* from = pooled.dy ? pooled.spread(image, rows, columns, outputs, outputs) : dy + first;
      float* y = dx.typed_data() + image * height * width * inputs;
      for (int64_t block = 0; block < kernel.blocks(); ++block)
        for (int64_t i = 0; i < height; ++i) kernel.sweep(from, i, block, y + i * width * inputs, {});
    });
  }
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
      for (int v = 0; v < V; ++v) d[v] = loaded(dy + v * kLanes);
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

STEP(convolution, cenote::Convolution)
STEP(transposed, cenote::Transposed)
