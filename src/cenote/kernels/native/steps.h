// What a program for serving is made of (program.cc): steps, each made once for arrays of known sizes and run again and again, and
// the threads that share one of them.
#pragma once

#include "parallel.h"

namespace cenote {

// The threads of whoever runs a step. An interface, since each source is a library of its own.
class Team {
 public:
  virtual int64_t num_threads() const = 0;
  virtual void run(int64_t n, void (*work)(const void*, int64_t), const void* of) = 0;  // work(of, 0) .. work(of, n - 1)

 protected:
  ~Team() = default;
};

// As with XLA's threads (parallel.h), so that a kernel can be written for both.
template <typename Work>
void share(Team& team, int64_t n, const Work& work) {
  if (n > 1 && team.num_threads() > 1)
    return team.run(n, [](const void* of, int64_t i) { (*static_cast<const Work*>(of))(i); }, &work);
  for (int64_t i = 0; i < n; ++i) work(i);
}

// What a step reads and writes: first its inputs, then its outputs.
union Argument {
  void* any;
  float* floats;
  const int32_t* integers;
  const uint8_t* bytes;
};

class Step {
 public:
  virtual ~Step() = default;
  virtual void run(Team& team, const Argument* arrays) const = 0;  // from several threads at a time
};

// What a step is made from: numbers, sizes before options, and arrays that stay the same and where they are as long as it lives.
struct Recipe {
  const double* numbers;
  const Argument* constants;

  int64_t size(int i) const { return static_cast<int64_t>(numbers[i]); }
  float number(int i) const { return static_cast<float>(numbers[i]); }
};

template <typename Kind>
Step* made(const Recipe* recipe) {
  try {
    return new Kind(*recipe);
  } catch (...) {  // nothing but the memory can fail
    return nullptr;
  }
}

}  // namespace cenote

// What a program finds by its name: a step, made by a class whose constructor takes a recipe.
#define STEP(name, Kind)                                                                                       \
  extern "C" __attribute__((visibility("default"))) cenote::Step* cenote_step_##name(const cenote::Recipe* r) { \
    return cenote::made<Kind>(r);                                                                              \
  }
