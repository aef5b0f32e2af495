// mandelbrot draws a part of the Mandelbrot set. It is two programs in one file:
//
//	mandelbrot tile N TILES SIDE     one unit: tile N of TILES * TILES, of SIDE * SIDE pixels, to /out/tile.ppm
//	mandelbrot combine TILES SIDE    afterwards, once: one picture of all tiles, to /out/mandelbrot.png
//
// It is an ordinary C program that reads /in, writes /out and prints. Nothing in it knows of a grid.
#include "mandelbrot.h"

#include <stdlib.h>
#include <string.h>

static int fail(const char *what, const char *name) {
	fprintf(stderr, "mandelbrot: %s: %s\n", name, what);
	return 1;
}

// number reads a whole number from 0 to max, or returns -1.
static int number(const char *text, int max) {
	char *end;
	long n = strtol(text, &end, 10);
	return *text == 0 || *end != 0 || n < 0 || n > max ? -1 : (int)n;
}

static int tile(grid g, int n) {
	static const char name[] = "/out/tile.ppm";
	size_t bytes = (size_t)g.side * g.side * 3;
	uint8_t *pixels = malloc(bytes);
	if (!pixels) return fail("out of memory", "tile");
	draw_tile(g, n, pixels);
	FILE *to = fopen(name, "wb");
	if (!to) return fail("cannot be created", name);
	fprintf(to, "P6\n%d %d\n255\n", g.side, g.side);
	size_t written = fwrite(pixels, 1, bytes, to);
	if (fclose(to) != 0 || written != bytes) return fail("cannot be written", name);
	printf("tile %d of %d\n", n, g.tiles * g.tiles);
	return 0;
}

// read_tile copies a unit's tile to its place in the picture.
static int read_tile(grid g, int n, uint8_t *picture) {
	char name[64];
	snprintf(name, sizeof name, "/in/units/%06d/out/tile.ppm", n);
	FILE *from = fopen(name, "rb");
	if (!from) return fail("cannot be opened", name);
	int width = 0, height = 0;
	int failed = fscanf(from, "P6 %d %d 255", &width, &height) != 2 || width != g.side || height != g.side || fgetc(from) != '\n';
	size_t row = (size_t)g.side * 3, left = (size_t)(n % g.tiles) * row, top = (size_t)(n / g.tiles) * g.side;
	for (int y = 0; y < g.side && !failed; y++)
		failed = fread(picture + (top + y) * row * g.tiles + left, 1, row, from) != row;
	fclose(from);
	return failed ? fail("is not a tile of that size", name) : 0;
}

static int combine(grid g) {
	static const char name[] = "/out/mandelbrot.png";
	uint32_t side = (uint32_t)(g.tiles * g.side);
	uint8_t *picture = malloc((size_t)side * side * 3);
	if (!picture) return fail("out of memory", "combine");
	for (int n = 0; n < g.tiles * g.tiles; n++)
		if (read_tile(g, n, picture)) return 1;
	FILE *to = fopen(name, "wb");
	if (!to) return fail("cannot be created", name);
	int failed = write_png(to, side, side, picture);
	if (fclose(to) != 0 || failed) return fail("cannot be written", name);
	printf("A picture of %u x %u pixels, drawn in %d tiles.\n", side, side, g.tiles * g.tiles);
	return 0;
}

int main(int argc, char **argv) {
	int is_tile = argc == 5 && strcmp(argv[1], "tile") == 0, is_combine = argc == 4 && strcmp(argv[1], "combine") == 0;
	if (!is_tile && !is_combine) return fail("expected tile N TILES SIDE, or combine TILES SIDE", "arguments");
	grid g = {number(argv[argc - 2], MAX_TILES), number(argv[argc - 1], MAX_SIDE)};
	if (g.tiles < 1 || g.side < 1 || g.tiles * g.side > MAX_PICTURE) return fail("expected 1 to 64 tiles of 1 to 1024 pixels, and at most 4096 in all", "size");
	if (is_combine) return combine(g);
	int n = number(argv[2], g.tiles * g.tiles - 1);
	return n < 0 ? fail("there is no such tile", argv[2]) : tile(g, n);
}
