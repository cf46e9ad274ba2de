// Programs for serving: the steps of a network one after another, without XLA. The rows of a batch do not depend on each other, so
// a program is made for some of them, few enough for all that lies between its steps to stay in a core's own cache, and the
// threads take such parts in turn: no thread waits for another between two steps, and memory is read and written at the ends only.

#include <pthread.h>
#include <sched.h>

#include <condition_variable>
#include <mutex>
#include <system_error>

#include "steps.h"

namespace cenote {
namespace {

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

constexpr int kPatience = 4000;  // pauses that a thread waits awake for more work: 50 to 200 microseconds

class Alone final : public Team {
 public:
  int64_t num_threads() const override { return 1; }
  void run(int64_t n, void (*work)(const void*, int64_t), const void* of) override {
    for (int64_t i = 0; i < n; ++i) work(of, i);
  }
};

// Threads that wait for work. One ticket says of how many parts the work is, and which part is next: who draws a part that exists
// holds the work up until it is done, who draws another one touches nothing more.
class Crew final : public Team {
 public:
  explicit Crew(int64_t threads) {
    try {
      for (; threads_ < threads; ++threads_) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {  // as many as the system lets us have
    }
  }

  int64_t num_threads() const override { return threads_; }

  // Called by one thread at a time.
  void run(int64_t n, void (*work)(const void*, int64_t), const void* of) override {
    for (int64_t first = 0; first < n; first += kParts) {
      int64_t count = std::min(n - first, kParts);
      work_ = work, of_ = of, first_ = first, done_ = 0, failed_ = false;
      ticket_.store(uint64_t(count) << 20, std::memory_order_seq_cst);
      if (sleeping_.load(std::memory_order_seq_cst)) {
        std::lock_guard<std::mutex> lock(mutex_);
        for (int64_t i = 1; i < std::min(count, threads_); ++i) woken_.notify_one();
      }
      take();
      for (int i = 0; done_.load(std::memory_order_acquire) < count; ++i) i < kPatience ? pause() : std::this_thread::yield();
      if (failed_) throw std::bad_alloc();
    }
  }

 private:
  static constexpr int64_t kParts = 1 << 18;  // of one ticket; there is room for as many who come in vain

  static bool left(uint64_t ticket) { return (ticket & 0xFFFFF) < (ticket >> 20 & 0xFFFFF); }

  void take() {
    while (left(ticket_.load(std::memory_order_relaxed))) {
      uint64_t mine = ticket_.fetch_add(1, std::memory_order_acq_rel);
      if (!left(mine)) return;
      try {
        work_(of_, first_ + int64_t(mine & 0xFFFFF));
      } catch (...) {
        failed_ = true;
      }
      done_.fetch_add(1, std::memory_order_release);
    }
  }

  void serve() {
    for (;;) {
      for (int i = 0; i < kPatience && !left(ticket_.load(std::memory_order_relaxed)); ++i) pause();
      if (!left(ticket_.load(std::memory_order_acquire))) {
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_.fetch_add(1, std::memory_order_seq_cst);
        // Whoever is woken too late waits awake for what comes next; else it would be late each time.
        if (!left(ticket_.load(std::memory_order_seq_cst))) woken_.wait(lock);
        sleeping_.fetch_sub(1, std::memory_order_seq_cst);
      }
      take();
    }
  }

  int64_t threads_ = 1;
  void (*work_)(const void*, int64_t) = nullptr;
  const void* of_ = nullptr;
  int64_t first_ = 0;
  std::atomic<uint64_t> ticket_{0};
  std::atomic<int64_t> done_{0}, sleeping_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::condition_variable woken_;
};

// The threads of this process; whoever finds them at work goes on alone. They are begun again in a process that was forked off.
std::atomic<Crew*> crew{nullptr};
std::atomic_flag at_work = ATOMIC_FLAG_INIT;

int64_t cores() {
#if defined(__linux__)
  cpu_set_t set;  // taskset and containers may leave us some of them
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return std::max<int64_t>(1, std::thread::hardware_concurrency());
}

Crew& threads() {
  static const int once = pthread_atfork(nullptr, nullptr, [] {
    crew = nullptr;  // its threads stayed behind, and so does it
    at_work.clear();
  });
  (void)once;
  if (!crew) crew = new Crew(cores());
  return *crew;
}

class Hired {
 public:
  Hired() : mine_(!at_work.test_and_set(std::memory_order_acquire)) {}
  ~Hired() {
    if (mine_) at_work.clear(std::memory_order_release);
  }
  Hired(const Hired&) = delete;
  Team& team() { return mine_ ? static_cast<Team&>(threads()) : alone_; }

 private:
  Alone alone_;
  bool mine_;
};

// Where an array of a step lies: in the program's own memory, at an address, or in an input or output, at the first row of a part.
enum Kind : int64_t { kOwn, kAddress, kOutside };

struct Slot {
  Kind kind;
  int64_t value;  // bytes from the beginning, the address, or which of the inputs and outputs
};

class Program {
 public:
  struct Memory {
    std::unique_ptr<char[]> room;
    std::vector<Argument> arrays;  // of all slots
    std::vector<char*> begins;     // of all inputs and outputs
    std::vector<char> aside;       // outputs of a part that shares rows with the one before it
  };

  std::vector<std::unique_ptr<Step>> steps;
  std::vector<int64_t> first;  // slot of each step
  std::vector<Slot> slots;
  std::vector<int64_t> widths;  // bytes of a row of each input and output
  int64_t inputs, bytes, rows, each, parts;

  void run(void* const* outside) {
    Hired hired;
    if (parts == 1) return part(hired.team(), 0, outside);
    share(hired.team(), parts, [&](int64_t i) {
      Alone alone;
      part(alone, i, outside);
    });
  }

 private:
  static constexpr int64_t kAligned = 64;

  // The last part begins with rows of the one before it, if there are too few left; these it reckons aside and leaves alone.
  void part(Team& team, int64_t index, void* const* outside) {
    std::unique_ptr<Memory> memory = taken();
    int64_t row = std::min(index * each, rows - each), known = index * each - row;
    std::vector<char*>& begins = memory->begins;
    begins.resize(widths.size());
    int64_t room = 0;
    for (size_t k = 0; k < widths.size(); ++k) {
      begins[k] = static_cast<char*>(outside[k]) + row * widths[k];
      if (known && int64_t(k) >= inputs) room += round_up(each * widths[k], kAligned);
    }
    if (room) {
      memory->aside.resize(room);
      char* to = memory->aside.data();
      for (size_t k = inputs; k < widths.size(); ++k) begins[k] = to, to += round_up(each * widths[k], kAligned);
    }
    for (size_t i = 0; i < slots.size(); ++i)
      if (slots[i].kind == kOutside) memory->arrays[i].any = begins[slots[i].value];
    for (size_t i = 0; i < steps.size(); ++i) steps[i]->run(team, memory->arrays.data() + first[i]);
    for (size_t k = inputs; known && k < widths.size(); ++k)
      std::memcpy(static_cast<char*>(outside[k]) + (row + known) * widths[k], begins[k] + known * widths[k],
                  (each - known) * widths[k]);
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(memory));
  }

  std::unique_ptr<Memory> taken() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        std::unique_ptr<Memory> memory = std::move(free_.back());
        free_.pop_back();
        return memory;
      }
    }
    auto memory = std::make_unique<Memory>();
    memory->room.reset(new char[bytes + kAligned]);
    char* begin = memory->room.get() + (kAligned - reinterpret_cast<uintptr_t>(memory->room.get()) % kAligned) % kAligned;
    memory->arrays.resize(slots.size());
    for (size_t i = 0; i < slots.size(); ++i)
      memory->arrays[i].any = slots[i].kind == kOwn ? begin + slots[i].value : reinterpret_cast<void*>(slots[i].value);
    return memory;
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Memory>> free_;
};

}  // namespace
}  // namespace cenote

using cenote::Program;

extern "C" {

// Takes the steps over. `counts` says how many arrays each has; `sizes`: inputs, bytes of memory, rows of a
// batch, rows of a part, parts.
__attribute__((visibility("default"))) void* cenote_program_make(int64_t steps, cenote::Step* const* made, const int64_t* counts,
                                                                 const int64_t* kinds, const int64_t* values, int64_t outside,
                                                                 const int64_t* widths, const int64_t* sizes) try {
  auto program = std::make_unique<Program>();
  program->inputs = sizes[0], program->bytes = sizes[1];
  program->rows = sizes[2], program->each = sizes[3], program->parts = sizes[4];
  program->widths.assign(widths, widths + outside);
  for (int64_t i = 0, at = 0; i < steps; ++i) {
    program->first.push_back(at);
    for (int64_t k = 0; k < counts[i]; ++k, ++at) program->slots.push_back({static_cast<cenote::Kind>(kinds[at]), values[at]});
  }
  program->steps.reserve(steps);
  for (int64_t i = 0; i < steps; ++i) program->steps.emplace_back(made[i]);
  return program.release();
} catch (...) {
  return nullptr;
}

// Inputs and outputs by their addresses, in that order. Not 0: there was no memory.
__attribute__((visibility("default"))) int cenote_program_run(void* program, void* const* outside) try {
  static_cast<Program*>(program)->run(outside);
  return 0;
} catch (...) {
  return 1;
}

__attribute__((visibility("default"))) void cenote_program_free(void* program) { delete static_cast<Program*>(program); }
}
