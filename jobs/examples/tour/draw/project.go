package draw

import (
	"math"

	"idlegrid/jobs/examples/tour/route"
)

// spot is a place on the picture, in pixels, or on a projected map, in radians; y grows downwards.
type spot struct{ x, y float64 }

// to goes from s to e as t goes from 0 to 1.
func (s spot) to(e spot, t float64) spot { return spot{s.x + (e.x-s.x)*t, s.y + (e.y-s.y)*t} }

// projection flattens the globe, or the part of it that it is good for.
type projection func(route.Airport) spot

// albers is the equal-area conic projection, with two parallels that keep their true length: J. P. Snyder, "Map
// Projections: A Working Manual", USGS Professional Paper 1395 (1987), equations 14-1 to 14-6.
func albers(south, north, meridian float64) projection {
	sin1, cos1 := math.Sincos(south * math.Pi / 180)
	n := (sin1 + math.Sin(north*math.Pi/180)) / 2
	c := cos1*cos1 + 2*n*sin1
	return func(a route.Airport) spot {
		rho := math.Sqrt(max(0, c-2*n*math.Sin(a.Latitude*math.Pi/180))) / n
		sin, cos := math.Sincos(n * eastOf(meridian, a) * math.Pi / 180)
		return spot{rho * sin, rho * cos} // the pole is at the origin, south is down
	}
}

// plain takes degrees as they are: for islands near the equator.
func plain(meridian float64) projection {
	return func(a route.Airport) spot {
		return spot{eastOf(meridian, a) * math.Pi / 180, -a.Latitude * math.Pi / 180}
	}
}

// eastOf returns how many degrees an airport lies east of a meridian, from -180 to 180. This is what keeps a map
// that reaches over the antimeridian in one piece.
func eastOf(meridian float64, a route.Airport) float64 {
	return math.Mod(a.Longitude-meridian+540, 360) - 180
}

// fit scales and moves a projection so that the airports fill a box, and keeps its proportions.
func fit(p projection, airports []route.Airport, b box) projection {
	lo, hi := spot{math.Inf(1), math.Inf(1)}, spot{math.Inf(-1), math.Inf(-1)}
	for _, a := range airports {
		s := p(a)
		lo = spot{min(lo.x, s.x), min(lo.y, s.y)}
		hi = spot{max(hi.x, s.x), max(hi.y, s.y)}
	}
	const least = 0.01 // radians: a lone airport is not blown up to infinity
	scale := min((b.right-b.left)/max(hi.x-lo.x, least), (b.bottom-b.top)/max(hi.y-lo.y, least))
	middle := lo.to(hi, 0.5)
	return func(a route.Airport) spot {
		s := p(a)
		return spot{(b.left+b.right)/2 + (s.x-middle.x)*scale, (b.top+b.bottom)/2 + (s.y-middle.y)*scale}
	}
}

// arc returns points along the great circle from a to b, both included, close enough for straight lines between.
func arc(a, b route.Airport) []route.Airport {
	const step = 150 // km
	angle := route.Distance(a, b) / route.EarthRadius
	pieces := int(math.Ceil(angle * route.EarthRadius / step))
	points := []route.Airport{a}
	for i := 1; i < pieces; i++ {
		t := float64(i) / float64(pieces)
		p, q := direction(a), direction(b)
		u, v := math.Sin((1-t)*angle)/math.Sin(angle), math.Sin(t*angle)/math.Sin(angle)
		x, y, z := u*p[0]+v*q[0], u*p[1]+v*q[1], u*p[2]+v*q[2]
		points = append(points, route.Airport{
			Latitude:  math.Atan2(z, math.Hypot(x, y)) * 180 / math.Pi,
			Longitude: math.Atan2(y, x) * 180 / math.Pi,
		})
	}
	return append(points, b)
}

// direction returns the place on the unit sphere.
func direction(a route.Airport) [3]float64 {
	sinLat, cosLat := math.Sincos(a.Latitude * math.Pi / 180)
	sinLon, cosLon := math.Sincos(a.Longitude * math.Pi / 180)
	return [3]float64{cosLat * cosLon, cosLat * sinLon, sinLat}
}
