package draw

import (
	"image/color"
	"math"
	"testing"

	"idlegrid/jobs/examples/tour/route"
)

// TestAlbers compares with Snyder's worked example for the sphere of radius one: parallels 29.5 and 45.5 north,
// origin at 23 north 96 west, a point at 35 north 75 west.
func TestAlbers(t *testing.T) {
	project := albers(29.5, 45.5, -96)
	origin, point := project(route.Airport{Latitude: 23, Longitude: -96}), project(route.Airport{Latitude: 35, Longitude: -75})
	x, y := point.x-origin.x, origin.y-point.y
	if math.Abs(x-0.2952720) > 1e-6 || math.Abs(y-0.2416774) > 1e-6 {
		t.Errorf("x %.7f, y %.7f, expected 0.2952720 and 0.2416774", x, y)
	}
}

func TestEastOf(t *testing.T) {
	for _, c := range []struct{ meridian, longitude, want float64 }{
		{-96, -96, 0}, {-96, -66, 30}, {-160, 170, -30}, {-160, 180, -20}, {-160, -180, -20}, {-154, 172.5, -33.5}, {170, -170, 20},
	} {
		if got := eastOf(c.meridian, route.Airport{Longitude: c.longitude}); got != c.want {
			t.Errorf("%g is %g degrees east of %g, expected %g", c.longitude, got, c.meridian, c.want)
		}
	}
}

func TestArc(t *testing.T) {
	a, b := route.Airport{Code: "A", Latitude: 21, Longitude: -157}, route.Airport{Code: "B", Latitude: 13, Longitude: 144}
	points := arc(a, b)
	if points[0] != a || points[len(points)-1] != b {
		t.Errorf("from %v to %v, expected %v to %v", points[0], points[len(points)-1], a, b)
	}
	km := 0.0
	for i := 1; i < len(points); i++ {
		leg := route.Distance(points[i-1], points[i])
		if km += leg; leg > 150.001 {
			t.Errorf("leg %d is %g km", i, leg)
		}
	}
	if want := route.Distance(a, b); math.Abs(km-want) > 1e-6 {
		t.Errorf("%g km in all, expected %g km: the points are not on the great circle", km, want)
	}
	if same := arc(a, a); len(same) != 2 {
		t.Errorf("from a place to itself: %v", same)
	}
}

func TestColours(t *testing.T) {
	if got := oklch(1, 0, 0).rgb(); got != (color.RGBA{255, 255, 255, 255}) {
		t.Errorf("white is %v", got)
	}
	if got := oklch(0.6279554, 0.2576833, 29.2338813).rgb(); got != (color.RGBA{255, 0, 0, 255}) {
		t.Errorf("red is %v", got)
	}
	g := newGradient()
	if g.at(-1) != g.at(0) || g.at(2) != g.at(1) || g.at(0) == g.at(1) {
		t.Errorf("the ends are %v and %v", g.at(0), g.at(1))
	}
}

func TestLayout(t *testing.T) {
	tour := []route.Airport{
		{Code: "DEN", Latitude: 39.86, Longitude: -104.67},
		{Code: "ANC", Latitude: 61.17, Longitude: -150},
		{Code: "HNL", Latitude: 21.32, Longitude: -157.92},
		{Code: "SJU", Latitude: 18.44, Longitude: -66},
		{Code: "GUM", Latitude: 13.48, Longitude: 144.8},
		{Code: "SYA", Latitude: 52.7, Longitude: 174.1},
		{Code: "LHR", Latitude: 51.47, Longitude: -0.46},
		{Code: "JFK", Latitude: 40.64, Longitude: -73.78},
	}
	panels, in := layout(tour)
	for i, want := range []string{"", "Alaska", "Hawaii", "Puerto Rico, Virgin Islands", "Pacific", "Alaska", "Pacific", ""} {
		p := panels[in[i]]
		if p.title != want {
			t.Errorf("%s is on the map %q, expected %q", tour[i].Code, p.title, want)
		}
		if at := p.projection(tour[i]); !p.box.contains(at) {
			t.Errorf("%s is drawn at %v, outside of %v", tour[i].Code, at, p.box)
		}
	}
}

// TestTour draws tours that are not made for this map: what counts is that there is a picture with the line on it.
func TestTour(t *testing.T) {
	den, sea := route.Airport{Code: "DEN", Latitude: 39.86, Longitude: -104.67}, route.Airport{Code: "SEA", Latitude: 47.45, Longitude: -122.3}
	for _, c := range []struct {
		name string
		tour []route.Airport
	}{
		{"one airport", []route.Airport{den}},
		{"two in one place", []route.Airport{den, {Code: "XXX", Latitude: den.Latitude, Longitude: den.Longitude}}},
		{"antipodes", []route.Airport{{Latitude: 90}, {Latitude: -90}, {Longitude: 179}, {Longitude: -1}}},
		{"all maps", []route.Airport{den, {Latitude: 61, Longitude: -150}, {Latitude: 21, Longitude: -157}, {Latitude: 18, Longitude: -66}, {Longitude: 150}, sea}},
	} {
		km := route.Length(c.tour)
		picture, err := Tour(Story{Tour: c.tour, Km: km, GreedyKm: km, Lengths: []float64{km}})
		if err != nil || picture.Bounds().Dx() != Width || picture.Bounds().Dy() != Height {
			t.Fatalf("%s: a picture of %v and %v", c.name, picture.Bounds(), err)
		}
		panels, in := layout(c.tour)
		at := panels[in[0]].projection(c.tour[0])
		if picture.RGBAAt(int(at.x), int(at.y)) == ground || picture.RGBAAt(int(at.x), int(at.y)) == insetInk {
			t.Errorf("%s: nothing where the tour starts", c.name)
		}
		if picture.RGBAAt(1, 1) != ground {
			t.Errorf("%s: %v in the corner", c.name, picture.RGBAAt(1, 1))
		}
	}
}

func TestThousands(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 999: "999", 999.5: "1,000", 166559.4: "166,559", 1234567: "1,234,567", -100: "-100", -1000: "-1,000",
	} {
		if got := Thousands(x); got != want {
			t.Errorf("%g is written %q, expected %q", x, got, want)
		}
	}
}
