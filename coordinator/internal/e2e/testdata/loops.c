// What the benchmarks run, here as WebAssembly and natively.
//
//	loops int|float N    N rounds of a loop that the compiler can neither drop nor make parallel
//	loops echo TEXT      nothing but TEXT
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t integers(long n) {
	uint64_t x = 88172645463325252, sum = 0;
	for (long i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		sum += x % 1000003;
	}
	return sum;
}

static double floats(long n) {
	double x = 0.3, y = 0.1, sum = 0;
	for (long i = 0; i < n; i++) {
		double next = 1 - 1.4 * x * x + y;
		y = 0.3 * x;
		x = next;
		sum += x * y;
	}
	return sum;
}

int main(int argc, char **argv) {
	if (argc < 3) return 2;
	if (strcmp(argv[1], "echo") == 0) return puts(argv[2]) < 0;
	long n = atol(argv[2]);
	if (strcmp(argv[1], "int") == 0)
		printf("%llu\n", (unsigned long long)integers(n));
	else
		printf("%.17g\n", floats(n));
	return 0;
}
