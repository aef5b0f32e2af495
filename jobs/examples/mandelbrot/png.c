// A PNG without compression: what the format asks for at least, in a page. See RFC 2083, 1950 and 1951.
#include "mandelbrot.h"

#include <string.h>

// chunk is a PNG chunk on its way: its checksum so far.
typedef struct {
	FILE *to;
	uint32_t crc;
} chunk;

static void put(chunk *c, const uint8_t *bytes, size_t n) {
	for (size_t i = 0; i < n; i++) {
		c->crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++) c->crc = c->crc >> 1 ^ (c->crc & 1 ? 0xedb88320 : 0);
	}
	fwrite(bytes, 1, n, c->to);
}

static void big_endian(uint8_t to[4], uint32_t n) {
	for (int i = 0; i < 4; i++) to[i] = (uint8_t)(n >> (24 - 8 * i));
}

static chunk begin(FILE *to, const char *type, uint32_t size) {
	uint8_t n[4];
	big_endian(n, size);
	fwrite(n, 1, 4, to);
	chunk c = {to, 0xffffffff};
	put(&c, (const uint8_t *)type, 4);
	return c;
}

static void end(chunk *c) {
	uint8_t n[4];
	big_endian(n, ~c->crc);
	fwrite(n, 1, 4, c->to);
}

// adler goes on with the checksum of a zlib stream.
static uint32_t adler(uint32_t sum, const uint8_t *bytes, size_t n) {
	uint32_t a = sum & 0xffff, b = sum >> 16;
	for (size_t i = 0; i < n; i++) {
		a = (a + bytes[i]) % 65521;
		b = (b + a) % 65521;
	}
	return b << 16 | a;
}

// put_row writes one row as a stored block of deflate: a byte that says whether it is the last, its length, the
// same inverted, and the row itself, which begins with the number of its filter, 0.
static uint32_t put_row(chunk *c, int last, const uint8_t *row, size_t bytes, uint32_t sum) {
	uint16_t n = (uint16_t)(bytes + 1), not = (uint16_t)~n;
	uint8_t head[] = {last ? 1 : 0, n & 0xff, n >> 8, not& 0xff, not>> 8, 0};
	put(c, head, sizeof head);
	put(c, row, bytes);
	return adler(adler(sum, head + 5, 1), row, bytes);
}

int write_png(FILE *to, uint32_t width, uint32_t height, const uint8_t *pixels) {
	size_t row = (size_t)width * 3;
	if (row + 1 > UINT16_MAX) return -1; // a stored block is no longer
	fwrite("\x89PNG\r\n\x1a\n", 1, 8, to);
	uint8_t header[13] = {0, 0, 0, 0, 0, 0, 0, 0, 8, 2, 0, 0, 0}; // eight bits, red green blue
	big_endian(header, width);
	big_endian(header + 4, height);
	chunk c = begin(to, "IHDR", sizeof header);
	put(&c, header, sizeof header);
	end(&c);

	c = begin(to, "IDAT", (uint32_t)(2 + height * (6 + row) + 4));
	put(&c, (const uint8_t *)"\x78\x01", 2);
	uint32_t sum = 1;
	for (uint32_t y = 0; y < height; y++) sum = put_row(&c, y == height - 1, pixels + y * row, row, sum);
	uint8_t check[4];
	big_endian(check, sum);
	put(&c, check, 4);
	end(&c);

	c = begin(to, "IEND", 0);
	end(&c);
	return ferror(to) ? -1 : 0;
}
