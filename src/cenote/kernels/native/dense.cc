// A product with bias and rectifier, float32: x (row, feature) times kernel (feature, unit), for predictions. The kernel is read
// where it lies, since a prediction of few rows would take longer to pack it than to use it.

#include "functions.h"
#include "product.h"

namespace cenote {
namespace {

using Array = ffi::Buffer<ffi::F32>;

constexpr int64_t kPart = 56;          // rows that are worth a part of the work of their own, where there are many
constexpr int64_t kAlone = 1'000'000;  // multiplications below which another thread would come too late

ffi::Error Dense(ffi::ThreadPool pool, Array x, Array kernel, Array bias, int64_t rectify, ffi::ResultBuffer<ffi::F32> y) {
  int64_t rows = x.dimensions()[0], features = x.dimensions()[1], units = kernel.dimensions()[1];
  if (kernel.dimensions()[0] != features) return ffi::Error::InvalidArgument("the kernel does not fit the rows");
  const float *w = kernel.typed_data(), *added = bias.element_count() ? bias.typed_data() : nullptr;
  int64_t whole = units / kLanes * kLanes;
  Packed rest(1, features, static_cast<int>(units - whole), [=](int64_t i, int c) { return w[i * units + whole + c]; });
  int64_t threads = rows * features * units < kAlone ? 1 : std::max<int64_t>(1, std::min<int64_t>(pool.num_threads(), rows / 4));
  int64_t parts = round_up(threads == 1 ? 1 : (rows + kPart - 1) / kPart, threads);
  share(pool, parts, [&](int64_t part) {
    int64_t first = part * rows / parts, count = (part + 1) * rows / parts - first;
    const float* from = x.typed_data() + first * features;
    float* to = y->typed_data() + first * units;
    for (int64_t c = 0, wide; c < whole; c += wide) {
      wide = std::min<int64_t>(2 * kLanes, whole - c);
      block({from, features, 0, 1, features, w + c, units, to + c, units, static_cast<int>(wide)}, static_cast<int>(wide), count);
    }
    row(from, features, 0, rest, to + whole, units, count);
    if (!added && !rectify) return;
    for (int64_t i = 0; i < count; ++i, to += units)
      each_vector(units, [&](int64_t k, int64_t n) {
        Vector sum = load(to + k, n);
        if (added) sum += load(added + k, n);
        if (rectify) sum = choose(sum < Vector{}, Vector{}, sum);  // NaN stays NaN
        store(to + k, sum, n);
      });
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace cenote

EXPORTED(cenote_dense);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cenote_dense, cenote::Dense,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Attr<int64_t>("rectify").Ret<F32>());
