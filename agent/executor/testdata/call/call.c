// A program that calls grid.checkpoint deep in its functions, for the tests of the executor. Its arguments are the
// number of rounds and the depth of the calls.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

__attribute__((import_module("grid"), import_name("checkpoint"))) void grid_checkpoint(void);

static unsigned long sum = 1; // of all that a checkpoint keeps

static void fold(const void *data, size_t n) {
  for (size_t i = 0; i < n; i++) sum = sum * 6364136223846793005ul + ((const unsigned char *)data)[i] + 1;
}

// down calls grid.checkpoint at the given depth, with something in each frame.
static double down(int depth, double x) {
  char local[40];
  snprintf(local, sizeof local, "%d %.3f", depth, x);
  if (depth == 0) {
    grid_checkpoint();
  } else {
    x += 0.5 * down(depth - 1, x + 1);
  }
  fold(local, strlen(local));
  return x;
}

static void work(int round) {
  unsigned char random[8];
  struct timespec now;
  getentropy(random, sizeof random);
  clock_gettime(CLOCK_MONOTONIC, &now);
  fold(random, sizeof random);
  fold(&now, sizeof now);
  size_t n = 1000 * (round % 9) + 1;
  char *block = malloc(n);
  memset(block, round, n);
  fold(block, n);
  if (round % 3) free(block); // else it stays for ever
  FILE *f = fopen("/out/log", "a");
  fprintf(f, "%d %lx\n", round, sum);
  fclose(f);
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 0, depth = argc > 2 ? atoi(argv[2]) : 0;
  double x = 0;
  for (int round = 0; round < rounds; round++) {
    work(round);
    x = down(depth + round % 5, x / 2);
    printf("%d %.6f %lx\n", round, x, sum);
  }
  return 0;
}
