package e2e_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"testing"
)

// TestMandelbrot runs the example in C, small on a grid and as it is on this machine. What its units draw is compared
// with what Go finds.
func TestMandelbrot(t *testing.T) {
	program := builtInC(t, "mandelbrot", "clang")
	t.Parallel()
	t.Run("on a grid", func(t *testing.T) {
		g := newGrid(t, always, always)
		job := g.example("mandelbrot", "small.yaml", program)
		g.must("gridctl", "run", job, "-d", "local")
		g.must("gridctl", "submit", job, "--wait", "-d", "results")
		g.sameUnits("results", "local")
		g.checkPicture("results", picture{tiles: 4, side: 32}, 16)
	})
	t.Run("in full", func(t *testing.T) {
		g := emptyGrid(t, patience)
		g.must("gridctl", "run", g.example("mandelbrot", "job.yaml", program), "-d", "local")
		g.checkPicture("local", picture{tiles: 8, side: 256}, 1)
	})
}

// checkPicture looks at the picture that was combined: its size, that it is made of the units' tiles, and that so
// many of these, spread over the picture, are what Go draws.
func (g *grid) checkPicture(results string, p picture, drawn int) {
	g.t.Helper()
	text := g.read(results, "combined", "out", "mandelbrot.png")
	img, err := png.Decode(bytes.NewReader([]byte(text)))
	if err != nil {
		g.t.Fatal(err)
	}
	if all := p.tiles * p.side; img.Bounds() != image.Rect(0, 0, all, all) {
		g.t.Fatalf("the picture has %v, expected %d x %d", img.Bounds(), all, all)
	}
	units := p.tiles * p.tiles
	for n := range units {
		tile := g.read(results, "units", fmt.Sprintf("%06d", n), "out", "tile.ppm")
		if tile != p.cut(img, n) {
			g.t.Errorf("tile %d is not in the picture, or elsewhere", n)
		}
		if (n+1)%(units/drawn) == 0 && tile != p.draw(n) {
			g.t.Errorf("tile %d is not what Go draws", n)
		}
	}
}

// picture draws the example again: what it shows, not how it is written. A conversion to float64 keeps the compiler
// from rounding twice operations once.
type picture struct {
	tiles, side int
}

// file returns a tile as a unit writes it.
func (p picture) file(at func(x, y int) color.RGBA) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "P6\n%d %d\n255\n", p.side, p.side)
	for y := range p.side {
		for x := range p.side {
			c := at(x, y)
			b.Write([]byte{c.R, c.G, c.B})
		}
	}
	return b.String()
}

func (p picture) cut(img image.Image, n int) string {
	return p.file(func(x, y int) color.RGBA {
		c, _ := color.RGBAModel.Convert(img.At(n%p.tiles*p.side+x, n/p.tiles*p.side+y)).(color.RGBA)
		return c
	})
}

func (p picture) draw(n int) string {
	const centerX, centerY, width = -0.743643887, 0.131825904, 0.0005
	step := func(i int) float64 { return (float64(i)+0.5)/float64(2*p.tiles*p.side) - 0.5 }
	return p.file(func(x, y int) color.RGBA {
		var sum [3]float64
		for s := range 4 {
			re := float64(step(2*(n%p.tiles*p.side+x)+s%2) * width)
			im := float64(step(2*(n/p.tiles*p.side+y)+s/2) * width)
			for i, v := range colorOf(steps(centerX+re, centerY-im)) {
				sum[i] += v
			}
		}
		return color.RGBA{R: uint8(sum[0]/4 + 0.5), G: uint8(sum[1]/4 + 0.5), B: uint8(sum[2]/4 + 0.5)}
	})
}

// steps returns how many steps a point takes to leave, or 0.
func steps(re, im float64) float64 {
	x, y := 0.0, 0.0
	for n := 1; n <= 1500; n++ {
		xx, yy := float64(x*x), float64(y*y)
		if xx+yy > 1<<16 {
			return float64(n+4) - roughLog2(roughLog2(xx+yy)/2)
		}
		x, y = xx-yy+re, float64(2*x*y)+im
	}
	return 0
}

// roughLog2 is the logarithm, rounded down to 1/4096.
func roughLog2(x float64) float64 {
	fraction, exponent := math.Frexp(x)
	fraction *= 2
	log := float64(exponent - 1)
	for bit := 0.5; bit >= 1.0/4096; bit /= 2 {
		if fraction *= fraction; fraction >= 2 {
			fraction /= 2
			log += bit
		}
	}
	return log
}

func colorOf(steps float64) (c [3]float64) {
	palette := [][3]float64{{0, 7, 100}, {32, 107, 203}, {237, 255, 255}, {255, 170, 0}, {96, 12, 24}}
	if steps <= 0 {
		return c
	}
	whole, t := math.Modf(float64(math.Sqrt(steps) * 0.8))
	t = float64(t*t) * (3 - float64(2*t))
	from, to := palette[int(whole)%len(palette)], palette[int(whole+1)%len(palette)]
	for i := range c {
		c[i] = from[i] + float64((to[i]-from[i])*t)
	}
	return c
}
