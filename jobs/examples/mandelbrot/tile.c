// The picture. Only + - * / and sqrt of doubles decide about a pixel, each rounded by itself (-ffp-contract=off), so
// that every machine, and every language, finds the same bytes.
#include "mandelbrot.h"

#include <math.h>

// Where the picture lies, and how wide it is: spirals in the valley of the sea horses.
static const double center_x = -0.743643887, center_y = 0.131825904, width = 0.0005;

enum {
	MAX_STEPS = 1500, // a point that has not escaped by then belongs to the set
	SAMPLES = 2,      // of a pixel, in each direction
};

// log2_of returns the logarithm of x >= 1 in steps of 1/4096. That of the C library may differ in the last bit.
static double log2_of(double x) {
	double whole = 0, fraction = 0;
	for (; x >= 2; x /= 2) whole += 1;
	for (double bit = 0.5; bit >= 1.0 / 4096; bit /= 2) {
		x *= x;
		if (x >= 2) {
			x /= 2;
			fraction += bit;
		}
	}
	return whole + fraction;
}

// escape returns how many steps a point takes to leave, smoothly between whole ones, or 0 if it stays.
static double escape(double cx, double cy) {
	double x = 0, y = 0;
	for (int n = 1; n <= MAX_STEPS; n++) {
		double xx = x * x, yy = y * y;
		if (xx + yy > 65536) return n + 4 - log2_of(log2_of(xx + yy) / 2);
		y = 2 * x * y + cy;
		x = xx - yy + cx;
	}
	return 0;
}

// The colours that the number of steps goes round in.
static const double palette[][3] = {
	{0, 7, 100}, {32, 107, 203}, {237, 255, 255}, {255, 170, 0}, {96, 12, 24},
};
enum { COLORS = sizeof palette / sizeof palette[0] };

// add_color adds the colour of a point to sum.
static void add_color(double steps, double sum[3]) {
	if (steps <= 0) return; // the set itself is black
	double at = sqrt(steps) * 0.8;
	int whole = (int)at;
	double t = at - whole;
	t = t * t * (3 - 2 * t);
	const double *from = palette[whole % COLORS], *to = palette[(whole + 1) % COLORS];
	for (int i = 0; i < 3; i++) sum[i] += from[i] + (to[i] - from[i]) * t;
}

void draw_tile(grid g, int number, uint8_t *pixels) {
	int left = number % g.tiles * g.side * SAMPLES, top = number / g.tiles * g.side * SAMPLES;
	double all = (double)g.tiles * g.side * SAMPLES; // samples across the picture
	for (int row = 0; row < g.side; row++) {
		for (int column = 0; column < g.side; column++) {
			double sum[3] = {0, 0, 0};
			for (int s = 0; s < SAMPLES * SAMPLES; s++) {
				double x = left + column * SAMPLES + s % SAMPLES + 0.5, y = top + row * SAMPLES + s / SAMPLES + 0.5;
				add_color(escape(center_x + (x / all - 0.5) * width, center_y + (0.5 - y / all) * width), sum);
			}
			for (int i = 0; i < 3; i++) *pixels++ = (uint8_t)(sum[i] / (SAMPLES * SAMPLES) + 0.5);
		}
	}
}
