// The kernels of ../../kernels, compiled for the processor, and the one function that launches them.
#include "device.hpp"

#include <setjmp.h>
#include <ucontext.h>

#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "../../kernels/pixels.cu"

#include "../../kernels/rows.cu"

#include "../../kernels/attention.cu"

namespace emulator {

thread_local View view;

namespace {

constexpr size_t STACK = 128 << 10;

struct Thread {
    Index index;
    ucontext_t start;
    jmp_buf at;
    bool begun, done;
    // Barriers passed or waited at, of the block and of the warp.
    uint64_t block_barriers, warp_barriers;
    // What the last two exchanges published: nobody can be two ahead.
    uint32_t published[2][6];
    struct Copy {
        void *to;
        const void *from;
        bool there;
    };
    std::vector<Copy> copies;
    std::unique_ptr<char[]> stack;
};

struct Block {
    std::vector<Thread> threads;
    uint32_t count = 0, now = 0;
    bool fibres = false;
    const char *broken = nullptr;
    void (*kernel)(void **) = nullptr;
    void **arguments = nullptr;
    ucontext_t home;
    jmp_buf back;
    uint32_t gathered[WARP][6];
};
thread_local Block block;

void enter() {
    block.kernel(block.arguments);
    block.threads[block.now].done = true;
    _longjmp(block.back, 1);
}

void hand_on() {
    if (!_setjmp(block.threads[block.now].at)) _longjmp(block.back, 1);
}

// Waits until the threads from `first` on have come as far as this one.
void wait(uint64_t Thread::*barriers, uint32_t first, uint32_t end) {
    if (!block.fibres) {
        block.broken = "a kernel that is listed as having no barrier has one";
        return;
    }
    const uint64_t mine = ++(block.threads[block.now].*barriers);
    for (;;) {
        bool all = true;
        for (uint32_t i = first; i < end; i++) {
            const Thread &other = block.threads[i];
            if (other.*barriers >= mine) continue;
            all = false;
            if (other.done) block.broken = "a thread left before a barrier at which others wait";
        }
        if (all) return;
        hand_on();
    }
}

void run_thread(Thread &thread) {
    view.thread = thread.index;
    if (_setjmp(block.back)) return;
    if (thread.begun) _longjmp(thread.at, 1);
    thread.begun = true;
    swapcontext(&block.home, &thread.start);
}

void run_block(uint32_t count, bool fibres) {
    block.count = count;
    block.fibres = fibres;
    if (!fibres) {
        for (block.now = 0; block.now < count; block.now++) {
            view.thread = {block.now, 0, 0};
            block.kernel(block.arguments);
        }
        return;
    }
    if (block.threads.size() < count) block.threads.resize(count);
    for (uint32_t i = 0; i < count; i++) {
        Thread &thread = block.threads[i];
        thread.index = {i, 0, 0};
        thread.begun = thread.done = false;
        thread.block_barriers = thread.warp_barriers = 0;
        thread.copies.clear();
        if (!thread.stack) thread.stack.reset(new char[STACK]);
        getcontext(&thread.start);
        thread.start.uc_stack.ss_sp = thread.stack.get();
        thread.start.uc_stack.ss_size = STACK;
        thread.start.uc_link = &block.home;
        makecontext(&thread.start, enter, 0);
    }
    for (bool left = true; left && !block.broken;) {
        left = false;
        for (block.now = 0; block.now < count && !block.broken; block.now++) {
            Thread &thread = block.threads[block.now];
            if (thread.done) continue;
            left = true;
            run_thread(thread);
        }
    }
}

} // namespace

void wait_for_block() { wait(&Thread::block_barriers, 0, block.count); }

uint32_t lane() { return view.thread.x % WARP; }

const uint32_t (*exchange(const uint32_t *words, int count))[6] {
    if (!block.fibres) {
        block.broken = "a kernel that is listed as having no barrier has one";
        memset(block.gathered, 0, sizeof block.gathered);
        return block.gathered;
    }
    Thread &self = block.threads[block.now];
    const uint32_t first = block.now / WARP * WARP;
    const uint64_t slot = (self.warp_barriers + 1) % 2;
    memcpy(self.published[slot], words, sizeof *words * count);
    if (first + WARP > block.count) {
        block.broken = "an exchange in a warp that is not whole";
        return block.gathered;
    }
    wait(&Thread::warp_barriers, first, first + WARP);
    for (uint32_t i = 0; i < WARP; i++) memcpy(block.gathered[i], block.threads[first + i].published[slot], sizeof *block.gathered);
    return block.gathered;
}

void copy_later(void *to, const void *from, bool there) {
    if ((uintptr_t)to % 16 || (there && (uintptr_t)from % 16)) {
        block.broken = "a copy of sixteen bytes between addresses that are no multiples of sixteen";
        return;
    }
    block.threads[block.now].copies.push_back({to, from, there});
}

void copies_done() {
    std::vector<Thread::Copy> &copies = block.threads[block.now].copies;
    for (const Thread::Copy &copy : copies) {
        if (copy.there) memcpy(copy.to, copy.from, 16);
        else memset(copy.to, 0, 16);
    }
    copies.clear();
}

void load_matrices(uint32_t (&to)[2][2], const void *line, bool turned) {
    if ((uintptr_t)line % 16) {
        block.broken = "the line of a matrix whose address is no multiple of sixteen";
        return;
    }
    uint32_t words[2];
    memcpy(words, &line, sizeof words);
    const uint32_t(*all)[6] = exchange(words, 2);
    // The lines as they are now: nobody goes on before all have come.
    const uint32_t group = lane() / 4, place = lane() % 4;
    for (uint32_t m = 0; m < 4; m++) {
        auto value = [&](uint32_t row, uint32_t column) {
            const uint16_t *values;
            memcpy(&values, all[m * 8 + row], sizeof values);
            return (uint32_t)values[column];
        };
        to[m / 2][m % 2] = turned ? value(place * 2, group) | value(place * 2 + 1, group) << 16
                                  : value(group, place * 2) | value(group, place * 2 + 1) << 16;
    }
}

namespace {

void at_sixteen(const void *address) {
    if ((uintptr_t)address % 16) block.broken = "sixteen bytes whose address is no multiple of sixteen";
}

} // namespace

uint4 read_sixteen(const void *from) {
    at_sixteen(from);
    uint4 bytes;
    memcpy(&bytes, from, sizeof bytes);
    return bytes;
}

void write_sixteen(void *to, uint4 bytes) {
    at_sixteen(to);
    memcpy(to, &bytes, sizeof bytes);
}

float half_to_float(uint16_t bits) {
    const uint32_t exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float sign = bits >> 15 ? -1.0f : 1.0f;
    if (exponent == 31) return fraction ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexpf((float)fraction, -24);
    return sign * ldexpf((float)(fraction + 1024), (int)exponent - 25);
}

uint16_t float_to_half(float x) {
    const uint16_t sign = signbit(x) ? 0x8000 : 0;
    const float a = fabsf(x);
    if (isnan(x)) return sign | 0x7e00;
    if (a == 0) return sign;
    // Half a unit beyond the largest number, and what lies above it, is infinite.
    if (a >= 65520.0f) return sign | 0x7c00;
    int exponent;
    frexpf(a, &exponent);
    // Units in the last place: of a normal number, or of the smallest ones.
    const int unit = (exponent < -13 ? -13 : exponent) - 11;
    // A whole number of units; the mode of rounding is to nearest, ties to even.
    const uint32_t units = (uint32_t)nearbyintf(ldexpf(a, -unit));
    return sign | (uint16_t)(unit == -24 ? units : ((uint32_t)(unit + 24) << 10) + units);
}

uint16_t float_to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (isnan(x)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

namespace {

template <auto kernel> struct Call;
template <typename... Arguments, void (*kernel)(Arguments...)> struct Call<kernel> {
    template <size_t... I> static void unpack(void **arguments, std::index_sequence<I...>) {
        kernel(*(Arguments *)arguments[I]...);
    }
    static void run(void **arguments) { unpack(arguments, std::index_sequence_for<Arguments...>()); }
};

struct Entry {
    const char *name;
    void (*run)(void **);
    bool barriers;
};
#define ENTRY(name, barriers) {#name, Call<name>::run, barriers}
#define BOTH(name, barriers) ENTRY(name##_bf16, barriers), ENTRY(name##_f16, barriers)
// In registers, and for any width.
#define BY_WIDTH(name)                                                                                                \
    BOTH(name, true), BOTH(name##_1, true), BOTH(name##_2, true), BOTH(name##_3, true), BOTH(name##_4, true),         \
        BOTH(name##_5, true), BOTH(name##_6, true)
const Entry entries[] = {
    ENTRY(yuv_to_rgb, false),
    ENTRY(rows_from_rgb, false),
    ENTRY(columns_to_bytes, false),
    ENTRY(columns_to_input_f32, false),
    BOTH(columns_to_input, false),
    BOTH(patches_to_input, true),
    BY_WIDTH(embed_pictures),
    BY_WIDTH(embed_texts),
    BY_WIDTH(add_and_norm),
    BOTH(pick, false),
    BOTH(pick_8, false),
    BOTH(bias_and_activation, false),
    BOTH(bias_and_activation_8, false),
    BOTH(attend_32, true),
    BOTH(attend_32_short, true),
    BOTH(attend_64, true),
    BOTH(attend_64_short, true),
    BOTH(attend_80, true),
    BOTH(attend_80_short, true),
    BOTH(attend_96, true),
    BOTH(attend_128, true),
};

} // namespace
} // namespace emulator

// Runs a kernel on a grid, the blocks in ascending order or from the last to the first. The arguments are those of
// cuLaunchKernel. Returns what went wrong, or null.
extern "C" const char *nexis_emulated_launch(const char *name, const uint32_t grid[3], uint32_t threads, void **arguments,
                                             int32_t backwards) {
    using namespace emulator;
    for (const Entry &entry : entries) {
        if (strcmp(entry.name, name)) continue;
        block.kernel = entry.run;
        block.arguments = arguments;
        block.broken = nullptr;
        view.grid = {grid[0], grid[1], grid[2]};
        view.block_size = {threads, 1, 1};
        const uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
        for (uint64_t i = 0; i < blocks && !block.broken; i++) {
            const uint64_t at = backwards ? blocks - 1 - i : i;
            view.block = {(uint32_t)(at % grid[0]), (uint32_t)(at / grid[0] % grid[1]), (uint32_t)(at / grid[0] / grid[1])};
            run_block(threads, entry.barriers);
        }
        return block.broken;
    }
    return "there is no kernel of this name";
}

extern "C" uint16_t nexis_emulated_bf16(float x) { return emulator::float_to_bf16(x); }
extern "C" uint16_t nexis_emulated_f16(float x) { return emulator::float_to_half(x); }
