// exp, tanh and the logistic function of vectors, to within a few units of the last place. The polynomials are Chebyshev fits.
#pragma once

#include "parallel.h"

namespace cenote {

typedef int32_t Integers __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

inline Vector as_floats(Integers bits) { return reinterpret_cast<Vector&>(bits); }
inline Integers as_bits(Vector value) { return reinterpret_cast<Integers&>(value); }

// Where a comparison holds a, elsewhere b; NaN fails every comparison.
inline Vector choose(Integers where, Vector a, Vector b) { return as_floats((where & as_bits(a)) | (~where & as_bits(b))); }

// exp(x) for x <= 0, down to 0 below -87: 2^n exp(r) with |r| <= ln(2) / 2.
inline Vector exp_below_zero(Vector x) {
  const Vector low = fill(-87.0f);
  Vector kept = choose(x < low, low, x);
  Integers n = __builtin_convertvector(kept * 1.44269504f - 0.5f, Integers);  // towards zero, and kept is not above it
  Vector whole = __builtin_convertvector(n, Vector);
  Vector r = (kept - whole * 0.693359375f) + whole * 2.12194440e-4f;  // ln(2) in two parts
  Vector p = r * 0.00139486f + 0.00837514f;
  p = p * r + 0.04166622f;
  p = p * r + 0.16666415f;
  p = p * r + 0.50000001f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  Vector y = p * as_floats((n + 127) << 23);
  return choose(x < low, Vector{}, y);
}

inline Vector tanh(Vector x) {
  Integers sign = as_bits(x) & as_bits(fill(-0.0f));
  Vector size = as_floats(as_bits(x) & ~as_bits(fill(-0.0f)));
  Vector e = exp_below_zero(size * -2.0f);
  Vector large = (1.0f - e) / (1.0f + e);
  Vector u = x * x;
  Vector small = u * 0.00213031f - 0.00816123f;
  small = small * u + 0.02169276f;
  small = small * u - 0.05394489f;
  small = small * u + 0.13333185f;
  small = small * u - 0.3333333f;
  small = small * u * size + size;
  Vector y = choose(size < fill(0.625f), small, large);
  y = as_floats(as_bits(y) | sign);
  return choose(x == x, y, x);  // NaN stays NaN
}

// The logistic function and its slope, both good to a few units of the last place of themselves, far from zero, too.
inline Vector sigmoid(Vector x, Vector& slope) {
  Vector e = exp_below_zero(as_floats(as_bits(x) | as_bits(fill(-0.0f)))), d = 1.0f / (1.0f + e);
  slope = e * d * d;
  return choose(x > Vector{}, d, e * d);
}

inline Vector sigmoid(Vector x) {
  Vector slope;
  return sigmoid(x, slope);
}

}  // namespace cenote
