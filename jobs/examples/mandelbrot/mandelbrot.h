// What the files of mandelbrot share.
#ifndef MANDELBROT_H
#define MANDELBROT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	MAX_TILES = 64,
	MAX_SIDE = 1024,
	MAX_PICTURE = 4096, // pixels, in each direction
};

// grid is how a picture is cut into tiles.
typedef struct {
	int tiles; // in each direction
	int side;  // pixels of a tile, in each direction
} grid;

// draw_tile fills side * side pixels of three bytes (red, green, blue) with one tile.
void draw_tile(grid g, int number, uint8_t *pixels);

// write_png writes an uncompressed PNG of width * height pixels of three bytes. It returns 0 when all went well.
int write_png(FILE *to, uint32_t width, uint32_t height, const uint8_t *pixels);

#endif
