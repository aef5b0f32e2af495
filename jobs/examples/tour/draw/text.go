package draw

import (
	"fmt"
	"image"
	"image/color"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// pens are the faces that the picture is written with.
type pens struct{ title, figure, text, small font.Face }

func newPens() (pens, error) {
	regular, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return pens{}, fmt.Errorf("parse regular font: %w", err)
	}
	bold, err := opentype.Parse(gobold.TTF)
	if err != nil {
		return pens{}, fmt.Errorf("parse bold font: %w", err)
	}
	var p pens
	for _, f := range []struct {
		face *font.Face
		from *opentype.Font
		size float64
	}{{&p.title, bold, 30}, {&p.figure, bold, 40}, {&p.text, regular, 16}, {&p.small, regular, 13}} {
		*f.face, err = opentype.NewFace(f.from, &opentype.FaceOptions{Size: f.size, DPI: 72})
		if err != nil {
			return pens{}, fmt.Errorf("make font of size %g: %w", f.size, err)
		}
	}
	return p, nil
}

// write writes a line of text. Its base line begins at the spot, ends there or is centred on it, as align is 0, 1
// or 0.5.
func (c *canvas) write(text string, at spot, align float64, with pen) {
	d := font.Drawer{Dst: c, Src: image.NewUniform(with.ink), Face: with.face}
	at.x -= align * float64(d.MeasureString(text)) / 64
	d.Dot = fixed.Point26_6{X: fixed.Int26_6(at.x * 64), Y: fixed.Int26_6(at.y * 64)}
	d.DrawString(text)
}

// pen is a face and what colour it writes in.
type pen struct {
	face font.Face
	ink  color.RGBA
}

// label writes a small text that stays readable on top of lines: in a dark haze of itself.
func (c *canvas) label(text string, at spot, align float64, with pen) {
	haze := pen{with.face, fade(ground, 0.85)}
	for _, d := range []spot{{-2, 0}, {2, 0}, {0, -2}, {0, 2}, {-1, -1}, {1, 1}, {-1, 1}, {1, -1}} {
		c.write(text, spot{at.x + d.x, at.y + d.y}, align, haze)
	}
	c.write(text, at, align, with)
}
