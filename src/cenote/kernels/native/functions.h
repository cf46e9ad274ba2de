// exp, log, erf, tanh and the logistic function of vectors, to within a few units of the last place. The polynomials are
// Chebyshev fits.
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

// What exp and its kin begin with: x = n ln(2) + r, and exp(r) - 1; x must be within some hundreds.
struct Exponent {
  Integers n;
  Vector rest;

  explicit Exponent(Vector x) {
    const Vector shift = fill(12582912.0f);  // 1.5 * 2^23: sums with it are whole numbers
    Vector whole = (x * 1.44269504f + shift) - shift;
    n = __builtin_convertvector(whole, Integers);
    set((x - whole * 0.693359375f) + whole * 2.12194440e-4f);
  }

  Exponent(Integers n, Vector r) : n(n) { set(r); }

  Vector power() const { return (1.0f + rest) * two(n >> 1) * two(n - (n >> 1)); }  // in two parts: 2^n may be no number
  static Vector two(Integers n) { return as_floats((n + 127) << 23); }

 private:
  void set(Vector r) {
    Vector q = r * 0.00139412098f + 0.00836323481f;
    q = q * r + 0.0416663736f;
    q = q * r + 0.166665763f;
    q = q * r + 0.5f;
    rest = q * r * r + r;
  }
};

inline Vector within(Vector x, float low, float high) {
  x = choose(x < fill(low), fill(low), x);
  return choose(x > fill(high), fill(high), x);
}

inline Vector exp(Vector x) { return choose(x == x, Exponent(within(x, -105.0f, 90.0f)).power(), x); }

inline Vector exp2(Vector x) {
  const Vector shift = fill(12582912.0f);
  Vector kept = within(x, -151.0f, 129.0f), whole = (kept + shift) - shift;
  Vector y = Exponent(__builtin_convertvector(whole, Integers), (kept - whole) * 0.693147181f).power();
  return choose(x == x, y, x);
}

inline Vector expm1(Vector x) {
  Exponent e(within(x, -105.0f, 90.0f));
  Integers some = (e.n < 30) & (e.n > -60);
  Vector scale = Exponent::two(e.n & some);
  Vector y = choose(some, e.rest * scale + (scale - 1.0f), e.power() - 1.0f);
  return choose((x == x) & (x != Vector{}), y, x);
}

inline Vector log(Vector x) {
  const Vector least = fill(1.17549435e-38f), infinity = fill(__builtin_inff());
  Integers tiny = x < least;
  Vector kept = choose(tiny, x * 8388608.0f, x);
  Integers bits = as_bits(kept) - 0x3F3504F3;  // the mantissa from sqrt(1/2) to sqrt(2)
  Vector e = __builtin_convertvector((bits >> 23) - (tiny & 23), Vector);
  Vector f = as_floats((bits & 0x7FFFFF) + 0x3F3504F3) - 1.0f;
  Vector q = f * -0.0785946548f + 0.128815889f;
  q = q * f - 0.131287843f;
  q = q * f + 0.141812012f;
  q = q * f - 0.16624552f;
  q = q * f + 0.200022861f;
  q = q * f - 0.250008106f;
  q = q * f + 0.333333164f;
  Vector s = f * f;
  Vector y = (f + (q * f * s - 0.5f * s - e * 2.12194440e-4f)) + e * 0.693359375f;
  y = choose((x > Vector{}) & (x < infinity), y, choose(x == infinity, x, fill(__builtin_nanf(""))));
  return choose(x == Vector{}, -infinity, choose(x == x, y, x));
}

inline Vector log1p(Vector x) {
  Vector u = 1.0f + x, y = log(u) - ((u - 1.0f) - x) / u;  // what the sum lost
  return choose((x > fill(-1.0f)) & (x < fill(1e30f)) & (x != Vector{}), y, choose(x == Vector{}, x, log(u)));
}

inline Vector erf(Vector x) {
  Integers sign = as_bits(x) & as_bits(fill(-0.0f));
  Vector size = as_floats(as_bits(x) & ~as_bits(fill(-0.0f)));
  Vector u = x * x;
  Vector s = u * -0.000588677009f + 0.00497311587f;
  s = s * u - 0.0267533343f;
  s = s * u + 0.112814665f;
  s = s * u - 0.37612462f;
  s = s * u + 0.128379151f;
  Vector t = choose(size < fill(4.0f), size, fill(4.0f));
  Vector p = t * -2.1445685e-5f + 0.00043853122f;
  p = p * t - 0.00419086171f;
  p = p * t + 0.0251718238f;
  p = p * t - 0.108361572f;
  p = p * t - 0.633272409f;
  p = p * t - 1.12955201f;
  p = p * t + 0.000182461954f;
  Vector large = as_floats(as_bits(1.0f - exp_below_zero(p)) | sign);
  return choose(x == x, choose(size < fill(0.95f), x * s + x, large), x);
}

// P(X <= x) for a standard normal X, and exp(-x^2 / 2), which both it and its slope need. The polynomial is a Chebyshev fit of
// exp(z^2) erfc(z) / t by t = 1 / (1 + z / 2), good to 2e-7 of itself.
inline Vector normal_share(Vector x, Vector& bell) {
  Vector size = as_floats(as_bits(x) & ~as_bits(fill(-0.0f)));
  Vector t = 1.0f / (1.0f + size * 0.35355339f);
  bell = exp_below_zero(x * x * -0.5f);
  Vector p = t * 0.043195434f - 0.2347336f;
  p = p * t + 0.49369493f;
  p = p * t - 0.454974f;
  p = p * t + 0.13217704f;
  p = p * t - 0.059211358f;
  p = p * t + 0.093462437f;
  p = p * t + 0.17531598f;
  p = p * t + 0.24688457f;
  p = p * t + 0.28209376f;
  p = p * t + 0.28209481f;
  Vector tail = p * t * bell * 0.5f;
  return choose(x > Vector{}, 1.0f - tail, tail);
}

inline constexpr float kRoot = 0.79788456f, kCube = 0.044715f;  // sqrt(2 / pi), and the factor of Hendrycks and Gimpel

// GELU, and its form with tanh.
inline Vector gelu(Vector x) {
  Vector bell;
  return x * normal_share(x, bell);
}

inline Vector gelu_tanh(Vector x) { return x * sigmoid((x + x * x * x * kCube) * (2 * kRoot)); }

// One number of all of a vector's, by halves: f(a, b) of vectors.
template <typename F, int n = kLanes>
inline float folded(const float* v, const F& f) {
  if constexpr (n == 1) {
    return v[0];
  } else {
    typedef float Half __attribute__((vector_size(n * 2), aligned(4), may_alias));
    Half half = f(*reinterpret_cast<const Half*>(v), *reinterpret_cast<const Half*>(v + n / 2));
    return folded<F, n / 2>(reinterpret_cast<const float*>(&half), f);
  }
}

template <typename F>
inline float folded(Vector v, const F& f) {
  return folded(reinterpret_cast<const float*>(&v), f);
}

inline float total(Vector v) {
  return folded(v, [](auto a, auto b) { return a + b; });
}

}  // namespace cenote
