// Package draw makes a picture of a tour: a map of the United States with Alaska, Hawaii and the islands in insets,
// the line coloured by how far along the tour it is, and how the tour compares to the others that were tried.
//
// It promises a picture for any tour on earth, though only one of the United States fills it well. It writes no
// file and knows nothing of units and results.
package draw

import (
	"image"
	"image/color"
	"math"
	"strconv"

	"idlegrid/jobs/examples/tour/route"
)

// Width and Height are the picture's size in pixels.
const (
	Width  = 1600
	Height = 1000
)

var (
	ground   = color.RGBA{9, 13, 24, 255}
	insetInk = color.RGBA{12, 17, 31, 255}
	frameInk = color.RGBA{34, 44, 70, 255}
	gridInk  = color.RGBA{20, 27, 45, 255}
	paleInk  = color.RGBA{236, 240, 250, 255}
	textInk  = color.RGBA{164, 174, 200, 255}
	dimInk   = color.RGBA{104, 116, 146, 255}
)

// Story is what the picture tells.
type Story struct {
	Tour     []route.Airport // the best, in visiting order
	Km       float64         // its length
	GreedyKm float64         // the length of a greedy start
	Lengths  []float64       // km of all tours found, in any order
}

// Tour draws the picture.
func Tour(s Story) (*image.RGBA, error) {
	pens, err := newPens()
	if err != nil {
		return nil, err
	}
	p := painter{canvas: newCanvas(Width, Height), pens: pens, gradient: newGradient(), Story: s}
	p.panels, p.in = layout(s.Tour)
	p.clear(ground)
	p.grid()
	for _, panel := range p.panels {
		if panel.title != "" && len(panel.airports) > 0 {
			p.frame(panel.box)
			p.write(panel.title, spot{panel.box.left + 12, panel.box.top + 20}, 0, pen{pens.small, dimInk})
		}
	}
	p.crossings()
	p.legs()
	p.airports()
	p.words()
	p.histogram(box{40, 330, 300, 470})
	return p.RGBA, nil
}

// painter is a picture in the making.
type painter struct {
	*canvas
	Story
	pens     pens
	gradient *gradient
	panels   []panel
	in       []int // the panel of each stop
}

// stop returns where a stop of the tour is drawn.
func (p *painter) stop(i int) spot {
	return p.panels[p.in[i]].projection(p.Tour[i])
}

// ink is the colour of the leg that leaves stop i.
func (p *painter) ink(i int) color.RGBA {
	return p.gradient.at(float64(i) / float64(len(p.Tour)))
}

// grid draws parallels and meridians behind the contiguous states.
func (p *painter) grid() {
	project := p.panels[0].projection
	along := func(from, to, step route.Airport) {
		last := project(from)
		for a := from; a.Latitude <= to.Latitude && a.Longitude <= to.Longitude; {
			a.Latitude, a.Longitude = a.Latitude+step.Latitude, a.Longitude+step.Longitude
			p.line(last, project(a), 1, gridInk)
			last = project(a)
		}
	}
	const south, north, west, east = 25, 49, -125, -66
	for lat := south; lat <= north; lat += 4 {
		along(route.Airport{Latitude: float64(lat), Longitude: west}, route.Airport{Latitude: north, Longitude: east}, route.Airport{Longitude: 1})
	}
	for lon := west; lon <= east; lon += 6 {
		along(route.Airport{Latitude: south, Longitude: float64(lon)}, route.Airport{Latitude: north - 1, Longitude: east}, route.Airport{Latitude: 1})
	}
}

// legs draws the tour inside the panels, with a soft light around it.
func (p *painter) legs() {
	light := newCanvas(Width/2, Height/2)
	for i, a := range p.Tour {
		j := (i + 1) % len(p.Tour)
		if p.in[i] != p.in[j] {
			continue
		}
		for k, points := 1, p.project(i, arc(a, p.Tour[j])); k < len(points); k++ {
			half := func(s spot) spot { return spot{s.x / 2, s.y / 2} }
			light.line(half(points[k-1]), half(points[k]), 1.6, p.ink(i))
		}
	}
	p.glow(light, 0.55)
	for i, a := range p.Tour {
		if j := (i + 1) % len(p.Tour); p.in[i] == p.in[j] {
			p.path(p.project(i, arc(a, p.Tour[j])), 1.7, p.ink(i))
		}
	}
}

// project puts points on the panel of stop i.
func (p *painter) project(i int, points []route.Airport) []spot {
	spots := make([]spot, len(points))
	for k, a := range points {
		spots[k] = p.panels[p.in[i]].projection(a)
	}
	return spots
}

// crossings draws the legs from one panel to another as dotted bows: they go over seas that are not on the picture.
func (p *painter) crossings() {
	for i := range p.Tour {
		j := (i + 1) % len(p.Tour)
		if p.in[i] == p.in[j] {
			continue
		}
		a, b := p.stop(i), p.stop(j)
		length := math.Hypot(b.x-a.x, b.y-a.y)
		bow := spot{(a.x+b.x)/2 + (b.y-a.y)*0.12, (a.y+b.y)/2 - (b.x-a.x)*0.12}
		for d := 6.0; d < length; d += 8 {
			t := d / length
			if at := a.to(bow, t).to(bow.to(b, t), t); !p.foreign(at, i, j) {
				p.dot(at, 1.2, fade(p.ink(i), 0.55))
			}
		}
	}
}

// foreign reports whether a place is in an inset that neither stop is in.
func (p *painter) foreign(at spot, i, j int) bool {
	for k, panel := range p.panels {
		if panel.title != "" && k != p.in[i] && k != p.in[j] && panel.box.contains(at) {
			return true
		}
	}
	return false
}

// airports draws a dot for each airport, the names of a few that people know, and where the tour begins.
func (p *painter) airports() {
	for i := range p.Tour {
		p.dot(p.stop(i), 1.25, fade(paleInk, 0.85))
	}
	known := map[string]bool{
		"SEA": true, "LAX": true, "DEN": true, "DFW": true, "ORD": true, "ATL": true, "MIA": true, "JFK": true,
		"MSP": true, "ANC": true, "HNL": true, "SJU": true, "PPG": true, "GUM": true,
	}
	for i, a := range p.Tour {
		if at := p.stop(i); known[a.Code] && i > 0 {
			p.dot(at, 3.4, ground)
			p.dot(at, 2.4, paleInk)
			p.label(a.Code, spot{at.x, at.y - 7}, 0.5, pen{p.pens.small, paleInk})
		}
	}
	at := p.stop(0)
	for _, ring := range []struct {
		radius float64
		ink    color.RGBA
	}{{10, fade(paleInk, 0.25)}, {7, ground}, {5.5, paleInk}, {3.2, p.ink(0)}} {
		p.dot(at, ring.radius, ring.ink)
	}
	p.label("start "+p.Tour[0].Code, spot{at.x, at.y - 15}, 0.5, pen{p.pens.text, paleInk})
}

// words writes the title, the length and the legend of the colours.
func (p *painter) words() {
	const left = 40
	p.write(Thousands(float64(len(p.Tour)))+" airports,", spot{left, 66}, 0, pen{p.pens.title, paleInk})
	p.write("one tour", spot{left, 102}, 0, pen{p.pens.title, paleInk})
	p.write(Thousands(p.Km)+" km", spot{left, 168}, 0, pen{p.pens.figure, p.gradient.at(1)})
	for i, line := range []string{
		"the shortest of " + Thousands(float64(len(p.Lengths))) + " tours found",
		Thousands(p.GreedyKm) + " km if one always flew to",
		"the nearest airport left",
	} {
		p.write(line, spot{left, 196 + 22*float64(i)}, 0, pen{p.pens.text, textInk})
	}
	for i := range 260 {
		x := float64(left + i)
		p.fill(box{x, 540, x + 1, 548}, p.gradient.at(float64(i)/259))
	}
	p.write("start", spot{left, 566}, 0, pen{p.pens.small, dimInk})
	p.write("half way", spot{left + 130, 566}, 0.5, pen{p.pens.small, dimInk})
	p.write("home", spot{left + 260, 566}, 1, pen{p.pens.small, dimInk})
	p.write("Great circles; dotted: from map to map. Airports: US government (Data.gov), public domain.",
		spot{Width - 36, Height - 12}, 1, pen{p.pens.small, dimInk})
}

// Thousands writes a number without decimals and with a comma between each three digits.
func Thousands(x float64) string {
	text := strconv.FormatFloat(math.Round(x), 'f', 0, 64)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
