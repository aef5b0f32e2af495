// queens counts in how many ways N queens stand on a board of N * N squares so that none attacks another. It is two
// programs in one file:
//
//	queens count N FIRST    one unit: the ways with the queen of the first row in column FIRST
//	queens combine N        afterwards, once: all ways, and one of them as a picture
//
// A unit of a large board takes long, and its search is a recursion. So that another machine can go on with it, it
// says where that may happen: grid_checkpoint. The call is far up in the recursion, where it costs nothing.
#include "grid.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	MAX_QUEENS = 24, // more would take years
	UPPER = 6,       // rows whose queens are placed with checkpoints; what is below takes a fraction of a second
};

// board is a board whose upper rows have their queens. A bit is a column: those where a queen of the next row would
// stand below another one, or on a diagonal with it.
typedef struct {
	uint32_t columns, left, right;
} board;

// search is what a unit is about.
typedef struct {
	int queens;
	uint32_t all;           // bits of all columns
	uint64_t ways;          // found so far
	int placed[MAX_QUEENS]; // the queens of the upper rows
	int one[MAX_QUEENS];    // the first way that was found
} search;

static board with(board b, uint32_t queen) {
	return (board){b.columns | queen, (b.left | queen) << 1, (b.right | queen) >> 1};
}

static uint32_t free_of(board b, uint32_t all) { return all & ~(b.columns | b.left | b.right); }

// count returns the ways to place the queens of all lower rows. It is where the time goes, and has no checkpoint.
static uint64_t count(board b, uint32_t all) {
	if (b.columns == all) return 1;
	uint64_t ways = 0;
	for (uint32_t left = free_of(b, all); left; left &= left - 1) ways += count(with(b, left & -left), all);
	return ways;
}

// find places the queens of all lower rows in one way, and returns whether there is one.
static int find(board b, uint32_t all, int *placed) {
	if (b.columns == all) return 1;
	for (uint32_t left = free_of(b, all); left; left &= left - 1) {
		*placed = __builtin_ctz(left);
		if (find(with(b, left & -left), all, placed + 1)) return 1;
	}
	return 0;
}

// place places the queens from one of the upper rows on. Of the unit's work, that is from part to part + size.
static void place(search *s, board b, int row, double part, double size) {
	if (row == UPPER || row == s->queens) {
		grid_checkpoint();
		grid_progress(part);
		if (!s->ways && find(b, s->all, s->placed + row)) memcpy(s->one, s->placed, sizeof s->one);
		s->ways += count(b, s->all);
		return;
	}
	uint32_t left = free_of(b, s->all);
	double each = size / __builtin_popcount(left); // not used if there is none
	for (; left; left &= left - 1, part += each) {
		s->placed[row] = __builtin_ctz(left);
		place(s, with(b, left & -left), row + 1, part, each);
	}
}

static int fail(const char *what, const char *name) {
	fprintf(stderr, "queens: %s: %s\n", name, what);
	return 1;
}

static void print_way(int queens, const int *way) {
	for (int i = 0; i < queens; i++) printf("%d%c", way[i], i < queens - 1 ? ' ' : '\n');
}

// count_unit prints the number of ways, and the first if there is one, as the columns of the queens.
static int count_unit(int queens, int first) {
	static search s;
	s = (search){.queens = queens, .all = ((uint32_t)1 << queens) - 1, .placed = {first}};
	place(&s, with((board){0, 0, 0}, (uint32_t)1 << first), 1, 0, 1);
	printf("%llu\n", (unsigned long long)s.ways);
	if (s.ways) print_way(queens, s.one);
	return 0;
}

// read_unit reads what the unit of a column printed.
static int read_unit(int queens, int first, uint64_t *ways, int *one) {
	char name[64];
	snprintf(name, sizeof name, "/in/units/%06d/stdout", first);
	FILE *from = fopen(name, "r");
	if (!from) return fail("cannot be opened", name);
	unsigned long long number = 0;
	int failed = fscanf(from, "%llu", &number) != 1;
	for (int i = 0; i < queens && number && !failed; i++)
		failed = fscanf(from, "%d", &one[i]) != 1 || one[i] < 0 || one[i] >= queens;
	fclose(from);
	*ways = number;
	return failed ? fail("is not what a unit prints", name) : 0;
}

static void print_board(int queens, const int *way) {
	for (int row = 0; row < queens; row++)
		for (int column = 0; column < queens; column++)
			printf("%s%c", column == way[row] ? "Q" : ".", column < queens - 1 ? ' ' : '\n');
}

// combine adds up. The units look at the left half of the first row; the other half is its mirror image.
static int combine(int queens) {
	uint64_t total = 0;
	int one[MAX_QUEENS], shown[MAX_QUEENS];
	for (int first = 0; first < (queens + 1) / 2; first++) {
		uint64_t ways;
		if (read_unit(queens, first, &ways, one)) return 1;
		int middle = queens % 2 == 1 && first == queens / 2;
		total += middle ? ways : 2 * ways;
		if (ways) memcpy(shown, one, sizeof shown);
	}
	printf("%d queens stand on a board of %d x %d in %llu ways.\n", queens, queens, queens, (unsigned long long)total);
	if (total) {
		printf("One of them:\n\n");
		print_board(queens, shown);
	}
	return 0;
}

// number reads a whole number from min to max, or returns -1.
static int number(const char *text, int min, int max) {
	char *end;
	long n = strtol(text, &end, 10);
	return *text == 0 || *end != 0 || n < min || n > max ? -1 : (int)n;
}

int main(int argc, char **argv) {
	int is_count = argc == 4 && strcmp(argv[1], "count") == 0, is_combine = argc == 3 && strcmp(argv[1], "combine") == 0;
	if (!is_count && !is_combine) return fail("expected count N FIRST, or combine N", "arguments");
	int queens = number(argv[2], 1, MAX_QUEENS);
	if (queens < 0) return fail("expected 1 to 24 queens", argv[2]);
	if (is_combine) return combine(queens);
	int first = number(argv[3], 0, queens - 1);
	return first < 0 ? fail("there is no such column", argv[3]) : count_unit(queens, first);
}
