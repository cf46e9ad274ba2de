// What plain and depthwise convolutions share.
#pragma once

#include <vector>

#include "parallel.h"

namespace cenote {

// dx[n] sums dy[o] k[n + pad - o stride] over the o for which that lies in the kernel. The places n with the same remainder of
// n + pad by the stride see the same taps of the kernel, in turned order: a convolution of dy with stride one for each remainder.
struct Phase {
  int64_t taps, first, count, from;  // taps of the kernel; the first place, how many; where dy begins, in places of dy
};

inline std::vector<Phase> phases(int64_t stride, int64_t size, int64_t pad, int64_t taps) {
  std::vector<Phase> found;
  for (int64_t r = 0; r < stride; ++r) {
    int64_t first = ((r - pad) % stride + stride) % stride, mine = r < taps ? (taps - r + stride - 1) / stride : 0;
    int64_t count = first < size ? (size - first + stride - 1) / stride : 0;
    found.push_back({mine, first, count, (first + pad - r) / stride - (mine - 1)});
  }
  return found;
}

inline ffi::Error misfit() { return ffi::Error::InvalidArgument("the kernel does not fit the picture"); }

}  // namespace cenote
