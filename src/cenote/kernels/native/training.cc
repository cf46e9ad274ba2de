// What a training step of dense layers with few rows does, float32: the product with its bias, the gradients of both, and Adam
// in one pass over weights and means, in their own memory. Features that are zero in all rows, as the margins of pictures are,
// are left out of the products.

#include <array>
#include <utility>

#include "crossed.h"
#include "functions.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace cenote {
namespace training {
namespace {

using Array = ffi::Buffer<ffi::F32>;

constexpr int64_t kAlone = 1'000'000;  // multiplications below which another thread would come too late
constexpr int64_t kPart = 8192;        // numbers of a part of Adam's work
constexpr int64_t kColumns = 2 * kLanes;

inline Vector root(Vector x) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vector>(_mm512_sqrt_ps(reinterpret_cast<__m512>(x)));
#elif defined(__AVX__)
  return reinterpret_cast<Vector>(_mm256_sqrt_ps(reinterpret_cast<__m256>(x)));
#elif defined(__SSE__)
  return reinterpret_cast<Vector>(_mm_sqrt_ps(reinterpret_cast<__m128>(x)));
#elif defined(__aarch64__)
  return reinterpret_cast<Vector>(vsqrtq_f32(reinterpret_cast<float32x4_t>(x)));
#else
  for (int k = 0; k < kLanes; ++k) x[k] = __builtin_sqrtf(x[k]);
  return x;
#endif
}

// Like `share`, but the caller takes from the front and the others from the back: what a thread worked on in the step before,
// it mostly finds in its own cache.
template <typename Work>
void share_by_ends(ffi::ThreadPool& pool, int64_t threads, int64_t n, const Work& work) {
  if (threads <= 1 || n <= 1) {
    for (int64_t i = 0; i < n; ++i) work(i);
    return;
  }
  struct Ends {
    std::atomic<int64_t> taken{0}, done{0}, front{0}, back{0};
  };
  auto ends = std::make_shared<Ends>();
  const Work* shared = &work;
  auto take = [ends, shared, n](bool front) {
    while (ends->taken.fetch_add(1, std::memory_order_relaxed) < n) {
      (*shared)(front ? ends->front.fetch_add(1, std::memory_order_relaxed)
                      : n - 1 - ends->back.fetch_add(1, std::memory_order_relaxed));
      ends->done.fetch_add(1, std::memory_order_release);
    }
  };
  for (int64_t i = 1; i < std::min(threads, n); ++i) pool.Schedule([take] { take(false); });
  take(true);
  while (ends->done.load(std::memory_order_acquire) < n) std::this_thread::yield();
}

struct Weights {
  const float *p, *m, *v, *g;
  float *new_p, *new_m, *new_v;
  float rate, decay;
  int64_t size;
};

// beta_1 and beta_2 are what is missing from one in the decay of the means; decay is the part that a weight loses by itself.
ffi::Error Adam(ffi::ThreadPool pool, float beta_1, float beta_2, float epsilon, Array rates, Array decays,
                ffi::RemainingArgs in, ffi::RemainingRets out) {
  size_t count = in.size() / 4;
  if (in.size() != 4 * count || out.size() != 3 * count || rates.element_count() != count || decays.element_count() != count)
    return ffi::Error::InvalidArgument("Adam takes weights, means, mean squares and gradients of each array");
  std::vector<Weights> arrays;
  std::vector<std::array<int64_t, 2>> parts;  // of which array, from where
  int64_t total = 0;
  for (size_t i = 0; i < count; ++i) {
    auto from = [&](size_t k) { return in.get<Array>(k * count + i)->typed_data(); };
    auto to = [&](size_t k) { return (*out.get<Array>(k * count + i))->typed_data(); };
    int64_t size = static_cast<int64_t>(in.get<Array>(i)->element_count());
    float rate = rates.typed_data()[i], decay = decays.typed_data()[i];
    arrays.push_back({from(0), from(1), from(2), from(3), to(0), to(1), to(2), rate, decay, size});
    for (int64_t first = 0; first < size; first += kPart) parts.push_back({static_cast<int64_t>(i), first});
    total += size;
  }
  int64_t threads = total <= 4 * kPart ? 1 : pool.num_threads();
  share_by_ends(pool, threads, static_cast<int64_t>(parts.size()), [&](int64_t part) {
    auto [i, first] = parts[part];
    const Weights w = arrays[i];
    each_vector(std::min(kPart, w.size - first), [&](int64_t k, int64_t n) {
      int64_t at = first + k;
      Vector p = load(w.p + at, n), m = load(w.m + at, n), v = load(w.v + at, n), g = load(w.g + at, n);
      m += beta_1 * (g - m);
      v += beta_2 * (g * g - v);
      store(w.new_p + at, p - w.decay * p - w.rate * m / (root(v) + epsilon), n);
      store(w.new_m + at, m, n);
      store(w.new_v + at, v, n);
    });
  });
  return ffi::Error::Success();
}

// Neighbouring features, [begin, end), at most `kWide` of them; whether one of them is not zero in some row.
struct Piece {
  int64_t begin, end;
  bool live;
};

std::vector<Piece> pieces(const float* x, int64_t rows, int64_t features, bool all) {
  std::vector<int32_t> seen(round_up(features, kLanes), all);
  if (!all)
    each_vector(features, [&](int64_t k, int64_t n) {
      Integers bits{};
      for (int64_t i = 0; i < rows; ++i) bits |= as_bits(load(x + i * features + k, n));
      bits &= 0x7fffffff;  // zeros of either sign are zeros
      std::memcpy(&seen[k], &bits, sizeof(bits));
    });
  std::vector<Piece> found;
  for (int64_t begin = 0, end; begin < features; begin = end) {
    for (end = begin + 1; end < features && !seen[end] == !seen[begin];) ++end;
    int64_t count = (end - begin + kWide - 1) / kWide;
    for (int64_t i = 0; i < count; ++i)
      found.push_back({begin + i * (end - begin) / count, begin + (i + 1) * (end - begin) / count, seen[begin] != 0});
  }
  return found;
}

// y = x w + bias for P rows and two vectors of units.
template <int P>
void inner(const float* x, int64_t features, const float* w, int64_t units, const std::vector<Piece>& pieces, const float* bias,
           float* y, int64_t step) {
  Vector sum[P][2];
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) sum[p][0] = sum[p][1] = Vector{};
  for (const Piece& piece : pieces) {
    if (!piece.live) continue;
    for (int64_t j = piece.begin; j < piece.end; ++j) {
      Vector first = load(w + j * units), second = load(w + j * units + kLanes);
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
        Vector number = fill(x[p * features + j]);
        sum[p][0] += number * first;
        sum[p][1] += number * second;
      }
    }
  }
  Vector first = bias ? load(bias) : Vector{}, second = bias ? load(bias + kLanes) : Vector{};
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) store(y + p * step, sum[p][0] + first), store(y + p * step + kLanes, sum[p][1] + second);
}

template <int... P>
constexpr auto inners(std::integer_sequence<int, P...>) {
  return std::array<decltype(&inner<1>), sizeof...(P)>{&inner<P + 1>...};
}

constexpr auto kInner = inners(std::make_integer_sequence<int, kWide>());

// Each number of either product is summed in one order, whatever the threads.
ffi::Error Dense(ffi::ThreadPool pool, Array x, Array kernel, Array bias, ffi::ResultBuffer<ffi::F32> y) {
  int64_t rows = x.dimensions()[0], features = x.dimensions()[1], units = kernel.dimensions()[1];
  if (kernel.dimensions()[0] != features) return ffi::Error::InvalidArgument("the kernel does not fit");
  int64_t blocks = (units + kColumns - 1) / kColumns, whole = units / kColumns;
  std::vector<Piece> all = pieces(x.typed_data(), rows, features, false);
  // The last columns, if they are too few, with zeros where there is no unit; of what is read alone.
  const float *w = kernel.typed_data() + whole * kColumns, *added = bias.element_count() ? bias.typed_data() : nullptr;
  int64_t left = units - whole * kColumns;
  float *rest = left ? scratch(0, (features + 1) * kColumns) : nullptr, *rest_bias = rest + features * kColumns;
  auto widen = [&](const float* from, float* to) {
    std::fill(to, to + kColumns, 0.0f);
    if (from) std::memcpy(to, from, left * sizeof(float));
  };
  if (left) {
    widen(added ? added + whole * kColumns : nullptr, rest_bias);
    for (const Piece& piece : all)
      for (int64_t j = piece.begin; piece.live && j < piece.end; ++j) widen(w + j * units, rest + j * kColumns);
  }
  int64_t groups = (rows + kWide - 1) / kWide, threads = rows * features * units < kAlone ? 1 : pool.num_threads();
  share_by_ends(pool, threads, blocks * groups, [&](int64_t part) {
    int64_t column = part / groups * kColumns, group = part % groups;
    int64_t first = group * rows / groups, height = (group + 1) * rows / groups - first;
    const float* from = x.typed_data() + first * features;
    float* to = y->typed_data() + first * units + column;
    if (column < whole * kColumns) {
      const float* here = added ? added + column : nullptr;
      kInner[height - 1](from, features, kernel.typed_data() + column, units, all, here, to, units);
      return;
    }
    float sums[kWide * kColumns];
    kInner[height - 1](from, features, rest, kColumns, all, rest_bias, sums, kColumns);
    for (int64_t p = 0; p < height; ++p) std::memcpy(to + p * units, sums + p * kColumns, left * sizeof(float));
  });
  return ffi::Error::Success();
}

// x.T @ dy, and the sums of dy's rows if they are asked for.
ffi::Error DenseGradient(ffi::ThreadPool pool, Array x, Array dy, ffi::ResultBuffer<ffi::F32> dkernel,
                         ffi::ResultBuffer<ffi::F32> dbias) {
  int64_t rows = x.dimensions()[0], features = x.dimensions()[1], units = dy.dimensions()[1];
  if (dy.dimensions()[0] != rows) return ffi::Error::InvalidArgument("the gradient does not fit the rows");
  int64_t blocks = (units + kColumns - 1) / kColumns;
  // dy by blocks of columns, so that its rows lie side by side; zeros where there is no unit.
  float* packed = scratch(0, blocks * rows * kColumns);
  Vector nothing{};
  for (int64_t b = 0; b < blocks; ++b) {
    int64_t wanted = std::min(kColumns, units - b * kColumns);
    float *begin = packed + b * rows * kColumns, *to = begin;
    for (int64_t j = 0; j < rows; ++j, to += kColumns) {
      std::memcpy(to, dy.typed_data() + j * units + b * kColumns, wanted * sizeof(float));
      std::fill(to + wanted, to + kColumns, 0.0f);
    }
    Vector sum[2] = {};
    for (const float* from = begin; from < to; from += kColumns) {
      sum[0] += load(from), sum[1] += load(from + kLanes);
      nothing += load(from) * 0.0f + load(from + kLanes) * 0.0f;
    }
    if (dbias->element_count()) std::memcpy(dbias->typed_data() + b * kColumns, sum, wanted * sizeof(float));
  }
  bool finite = true;  // else zero times dy is not zero
  for (int k = 0; k < kLanes; ++k) finite = finite && nothing[k] == 0;
  std::vector<Piece> all = pieces(x.typed_data(), rows, features, !finite);
  int64_t count = static_cast<int64_t>(all.size()), threads = rows * features * units < kAlone ? 1 : pool.num_threads();
  int64_t cuts = threads == 1 ? 1 : std::min(count, std::max<int64_t>(1, 4 * threads / blocks));
  share_by_ends(pool, threads, blocks * cuts, [&](int64_t part) {
    int64_t block = part / cuts, cut = part % cuts, wanted = std::min(kColumns, units - block * kColumns);
    const auto& tiles = wanted > kLanes ? kCrossedWide : kCrossedNarrow;
    for (int64_t i = cut * count / cuts; i < (cut + 1) * count / cuts; ++i) {
      int64_t first = all[i].begin, height = all[i].end - first;
      float* to = dkernel->typed_data() + first * units + block * kColumns;
      if (all[i].live)
        tiles[height - 1](x.typed_data() + first, features, packed + block * rows * kColumns, kColumns, rows, to, units, wanted);
      else
        for (int64_t p = 0; p < height; ++p) std::fill_n(to + p * units, wanted, 0.0f);
    }
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace training
}  // namespace cenote

EXPORTED(cenote_adam);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_adam, cenote::training::Adam,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Attr<float>("beta_1").Attr<float>("beta_2").Attr<float>("epsilon")
                                  .Arg<F32>().Arg<F32>().RemainingArgs().RemainingRets());
EXPORTED(cenote_dense);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_dense, cenote::training::Dense,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().Arg<F32>().Arg<F32>().Arg<F32>().Ret<F32>());
EXPORTED(cenote_dense_gradient);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_dense_gradient, cenote::training::DenseGradient,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().Arg<F32>().Arg<F32>().Ret<F32>().Ret<F32>());
