// Normalisation of columns (BatchNorm, with the sum and the rectifier that follow it) and of rows (LayerNorm, RMSNorm),
// forward and backward, and GELU with its slope; float32. Each array is gone over once or twice, which is what such operations cost. What is summed is cut
// by the shapes alone and added up in order: the results do not depend on the number of threads.

#include <algorithm>
#include <cmath>

#include "functions.h"
#include "steps.h"

namespace cenote {
namespace {

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;

constexpr int64_t kWork = 1 << 14;  // numbers worth a task of their own

// Rows cut into parts: by the shapes alone.
struct Parts {
  int64_t rows, wide, count;

  Parts(int64_t rows, int64_t wide, int64_t work = kWork)
      : rows(rows), wide(wide), count(std::max<int64_t>(1, std::min<int64_t>({rows, 16, rows * wide / work}))) {}

  template <typename Pool, typename Work>  // work(part, first row, last row)
  void share(Pool& pool, const Work& work) const {
    cenote::share(pool, count, [&](int64_t i) { work(i, i * rows / count, (i + 1) * rows / count); });
  }
};

// Mean and variance of columns: of a few rows at a time, which stay in the nearest cache, the mean and the squares around it;
// these are joined by the formula of Chan et al. 1979, so that a mean far from zero costs no digits.
void moments(const float* x, int64_t rows, int64_t wide, int64_t& seen, float* mean, float* squares) {
  int64_t step = std::max<int64_t>(8, 4096 / wide);
  for (int64_t first = 0; first < rows; first += step) {
    int64_t n = std::min(step, rows - first), all = seen + n;
    const float* from = x + first * wide;
    float share = float(n) / float(all), weight = float(seen) * share, one = 1.0f / float(n);
    each_vector(wide, [&](int64_t k, int64_t lanes) {
      Vector sum[4] = {};
      for (int64_t i = 0; i < n; ++i) sum[i % 4] += load(from + i * wide + k, lanes);
      Vector middle = ((sum[0] + sum[1]) + (sum[2] + sum[3])) * one, apart[4] = {};
      for (int64_t i = 0; i < n; ++i) {
        Vector d = load(from + i * wide + k, lanes) - middle;
        apart[i % 4] += d * d;
      }
      Vector between = middle - load(mean + k, lanes);
      store(mean + k, load(mean + k, lanes) + between * share, lanes);
      Vector more = ((apart[0] + apart[1]) + (apart[2] + apart[3])) + between * between * weight;
      store(squares + k, load(squares + k, lanes) + more, lanes);
    });
    seen = all;
  }
}

// y = (x - mean) / sqrt(variance + epsilon) * scale + bias [+ rest] [where positive], over columns.
ffi::Error ColumnsForward(ffi::ThreadPool pool, Array x, Array scale, Array bias, Array rest, Result y, Result mean,
                          Result variance, float epsilon, int64_t rectify) {
  int64_t rows = x.dimensions()[0], wide = x.dimensions()[1];
  Parts parts(rows, wide);
  std::vector<float> partial(2 * parts.count * wide, 0.0f), factor(wide);
  parts.share(pool, [&](int64_t part, int64_t first, int64_t last) {
    int64_t seen = 0;
    float* mine = partial.data() + 2 * part * wide;
    moments(x.typed_data() + first * wide, last - first, wide, seen, mine, mine + wide);
  });
  for (int64_t k = 0; k < wide; ++k) {
    float middle = 0, squares = 0;
    int64_t seen = 0;
    for (int64_t part = 0; part < parts.count; ++part) {
      int64_t n = (part + 1) * rows / parts.count - part * rows / parts.count;
      float between = partial[2 * part * wide + k] - middle, share = float(n) / float(seen + n);
      middle += between * share;
      squares += partial[(2 * part + 1) * wide + k] + between * between * float(seen) * share;
      seen += n;
    }
    mean->typed_data()[k] = middle;
    variance->typed_data()[k] = squares / float(rows);
    factor[k] = scale.typed_data()[k] / std::sqrt(squares / float(rows) + epsilon);
  }
  const float *m = mean->typed_data(), *b = bias.typed_data(), *other = rest.element_count() ? rest.typed_data() : nullptr;
  parts.share(pool, [&](int64_t, int64_t first, int64_t last) {
    each_vector(wide, [&](int64_t k, int64_t lanes) {
      Vector middle = load(m + k, lanes), by = load(factor.data() + k, lanes), shift = load(b + k, lanes);
      const float* from = x.typed_data() + k;
      float* to = y->typed_data() + k;
      for (int64_t i = first; i < last; ++i) {
        Vector value = (load(from + i * wide, lanes) - middle) * by + shift;
        if (other) value += load(other + i * wide + k, lanes);
        if (rectify) value = choose(value <= Vector{}, Vector{}, value);  // NaN stays NaN
        store(to + i * wide, value, lanes);
      }
    });
  });
  return ffi::Error::Success();
}

// With g = dy where y is positive (everywhere, if y is empty): dbias = sum(g), dscale = sum(g normal),
// dx = scale r (g - mean(g) - normal mean(g normal)). Where drest is not empty it becomes g.
ffi::Error ColumnsBackward(ffi::ThreadPool pool, Array dy, Array x, Array y, Array mean, Array variance, Array scale, Result dx,
                           Result dscale, Result dbias, Result drest, float epsilon) {
  int64_t rows = x.dimensions()[0], wide = x.dimensions()[1];
  const float *seen = y.element_count() ? y.typed_data() : nullptr, *m = mean.typed_data();
  float* kept = drest->element_count() ? drest->typed_data() : nullptr;
  Parts parts(rows, wide);
  std::vector<float> partial(2 * parts.count * wide, 0.0f), one(wide), two(wide), by(wide);
  auto gradient = [&](int64_t at, int64_t lanes) {
    Vector g = load(dy.typed_data() + at, lanes);
    return seen ? choose(load(seen + at, lanes) > Vector{}, g, Vector{}) : g;
  };
  parts.share(pool, [&](int64_t part, int64_t first, int64_t last) {
    float *sums = partial.data() + 2 * part * wide, *products = sums + wide;
    int64_t step = std::max<int64_t>(8, 4096 / wide);
    for (int64_t from = first; from < last; from += step)
      each_vector(wide, [&](int64_t k, int64_t lanes) {
        Vector sum[2] = {}, product[2] = {}, middle = load(m + k, lanes);
        for (int64_t i = from; i < std::min(from + step, last); ++i) {
          Vector g = gradient(i * wide + k, lanes);
          if (kept) store(kept + i * wide + k, g, lanes);
          sum[i % 2] += g;
          product[i % 2] += g * (load(x.typed_data() + i * wide + k, lanes) - middle);
        }
        store(sums + k, load(sums + k, lanes) + (sum[0] + sum[1]), lanes);
        store(products + k, load(products + k, lanes) + (product[0] + product[1]), lanes);
      });
  });
  for (int64_t k = 0; k < wide; ++k) {
    float sum = 0, product = 0, r = 1.0f / std::sqrt(variance.typed_data()[k] + epsilon);
    for (int64_t part = 0; part < parts.count; ++part) {
      sum += partial[2 * part * wide + k];
      product += partial[(2 * part + 1) * wide + k];
    }
    dbias->typed_data()[k] = sum;
    dscale->typed_data()[k] = product * r;
    one[k] = sum / float(rows);
    two[k] = product * r * r / float(rows);
    by[k] = scale.typed_data()[k] * r;
  }
  parts.share(pool, [&](int64_t, int64_t first, int64_t last) {
    each_vector(wide, [&](int64_t k, int64_t lanes) {
      Vector middle = load(m + k, lanes), even = load(one.data() + k, lanes), along = load(two.data() + k, lanes);
      Vector factor = load(by.data() + k, lanes);
      for (int64_t i = first; i < last; ++i) {
        int64_t at = i * wide + k;
        Vector g = kept ? load(kept + at, lanes) : gradient(at, lanes);
        store(dx->typed_data() + at, factor * (g - even - (load(x.typed_data() + at, lanes) - middle) * along), lanes);
      }
    });
  });
  return ffi::Error::Success();
}

// Calls f(k, n) as each_vector does, four vectors at a time told apart by `which`, so that sums need not wait for each other.
template <typename F>
inline float sum_of(int64_t wide, const F& f) {
  Vector sum[4] = {};
  int64_t k = 0;
  for (; k + 4 * kLanes <= wide; k += 4 * kLanes)
    for (int j = 0; j < 4; ++j) sum[j] += f(k + j * kLanes, kLanes);
  for (; k < wide; k += kLanes) sum[0] += f(k, std::min<int64_t>(kLanes, wide - k));
  return total((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

// The first n numbers of a vector, zeros behind them.
inline Vector only(Vector value, int64_t n) {
  for (int64_t i = n; i < kLanes; ++i) value[i] = 0;
  return value;
}

// y = (x - mean) r scale + bias with r = 1 / sqrt(variance + epsilon), over rows; without `centre` the mean is left in.
struct RowNorm {
  Parts parts;
  float epsilon;
  bool centre;

  // `mean` and `inverse`, which take the means and r, may be null.
  template <typename Pool>
  void run(Pool& pool, const float* x, const float* scale, const float* bias, float* y, float* mean, float* inverse) const {
    int64_t wide = parts.wide;
    parts.share(pool, [&](int64_t, int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const float* from = x + i * wide;
        float* to = y + i * wide;
        float middle = centre ? sum_of(wide, [&](int64_t k, int64_t n) { return load(from + k, n); }) / float(wide) : 0.0f;
        float squares = sum_of(wide, [&](int64_t k, int64_t n) {
          Vector d = load(from + k, n) - middle;
          return n == kLanes ? d * d : only(d * d, n);
        });
        float r = 1.0f / std::sqrt(squares / float(wide) + epsilon);
        if (mean) mean[i] = middle, inverse[i] = r;
        each_vector(wide, [&](int64_t k, int64_t n) {
          store(to + k, (load(from + k, n) - middle) * r * load(scale + k, n) + load(bias + k, n), n);
        });
      }
    });
  }
};

ffi::Error RowsForward(ffi::ThreadPool pool, Array x, Array scale, Array bias, Result y, Result mean, Result inverse,
                       float epsilon, int64_t centre) {
  RowNorm norm{Parts(x.dimensions()[0], x.dimensions()[1]), epsilon, centre != 0};
  norm.run(pool, x.typed_data(), scale.typed_data(), bias.typed_data(), y->typed_data(), mean->typed_data(), inverse->typed_data());
  return ffi::Error::Success();
}

// With g = dy scale: dx = r (g - mean(g) - normal mean(g normal)); dscale and dbias are sums over rows.
ffi::Error RowsBackward(ffi::ThreadPool pool, Array dy, Array x, Array mean, Array inverse, Array scale, Result dx, Result dscale,
                        Result dbias, int64_t centre) {
  int64_t rows = x.dimensions()[0], wide = x.dimensions()[1];
  const float* s = scale.typed_data();
  Parts parts(rows, wide);
  std::vector<float> partial(2 * parts.count * wide, 0.0f);
  parts.share(pool, [&](int64_t part, int64_t first, int64_t last) {
    float *scales = partial.data() + 2 * part * wide, *biases = scales + wide;
    for (int64_t i = first; i < last; ++i) {
      const float *from = x.typed_data() + i * wide, *g = dy.typed_data() + i * wide;
      float middle = mean.typed_data()[i], r = inverse.typed_data()[i];
      Vector products{}, sums{};
      each_vector(wide, [&](int64_t k, int64_t n) {  // beyond the row g is zero, and with it all that is summed
        Vector d = load(g + k, n), normal = (load(from + k, n) - middle) * r, along = d * normal;
        if (n < kLanes) along = only(along, n);
        Vector weight = load(s + k, n);
        products += along * weight;
        sums += d * weight;
        store(scales + k, load(scales + k, n) + along, n);
        store(biases + k, load(biases + k, n) + d, n);
      });
      float even = centre ? total(sums) / float(wide) : 0.0f, by = total(products) / float(wide);
      each_vector(wide, [&](int64_t k, int64_t n) {
        Vector normal = (load(from + k, n) - middle) * r;
        store(dx->typed_data() + i * wide + k, (load(g + k, n) * load(s + k, n) - even - normal * by) * r, n);
      });
    }
  });
  for (int64_t k = 0; k < wide; ++k) {
    float scales = 0, biases = 0;
    for (int64_t part = 0; part < parts.count; ++part) {
      scales += partial[2 * part * wide + k];
      biases += partial[(2 * part + 1) * wide + k];
    }
    dscale->typed_data()[k] = scales;
    dbias->typed_data()[k] = biases;
  }
  return ffi::Error::Success();
}

ffi::Error Gelu(ffi::ThreadPool pool, Array x, Result y, Result slope, int64_t approximate) {
  int64_t count = x.element_count();
  Parts(count, 1).share(pool, [&](int64_t, int64_t first, int64_t last) {
    each_vector(last - first, [&](int64_t k, int64_t n) {
      Vector v = load(x.typed_data() + first + k, n), bell, inner, share, rise;
      if (approximate) {
        share = sigmoid((v + v * v * v * kCube) * (2 * kRoot), inner);
        rise = inner * (1.0f + v * v * (3 * kCube)) * (2 * kRoot);
      } else {
        share = normal_share(v, bell);
        rise = bell * 0.39894228f;
      }
      store(y->typed_data() + first + k, v * share, n);
      store(slope->typed_data() + first + k, share + v * rise, n);
    });
  });
  return ffi::Error::Success();
}

// Made from: rows, width, epsilon, whether the mean is taken away. Constants: scale and bias.
class RowNormStep final : public Step {
 public:
  explicit RowNormStep(const Recipe& r)
      : norm_{Parts(r.size(0), r.size(1), kWork / 4), r.number(2), r.size(3) != 0},  // our threads begin at once, unlike XLA's
        scale_(r.constants[0].floats, r.constants[0].floats + r.size(1)),
        bias_(r.constants[1].floats, r.constants[1].floats + r.size(1)) {}

  void run(Team& team, const Argument* arrays) const override {
    norm_.run(team, arrays[0].floats, scale_.data(), bias_.data(), arrays[1].floats, nullptr, nullptr);
  }

 private:
  RowNorm norm_;
  std::vector<float> scale_, bias_;
};

}  // namespace
}  // namespace cenote

STEP(rows, cenote::RowNormStep)

EXPORTED(cenote_columns_forward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_columns_forward, cenote::ColumnsForward,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Ret<F32>().Ret<F32>().Ret<F32>()
                                  .Attr<float>("epsilon").Attr<int64_t>("rectify"));
EXPORTED(cenote_columns_backward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_columns_backward, cenote::ColumnsBackward,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>().Ret<F32>().Attr<float>("epsilon"));
EXPORTED(cenote_rows_forward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_rows_forward, cenote::RowsForward,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Ret<F32>().Ret<F32>().Ret<F32>()
                                  .Attr<float>("epsilon").Attr<int64_t>("centre"));
EXPORTED(cenote_rows_backward);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_rows_backward, cenote::RowsBackward,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Ret<F32>().Ret<F32>().Ret<F32>()
                                  .Attr<int64_t>("centre"));
EXPORTED(cenote_gelu);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_gelu, cenote::Gelu,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().Arg<F32>().Ret<F32>().Ret<F32>()
                                  .Attr<int64_t>("approximate"));
