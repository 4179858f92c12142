// QEMU plugin that counts the guest instructions between two marker functions.
//
//   qemu-system-arm ... -plugin FILE.so,start=0x123,stop=0x456,out=counts.txt[,trace=blocks.txt]
//
// `start` and `stop` are the addresses of the two functions, without the Thumb bit. Each time the
// guest reaches `stop` after `start`, one line with a decimal number goes to `out`: the
// instructions executed from the first one of `start` up to, but not including, the first one of
// `stop`. The number is exact and the same in every run.
//
// `trace` gets the way that the guest took from the first `start` to the first `stop`, a line for
// each block of instructions without a branch inside: its address and its number of instructions.
//
// The prototypes stand here because distributions package QEMU without its plugin header. They hold
// for plugin API 1 (QEMU 4.2 to 8) and for the later versions, which added functions and left these
// as they were.

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef void (*translation_callback)(plugin_id, struct qemu_plugin_tb *);
typedef void (*exit_callback)(plugin_id, void *user);
typedef void (*execution_callback)(unsigned int cpu, void *user);

enum { CALLBACK_READS_NO_REGISTERS = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translation_callback);
extern void qemu_plugin_register_atexit_cb(plugin_id, exit_callback, void *user);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, execution_callback,
                                                 int flags, void *user);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *,
                                                        size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

// Removed in API 2, so its presence tells that the running QEMU speaks API 1.
extern int qemu_plugin_n_vcpus(void) __attribute__((weak));

// QEMU refuses a plugin that asks for an API outside its range: 7.2 takes at most 1, 9 and later at
// least 2. It reads this number after the constructor below has run.
EXPORT int qemu_plugin_version = 2;

// A block of instructions; kept as long as QEMU runs, which may come back to it at any time.
struct block {
    uint64_t address;
    size_t instructions;
};

static uint64_t start_address, stop_address;
static bool counting;
static uint64_t count;
static FILE *out, *trace;

__attribute__((constructor)) static void choose_api(void)
{
    if (qemu_plugin_n_vcpus)
        qemu_plugin_version = 1;
}

static void add(const struct block *block)
{
    count += block->instructions;
    if (trace)
        fprintf(trace, "%" PRIu64 " %zu\n", block->address, block->instructions);
}

// A block has one entry, and what can end it early (an interrupt, a fault) either is tested before
// this callback or does not return to the program. So whole blocks give an exact count.
static void run_block(unsigned int cpu, void *block)
{
    (void)cpu;
    if (counting)
        add(block);
}

static void run_start(unsigned int cpu, void *block)
{
    (void)cpu;
    counting = true;
    count = 0;
    add(block);
}

static void run_stop(unsigned int cpu, void *block)
{
    (void)cpu;
    (void)block;
    if (!counting)
        return;
    fprintf(out, "%" PRIu64 "\n", count);
    counting = false;
    if (trace)
        fclose(trace);
    trace = NULL;
}

// The markers are only ever called, and a call begins a block: they stand at the head of theirs.
static void translate(plugin_id id, struct qemu_plugin_tb *translated)
{
    (void)id;
    struct block *block = malloc(sizeof *block);
    if (!block)
        abort();
    block->address = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(translated, 0));
    block->instructions = qemu_plugin_tb_n_insns(translated);
    execution_callback callback = block->address == start_address  ? run_start
                                  : block->address == stop_address ? run_stop
                                                                   : run_block;
    qemu_plugin_register_vcpu_tb_exec_cb(translated, callback, CALLBACK_READS_NO_REGISTERS, block);
}

static void finish(plugin_id id, void *user)
{
    (void)id;
    (void)user;
    fclose(out);
}

// Returns the text after `name` where the argument begins with it.
static const char *value_of(const char *argument, const char *name)
{
    size_t length = strlen(name);
    return strncmp(argument, name, length) == 0 ? argument + length : NULL;
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    const char *path = NULL, *trace_path = NULL;
    for (int i = 0; i < argc; i++) {
        const char *value;
        if ((value = value_of(argv[i], "start=")))
            start_address = strtoull(value, NULL, 0);
        else if ((value = value_of(argv[i], "stop=")))
            stop_address = strtoull(value, NULL, 0);
        else if ((value = value_of(argv[i], "out=")))
            path = value;
        else if ((value = value_of(argv[i], "trace=")))
            trace_path = value;
        else {
            fprintf(stderr, "instructions: unknown argument %s\n", argv[i]);
            return 1;
        }
    }
    if (!start_address || !stop_address || !path) {
        fprintf(stderr, "instructions: start=, stop= and out= are all needed\n");
        return 1;
    }
    out = fopen(path, "w");
    if (!out) {
        perror(path);
        return 1;
    }
    if (trace_path && !(trace = fopen(trace_path, "w"))) {
        perror(trace_path);
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
