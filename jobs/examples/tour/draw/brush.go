package draw

import (
	"image"
	"image/color"
	"image/draw"
	"math"

	"golang.org/x/image/vector"
)

// canvas is a picture with a soft brush.
type canvas struct {
	*image.RGBA
	raster vector.Rasterizer // its buffer serves one shape after the other
}

func newCanvas(width, height int) *canvas {
	return &canvas{RGBA: image.NewRGBA(image.Rect(0, 0, width, height))}
}

// polygon fills a convex outline.
func (c *canvas) polygon(outline []spot, ink color.RGBA) {
	lo, hi := outline[0], outline[0]
	for _, s := range outline {
		lo = spot{min(lo.x, s.x), min(lo.y, s.y)}
		hi = spot{max(hi.x, s.x), max(hi.y, s.y)}
	}
	frame := image.Rect(int(math.Floor(lo.x)), int(math.Floor(lo.y)), int(math.Ceil(hi.x)), int(math.Ceil(hi.y)))
	if !frame.In(c.Bounds()) || frame.Empty() {
		return // everything has its place on the picture: what lies beyond is a far leg's, and not missed
	}
	c.raster.Reset(frame.Dx(), frame.Dy())
	for i, s := range outline {
		x, y := float32(s.x-float64(frame.Min.X)), float32(s.y-float64(frame.Min.Y))
		if i == 0 {
			c.raster.MoveTo(x, y)
		} else {
			c.raster.LineTo(x, y)
		}
	}
	c.raster.ClosePath()
	c.raster.Draw(c, frame, image.NewUniform(ink), image.Point{})
}

// line draws a straight line with round ends, so that lines in a row join.
func (c *canvas) line(a, b spot, width float64, ink color.RGBA) {
	const corners = 5 // of each end
	angle := math.Atan2(b.y-a.y, b.x-a.x)
	outline := make([]spot, 0, 2*corners)
	for i, end := range []spot{b, a} {
		for k := range corners {
			turn := angle + math.Pi*(float64(i)-0.5+float64(k)/(corners-1))
			outline = append(outline, spot{end.x + width/2*math.Cos(turn), end.y + width/2*math.Sin(turn)})
		}
	}
	c.polygon(outline, ink)
}

// path draws lines in a row. The ink must be opaque, or the joints show.
func (c *canvas) path(points []spot, width float64, ink color.RGBA) {
	for i := 1; i < len(points); i++ {
		c.line(points[i-1], points[i], width, ink)
	}
}

// dot fills a circle.
func (c *canvas) dot(at spot, radius float64, ink color.RGBA) {
	corners := 8 + int(2*radius)
	outline := make([]spot, corners)
	for i := range outline {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / float64(corners))
		outline[i] = spot{at.x + radius*cos, at.y + radius*sin}
	}
	c.polygon(outline, ink)
}

// fill fills a rectangle.
func (c *canvas) fill(b box, ink color.RGBA) {
	c.polygon([]spot{{b.left, b.top}, {b.right, b.top}, {b.right, b.bottom}, {b.left, b.bottom}}, ink)
}

// frame draws a hairline around a box and darkens what is inside.
func (c *canvas) frame(b box) {
	c.fill(b, frameInk)
	c.fill(b.shrink(1), insetInk)
}

// glow adds the light of a smaller picture, spread over this one.
func (c *canvas) glow(light *canvas, strength float64) {
	for range 3 { // three box blurs are close to a Gaussian
		blur(light.Pix, light.Stride, 4, light.Bounds().Dx(), light.Bounds().Dy())
		blur(light.Pix, 4, light.Stride, light.Bounds().Dy(), light.Bounds().Dx())
	}
	scale := c.Bounds().Dx() / light.Bounds().Dx()
	for y := range c.Bounds().Dy() {
		row := c.Pix[y*c.Stride:]
		from := light.Pix[y/scale*light.Stride:]
		for x := range c.Bounds().Dx() {
			for k := range 3 {
				v := float64(row[4*x+k]) + strength*float64(from[x/scale*4+k])
				row[4*x+k] = uint8(min(v, 255))
			}
		}
	}
}

// blur averages each value with those around it along one axis: lines of length values that are step apart, and
// the lines lie next apart.
func blur(pix []uint8, next, step, length, lines int) {
	const radius = 3
	line := make([]int, length)
	for i := range lines {
		for k := range 3 {
			at := i*next + k
			for j := range line {
				line[j] = int(pix[at+j*step])
			}
			sum := 0
			for j := -radius; j < length; j++ {
				if j+radius < length {
					sum += line[j+radius]
				}
				if j-radius > 0 {
					sum -= line[j-radius-1]
				}
				if j >= 0 {
					pix[at+j*step] = uint8(sum / (2*radius + 1))
				}
			}
		}
	}
}

// clear paints everything.
func (c *canvas) clear(ink color.RGBA) {
	draw.Draw(c, c.Bounds(), image.NewUniform(ink), image.Point{}, draw.Src)
}
