// A grid of thread blocks on one thread of the processor, in C++17: the machine below language.hpp and hardware.hpp.
//
// Every CUDA thread is a fiber. It runs until it meets others: a barrier, or an exchange of its warp. A meeting is held once, by whoever comes last,
// for all that take part, so that everybody sees values of the same meeting. Where nobody can run on and no meeting is complete, the launch ends with
// a message that says who waits where. Blocks, warps and lanes run one after the other in an order that the launch chooses: code that lacks a barrier
// has other results in another order.

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <type_traits>
#include <utility>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

// The machine is as fast as it gets, whatever the functions that it plays are compiled with.
#pragma GCC push_options
#pragma GCC optimize("O2")

// What memory holds that nobody has written: a NaN, and as an integer no index.
#define MW_POISON 0x7fc0dead

struct dim3 {
    unsigned x, y, z;
};

namespace mw_play {

constexpr unsigned MOST_THREADS = 1024, MOST_COPIES = 256, LANES = 32;
constexpr size_t STACK = 256 << 10, PAGE = 4096, MARGIN = 4096, MOST_SHARED = 227 << 10, MOST_VARIABLES = 48 << 10;

struct Thread;
struct Warp;

// A kind of meeting. What a warp's meeting does for the threads that are `present` (a bit a lane).
struct Meeting {
    const char* name;
    void (*hold)(Warp& warp, unsigned present);
};

enum class State { ready, at_warp, at_block, done };

// A copy that has begun and ends when it is waited for, as late as the hardware may.
struct Copy {
    unsigned char* to;
    const unsigned char* from;
    unsigned bytes, size, group;
};

struct Thread {
#if defined(__x86_64__)
    void* context;
#else
    ucontext_t context;
#endif
    unsigned char *stack, *top;
    dim3 index;
    unsigned lane;
    Warp* warp;
    State state;
    const Meeting* meeting;
    unsigned mask;
    // What it brings to a meeting and takes from it.
    int by, width;
    const void* address;
    unsigned in[12], out[4];
    unsigned copying, group;
};

struct Warp {
    Thread* threads;
    unsigned live, waiting;
};

static Thread threads[MOST_THREADS];
static Copy copies[MOST_THREADS][MOST_COPIES];
static Warp warps[MOST_THREADS / LANES];
static Thread* self;
static dim3 block, grid_size, block_size;
static unsigned thread_count, warp_count;
static void (*body)(void**);
static void** arguments;
static char message[1024];
static bool failed;
static unsigned char shared_memory[MARGIN + MOST_SHARED + MARGIN] __attribute__((aligned(1024)));
static unsigned char* const dynamic = shared_memory + MARGIN;

// The `__shared__` variables of the function.
static unsigned char *variables, *variables_end;

// ---- Fibers

static void finish();
static void enter() {
    body(arguments);
    finish();
}

#if defined(__x86_64__)
// Keeps what a call must keep, and goes on where `to` stopped.
extern "C" void mw_switch(void** from, void* to) __attribute__((visibility("hidden")));
asm(R"(
    .text
    .p2align 4
mw_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
static void* scheduler;
static void prepare(Thread& thread) {
    // A function begins with its stack eight bytes off a multiple of sixteen, at the place to which it returns: nowhere.
    void** top = (void**)thread.top - 1;
    top[0] = nullptr;
    *--top = (void*)enter;
    for (int kept = 0; kept < 6; kept++) *--top = nullptr;
    thread.context = top;
}
static void resume(Thread& thread) {
    self = &thread;
    mw_switch(&scheduler, thread.context);
}
static void leave() { mw_switch(&self->context, scheduler); }
#else
static ucontext_t scheduler;
static void prepare(Thread& thread) {
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack;
    thread.context.uc_stack.ss_size = thread.top - thread.stack;
    makecontext(&thread.context, enter, 0);
}
static void resume(Thread& thread) {
    self = &thread;
    swapcontext(&scheduler, &thread.context);
}
static void leave() { swapcontext(&self->context, &scheduler); }
#endif

// ---- Errors

static void note(const char* format, ...) {
    if (failed) return;
    failed = true;
    int length = snprintf(message, sizeof message, "block %u: ", block.x);
    va_list rest;
    va_start(rest, format);
    vsnprintf(message + length, sizeof message - length, format, rest);
    va_end(rest);
}

// From inside a thread: the launch is over.
#define MW_FAIL(...) (mw_play::note(__VA_ARGS__), mw_play::leave())

// ---- Meetings

// Holds the meeting of the warp that `thread` waits for, if all have come.
static void try_warp(Warp& warp, const Thread& thread) {
    unsigned present = thread.mask & warp.live;
    if (present & ~warp.waiting) return;
    for (unsigned lane = 0; lane < LANES; lane++) {
        const Thread& other = warp.threads[lane];
        if (!(present >> lane & 1) || (other.meeting == thread.meeting && other.mask == thread.mask)) continue;
        note("thread %u is at %s for the lanes %08x, thread %u at %s for %08x", thread.index.x, thread.meeting->name, thread.mask, other.index.x,
             other.meeting->name, other.mask);
        return;
    }
    thread.meeting->hold(warp, present);
    warp.waiting &= ~present;
    for (unsigned lane = 0; lane < LANES; lane++)
        if (present >> lane & 1) warp.threads[lane].state = State::ready;
}

// The calling thread meets the lanes of `mask`; what it brings is in its `in`, what it gets in its `out`.
static void meet_warp(const Meeting& meeting, unsigned mask) {
    Thread& thread = *self;
    Warp& warp = *thread.warp;
    if (!(mask >> thread.lane & 1)) MW_FAIL("thread %u is not among the lanes %08x of its %s", thread.index.x, mask, meeting.name);
    thread.meeting = &meeting;
    thread.mask = mask;
    thread.state = State::at_warp;
    warp.waiting |= 1u << thread.lane;
    try_warp(warp, thread);
    if (failed || thread.state != State::ready) leave();
}

// The calling thread meets its whole block.
static void meet_block(const Meeting& meeting) {
    self->meeting = &meeting;
    self->state = State::at_block;
    leave();
}

// A thread returns: it is waited for no longer.
static void finish() {
    Thread& thread = *self;
    Warp& warp = *thread.warp;
    thread.state = State::done;
    warp.live &= ~(1u << thread.lane);
    for (unsigned lane = 0; lane < LANES && !failed; lane++) {
        const Thread& other = warp.threads[lane];
        if ((warp.waiting >> lane & 1) && other.state == State::at_warp) try_warp(warp, other);
    }
    leave();
}

// ---- Orders: 0 is forward, 1 backward, all others are pseudo-random.

static unsigned order;
static uint64_t chance;

static unsigned draw(unsigned below) {
    chance = chance * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)((chance >> 33) % below);
}

// So many things one after the other, all with the same step between them, modulo their count.
struct Sequence {
    unsigned count, at, step;
    explicit Sequence(unsigned count) : count(count), at(0), step(1) {
        if (order == 1) at = count - 1, step = count - 1;
        if (order < 2) return;
        at = draw(count);
        do step = 1 + draw(count);
        while (shares_a_factor(step, count));
    }
    static bool shares_a_factor(unsigned a, unsigned b) {
        while (b) {
            unsigned rest = a % b;
            a = b, b = rest;
        }
        return a != 1;
    }
    unsigned next() {
        unsigned now = at;
        at = at + step < count ? at + step : at + step - count;
        return now;
    }
};

// ---- Blocks

// Runs every thread of a warp as far as it comes.
static void run_warp(Warp& warp) {
    unsigned first = warp.threads->index.x, count = thread_count - first < LANES ? thread_count - first : LANES;
    for (bool ran = true; ran && !failed;) {
        ran = false;
        Sequence lanes(count);
        for (unsigned at = 0; at < count && !failed; at++) {
            Thread& thread = warp.threads[lanes.next()];
            if (thread.state != State::ready) continue;
            ran = true;
            resume(thread);
        }
    }
}

// Nobody can run: all are at one barrier, or at an end, or it is a deadlock. Whether there is more to do.
static bool release() {
    const Thread* first = nullptr;
    const Thread* other = nullptr;
    for (unsigned at = 0; at < thread_count; at++) {
        const Thread& thread = threads[at];
        if (thread.state == State::done) continue;
        if (!first) first = &thread;
        if (thread.meeting != first->meeting) other = &thread;
    }
    if (!first) return false;
    if (other) {
        note("thread %u waits at %s, thread %u at %s: neither ends", first->index.x, first->meeting->name, other->index.x, other->meeting->name);
        return false;
    }
    if (first->state == State::at_warp) {
        note("thread %u waits at %s for the lanes %08x: it does not end", first->index.x, first->meeting->name, first->mask);
        return false;
    }
    if (first->meeting->hold) first->meeting->hold(warps[0], 0);
    for (unsigned at = 0; at < thread_count; at++)
        if (threads[at].state == State::at_block) threads[at].state = State::ready;
    return true;
}

static void poison(unsigned char* start, unsigned char* end) {
    for (const unsigned word = MW_POISON; start + 4 <= end; start += 4) memcpy(start, &word, 4);
}

static bool is_poison(const unsigned char* start, const unsigned char* end) {
    for (const unsigned word = MW_POISON; start + 4 <= end; start += 4)
        if (memcmp(start, &word, 4)) return false;
    return true;
}

static void run_block(unsigned shared) {
    poison(shared_memory, dynamic + shared + MARGIN);
    poison(variables, variables_end);
    for (unsigned at = 0; at < thread_count; at++) {
        Thread& thread = threads[at];
        thread.index = {at, 0, 0};
        thread.lane = at % LANES;
        thread.warp = &warps[at / LANES];
        thread.state = State::ready;
        thread.copying = thread.group = 0;
        prepare(thread);
    }
    for (unsigned at = 0; at < warp_count; at++) {
        unsigned count = thread_count - at * LANES;
        warps[at] = {threads + at * LANES, count < LANES ? (1u << count) - 1 : ~0u, 0};
    }
    do {
        Sequence all(warp_count);
        for (unsigned at = 0; at < warp_count && !failed; at++) run_warp(warps[all.next()]);
    } while (!failed && release());
    unsigned end = (shared + 3) / 4 * 4;
    if (!failed && !(is_poison(shared_memory, dynamic) && is_poison(dynamic + end, dynamic + end + MARGIN - 4)))
        note("writes outside of its %u bytes of dynamic shared memory", shared);
}

static bool make_stacks() {
    for (unsigned at = 0; at < thread_count; at++) {
        if (threads[at].stack) continue;
        void* memory = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) return false;
        mprotect(memory, PAGE, PROT_NONE);
        threads[at].stack = (unsigned char*)memory;
        // Tops apart, so that they do not meet in the caches.
        threads[at].top = threads[at].stack + STACK - at % 64 * 192;
    }
    return true;
}

// A function to be launched.
struct Played {
    void (*body)(void**);
    unsigned char *variables, *variables_end;
};

// Runs a grid. What is wrong, or null.
static const char* launch(const Played& played, unsigned grid, unsigned count, unsigned shared, void** given, unsigned chosen) {
    body = played.body, arguments = given, order = chosen, chance = chosen * 0x9E3779B97F4A7C15ull;
    variables = played.variables, variables_end = played.variables_end;
    size_t fixed = variables_end - variables;
    grid_size = {grid, 1, 1}, block_size = {count, 1, 1}, block = {0, 0, 0};
    thread_count = count, warp_count = (count + LANES - 1) / LANES, failed = false;
    if (count < 1 || count > MOST_THREADS || grid < 1) note("a grid of %u blocks of %u threads", grid, count);
    else if (fixed > MOST_VARIABLES || fixed + shared > MOST_SHARED) note("%u bytes of shared memory beside variables of %zu", shared, fixed);
    else if (!make_stacks()) note("there is no memory for stacks");
    Sequence blocks(grid ? grid : 1);
    for (unsigned at = 0; at < grid && !failed; at++) {
        block.x = blocks.next();
        run_block(shared);
    }
    return failed ? message : nullptr;
}

#pragma GCC pop_options

template <class... P, size_t... I> static void call(void (*function)(P...), void** given, std::index_sequence<I...>) {
    function(*static_cast<std::remove_cv_t<P>*>(given[I])...);
}
template <class... P> static void call(void (*function)(P...), void** given) { call(function, given, std::index_sequence_for<P...>()); }
template <auto FUNCTION> static void called(void** given) { call(FUNCTION, given); }

}  // namespace mw_play

// Stands before each function: its shared variables are together.
#define MW_SECTION(name) static __attribute__((section("mw_shared_" #name)))
// Stands behind it. What the tests call: the launch of a function, as cuLaunchKernel has it.
#define MW_PLAYED(name)                                                                                                              \
    extern "C" unsigned char __start_mw_shared_##name[] __attribute__((weak, visibility("hidden")));                                  \
    extern "C" unsigned char __stop_mw_shared_##name[] __attribute__((weak, visibility("hidden")));                                   \
    extern "C" __attribute__((visibility("default")))                                                                                 \
    const char* mw_play_##name(unsigned grid, unsigned threads, unsigned shared, void** arguments, unsigned order) {                  \
        const mw_play::Played played = {mw_play::called<name>, __start_mw_shared_##name, __stop_mw_shared_##name};                    \
        return mw_play::launch(played, grid, threads, shared, arguments, order);                                                      \
    }

// ---- What the compiler's checks call, in place of their own library. Their data begins with where in the text it is.

namespace mw_play {
struct At {
    const char* file;
    unsigned line, column;
};
static void wrong(const void* data, const char* what) {
    const At* at = (const At*)data;
    if (failed) return;
    note("thread %u: %s at %s:%u:%u", self->index.x, what, at->file, at->line, at->column);
    leave();
}
}  // namespace mw_play

#define MW_CHECK1(name, what) \
    extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_##name(void* data, uintptr_t) { mw_play::wrong(data, what); }
#define MW_CHECK2(name, what) \
    extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_##name(void* data, uintptr_t, uintptr_t) { mw_play::wrong(data, what); }
MW_CHECK1(type_mismatch_v1, "a misaligned access")
MW_CHECK1(out_of_bounds, "an index outside of its array")
MW_CHECK1(negate_overflow, "a negation that overflows")
MW_CHECK2(add_overflow, "a sum that overflows")
MW_CHECK2(sub_overflow, "a difference that overflows")
MW_CHECK2(mul_overflow, "a product that overflows")
MW_CHECK2(divrem_overflow, "a division by zero, or one that overflows")
MW_CHECK2(shift_out_of_bounds, "a shift by too much")
