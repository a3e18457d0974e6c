// A TCG plugin of qemu's user mode: what did the guest execute between its marks?
//
// The guest makes a mark by closing a file descriptor that no process has (MARK_FD, mark.h). When
// it ends, the plugin writes to the file `out=` first one line for each mark, "mark N", N being the
// instructions executed since the first mark; then, for each block of code that ran between the
// first and the last mark, a line "block ADDRESS INSTRUCTIONS EXECUTIONS", the address in
// hexadecimal. A block that was translated twice has two lines. Counts are exact for one guest
// thread: a plain 64-bit add stands in front of each block.
//
// Debian's qemu-user has no header for plugins, so what is used of it is declared here, as
// https://www.qemu.org/docs/master/devel/tcg-plugins.html describes it: version 1 of the interface,
// that of qemu 4.2 to 8.2.
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mark.h"

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
typedef struct qemu_info_t qemu_info_t;
enum { INLINE_ADD_U64 = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                                  void (*translated)(qemu_plugin_id_t id,
                                                                     struct qemu_plugin_tb* tb));
extern void qemu_plugin_register_vcpu_syscall_cb(
    qemu_plugin_id_t id,
    void (*called)(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2,
                   uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8));
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
                                           void (*ended)(qemu_plugin_id_t id, void* data),
                                           void* data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* tb);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb* tb);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb* tb, int operation,
                                                     void* counter, uint64_t value);

EXPORT int qemu_plugin_version = 1;

struct block {
  uint64_t address;
  uint32_t instructions;
  uint64_t count;  // executions
  uint64_t at_first_mark, at_last_mark;
  struct block* next;
};

// The counters' addresses are compiled into the translated code, so a block never moves or goes.
static struct block* blocks;
static const char* output;
static uint64_t* marks;
static size_t mark_count, mark_room;

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
  (void)id;
  struct block* block = calloc(1, sizeof(*block));
  if (block == NULL) abort();
  block->address = qemu_plugin_tb_vaddr(tb);
  block->instructions = (uint32_t)qemu_plugin_tb_n_insns(tb);
  qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &block->count, 1);
  block->next = blocks;
  blocks = block;
}

static void mark(void) {
  if (mark_count == mark_room) {
    mark_room = mark_room == 0 ? 64 : 2 * mark_room;
    marks = realloc(marks, mark_room * sizeof(*marks));
    if (marks == NULL) abort();
  }
  uint64_t total = 0;
  for (struct block* block = blocks; block != NULL; block = block->next) {
    block->at_last_mark = block->count;
    if (mark_count == 0) block->at_first_mark = block->at_last_mark;
    total += (block->at_last_mark - block->at_first_mark) * block->instructions;
  }
  marks[mark_count++] = total;
}

static void called(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2,
                   uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
  if (number == CLOSE_SYSCALL && (int32_t)a1 == MARK_FD) mark();
}

static void ended(qemu_plugin_id_t id, void* data) {
  (void)id, (void)data;
  FILE* file = fopen(output, "w");
  if (file == NULL) {
    perror(output);
    return;
  }
  for (size_t i = 0; i < mark_count; ++i) fprintf(file, "mark %" PRIu64 "\n", marks[i]);
  for (struct block* block = blocks; block != NULL; block = block->next) {
    uint64_t count = block->at_last_mark - block->at_first_mark;
    if (count == 0) continue;
    fprintf(file, "block %" PRIx64 " %" PRIu32 " %" PRIu64 "\n", block->address,
            block->instructions, count);
  }
  if (fclose(file) != 0) perror(output);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc,
                               char** argv) {
  (void)info;
  if (argc != 1 || strncmp(argv[0], "out=", 4) != 0) {
    fprintf(stderr, "tcg_plugin: expected out=FILE\n");
    return 1;
  }
  output = strdup(argv[0] + 4);
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  qemu_plugin_register_atexit_cb(id, ended, NULL);
  return 0;
}
