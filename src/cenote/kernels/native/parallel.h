// Work shared between the threads that XLA already has, and the vectors that the compiler makes of this machine's registers.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace cenote {

namespace ffi = xla::ffi;

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRegisters = 32;
#elif defined(__AVX2__) || defined(__AVX__)
constexpr int kLanes = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRegisters = 32;
#else
constexpr int kLanes = 4, kRegisters = 16;
#endif

// Loads and stores need no alignment; the compiler spells the arithmetic.
typedef float Vector __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }
inline Vector fill(float value) { return value - Vector{}; }

// Calls f(k, n) for the places k of a row of `units`, n of which (all lanes, but for the last) are to be kept.
template <typename F>
inline void each_vector(int64_t units, const F& f) {
  for (int64_t k = 0; k < units; k += kLanes) f(k, std::min<int64_t>(kLanes, units - k));
}

// The first n numbers of a vector; beyond them zeros.
inline Vector load(const float* from, int64_t n) {
  if (n == kLanes) return load(from);
  Vector value{};
  std::memcpy(&value, from, n * sizeof(float));
  return value;
}

inline void store(float* to, Vector value, int64_t n) {
  if (n == kLanes) return store(to, value);
  std::memcpy(to, &value, n * sizeof(float));
}

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Runs work(0) .. work(n - 1), each once, on the calling thread and on XLA's. The caller takes part, so that it goes on even if
// all others are busy; who comes late finds nothing left to do and touches nothing but the counters.
template <typename Work>
void share(ffi::ThreadPool& pool, int64_t n, const Work& work) {
  if (n <= 1 || pool.num_threads() <= 1) {
    for (int64_t i = 0; i < n; ++i) work(i);
    return;
  }
  struct Counters {
    std::atomic<int64_t> next{0}, done{0};
    std::atomic<bool> failed{false};
  };
  auto counters = std::make_shared<Counters>();
  const Work* shared = &work;
  auto take = [counters, shared, n] {
    for (int64_t i; (i = counters->next.fetch_add(1, std::memory_order_relaxed)) < n;) {
      try {
        (*shared)(i);
      } catch (...) {  // nothing but the memory can fail, and an exception must not leave a thread that is not ours
        counters->failed = true;
      }
      counters->done.fetch_add(1, std::memory_order_release);
    }
  };
  int64_t helpers = std::min<int64_t>(pool.num_threads(), n) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule(decltype(take)(take));
  take();
  while (counters->done.load(std::memory_order_acquire) < n) std::this_thread::yield();
  if (counters->failed) throw std::bad_alloc();
}

// A buffer of the thread that asks, kept between calls; `which` tells buffers apart that are in use at the same time.
inline float* scratch(int which, size_t size) {
  thread_local std::vector<float> buffers[4];
  if (buffers[which].size() < size) buffers[which].resize(size);
  return buffers[which].data();
}

}  // namespace cenote

// What XLA finds by its name.
#define EXPORTED(name) extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* name(XLA_FFI_CallFrame*)
using F32 = xla::ffi::Buffer<xla::ffi::F32>;
