// One computation, for the figures of what checkpoints cost a program that makes none: plain, in steps (STEP), with a
// call of grid.checkpoint after each part (CALL), and with one in the loop that computes (INSIDE).
#include <stdio.h>

#define PARTS 1000
#define ROUNDS 1000000u

#if defined(CALL) || defined(INSIDE)
__attribute__((import_module("grid"), import_name("checkpoint"))) void grid_checkpoint(void);
#endif

static unsigned long sum = 1;
static int part;

__attribute__((noinline)) static void compute(void) {
  unsigned long x = sum;
  for (unsigned i = 0; i < ROUNDS; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
#ifdef INSIDE
    if (i % 65536 == 0) grid_checkpoint();
#endif
  }
  sum = x;
}

static int step(void) {
  compute();
#ifdef CALL
  grid_checkpoint();
#endif
  if (++part < PARTS) return 0;
  printf("%lx\n", sum);
  return 1;
}

#ifdef STEP
__attribute__((export_name("grid_step"))) int grid_step(void) {
  int done = step();
  if (done) fflush(stdout);
  return done;
}
#else
int main(void) {
  while (!step()) {
  }
  return 0;
}
#endif
