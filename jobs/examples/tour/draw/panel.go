package draw

import "idlegrid/jobs/examples/tour/route"

// box is a rectangle of the picture, in pixels.
type box struct{ left, top, right, bottom float64 }

// shrink moves all four sides inwards.
func (b box) shrink(by float64) box { return box{b.left + by, b.top + by, b.right - by, b.bottom - by} }

// contains reports whether a place is in the box.
func (b box) contains(s spot) bool {
	return s.x >= b.left && s.x <= b.right && s.y >= b.top && s.y <= b.bottom
}

// panel is one map of the picture: the contiguous states, or an inset.
type panel struct {
	title      string // none: no frame either
	box        box
	projection projection
	holds      func(route.Airport) bool
	airports   []route.Airport
}

// layout returns the panels and which of them each stop of the tour is in. The last panel takes what no other does,
// so that any tour on earth can be drawn.
func layout(tour []route.Airport) ([]panel, []int) {
	panels := []panel{
		{
			box:        box{330, 44, 1564, 842},
			projection: albers(29.5, 45.5, -96), holds: within(24, 50, -126, -66),
		},
		{title: "Alaska", box: box{36, 664, 400, 964}, projection: albers(55, 65, -154), holds: within(50, 90, 170, -129)},
		{title: "Hawaii", box: box{416, 824, 640, 964}, projection: albers(8, 18, -157), holds: within(18.5, 23, -161, -154)},
		{title: "Puerto Rico, Virgin Islands", box: box{1304, 862, 1564, 964}, projection: albers(8, 18, -66), holds: within(17, 19, -68, -64)},
		{title: "Pacific", box: box{656, 850, 1086, 964}, projection: plain(-160), holds: within(-90, 90, -180, 180)},
	}
	in := make([]int, len(tour))
	for i, a := range tour {
		for !panels[in[i]].holds(a) {
			in[i]++
		}
		p := &panels[in[i]]
		p.airports = append(p.airports, a)
	}
	for i := range panels {
		p := &panels[i]
		inner := p.box
		if p.title != "" {
			inner = inner.shrink(18)
			inner.top += 20 // the title's
		}
		p.projection = fit(p.projection, p.airports, inner)
	}
	return panels, in
}

// within returns whether airports lie in a range of latitudes and longitudes, which reaches over the antimeridian
// where west is greater than east.
func within(south, north, west, east float64) func(route.Airport) bool {
	return func(a route.Airport) bool {
		inside := a.Longitude >= west && a.Longitude <= east
		if west > east {
			inside = a.Longitude >= west || a.Longitude <= east
		}
		return inside && a.Latitude >= south && a.Latitude <= north
	}
}
