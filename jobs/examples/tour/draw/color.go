package draw

import (
	"image/color"
	"math"
)

// oklab is a colour in Björn Ottosson's OKLab space (2020), where equal steps look equal: a gradient that is
// straight there has no bright or muddy stretch that would pretend to mean something.
type oklab struct{ l, a, b float64 }

// oklch makes a colour from lightness (0 to 1), chroma and hue in degrees.
func oklch(l, chroma, hue float64) oklab {
	sin, cos := math.Sincos(hue * math.Pi / 180)
	return oklab{l, chroma * cos, chroma * sin}
}

// mix goes from c to d as t goes from 0 to 1.
func (c oklab) mix(d oklab, t float64) oklab {
	return oklab{c.l + (d.l-c.l)*t, c.a + (d.a-c.a)*t, c.b + (d.b-c.b)*t}
}

// rgb converts to sRGB; what a screen cannot show is cut off.
func (c oklab) rgb() color.RGBA {
	l := cube(c.l + 0.3963377774*c.a + 0.2158037573*c.b)
	m := cube(c.l - 0.1055613458*c.a - 0.0638541728*c.b)
	s := cube(c.l - 0.0894841775*c.a - 1.2914855480*c.b)
	return color.RGBA{
		R: encode(4.0767416621*l - 3.3077115913*m + 0.2309699292*s),
		G: encode(-1.2684380046*l + 2.6097574011*m - 0.3413193965*s),
		B: encode(-0.0041960863*l - 0.7034186147*m + 1.7076147010*s),
		A: 255,
	}
}

func cube(x float64) float64 { return x * x * x }

// encode turns linear light into an sRGB byte.
func encode(x float64) uint8 {
	switch {
	case x <= 0:
		return 0
	case x < 0.0031308:
		x *= 12.92
	default:
		x = 1.055*math.Pow(min(x, 1), 1/2.4) - 0.055
	}
	return uint8(math.Round(255 * x))
}

// gradient is the colour along the tour, from its start to the way home.
type gradient [256]color.RGBA

func newGradient() *gradient {
	stops := []oklab{
		oklch(0.84, 0.125, 205), // ice
		oklch(0.68, 0.150, 265), // blue
		oklch(0.66, 0.210, 325), // violet
		oklch(0.72, 0.180, 15),  // coral
		oklch(0.87, 0.155, 85),  // gold
	}
	var g gradient
	for i := range g {
		t := float64(i) / float64(len(g)-1) * float64(len(stops)-1)
		k := min(int(t), len(stops)-2)
		g[i] = stops[k].mix(stops[k+1], t-float64(k)).rgb()
	}
	return &g
}

// at returns the colour at a share of the tour, from 0 to 1.
func (g *gradient) at(t float64) color.RGBA {
	return g[int(math.Round(max(0, min(1, t))*float64(len(g)-1)))]
}

// fade returns the colour at an opacity, premultiplied as image.RGBA has it.
func fade(c color.RGBA, opacity float64) color.RGBA {
	dim := func(v uint8) uint8 { return uint8(math.Round(float64(v) * opacity)) }
	return color.RGBA{dim(c.R), dim(c.G), dim(c.B), dim(c.A)}
}
